"""Where the documents of the 100 Nonu model contradict themselves or arithmetic, and what was made of it."""

from __future__ import annotations

from collections.abc import Iterator

from chimerac.compiler.model import Remark
from chimerac.frontends.families.nonu.shape import NonuConfig, logit

#: Number → what a document says, and what holds. docs/nonu.md has them all.
CLAIMS = {
    "nonu-gate": (
        "sigmoid(z) > 1e-7 is said to open 0.01 % of the neurons: it opens all with z > -16.1. The rule is "
        "kept; the first biases open 0.01 %"
    ),
    "nonu-gate-on": (
        "two gates are described, on neurons and on weights of attention: gate_on chooses, neurons by default"
    ),
    "nonu-embedding": "50,000 tokens of 100 numbers are said to take 500 MB: codes of 3 bytes take 15 MB",
    "nonu-dropout": (
        "1e-7 is said to be 100 million times less likely than standard dropout: 0.1 to 0.5 are 1 to 5 million"
    ),
    "nonu-orders": "between 1e-1 and 1e-7 there are said to be 9 orders of magnitude: there are 6",
    "nonu-selective": "a lower threshold is said to be more selective: it opens more neurons",
    "nonu-width": (
        "7 billion parameters are said of 48 layers of 1024 channels: 4 times as wide networks make 0.6 "
        "billion; neurons are as many as the total leaves"
    ),
    "nonu-memory": (
        "7 billion weights are said to take 1.2 GB and to fit an L3 cache: that is 1.4 bits a weight, and 2 "
        "to 64 MB; nothing is claimed here"
    ),
    "nonu-projection": "embeddings of 100 numbers and layers of 1024 channels: a matrix stands between them",
    "nonu-drop": (
        "layers left out with 1e-7 are said to prevent collapse and to be deterministic: they are the latter"
    ),
    "nonu-output": "the outputs are said to have a shape and logits: the object has both",
    "nonu-rate": ("a higher learning rate than 1e-7 is said to saturate the gate: it doesn't; NonuAdam warns, no more"),
    "nonu-depth": "residuals of 1 + 1e-7 compound to 1.00001 in 100 layers, as is said, and to 1.001 in 10,000",
    "nonu-context": (
        "beyond 8,192 tokens the pattern is said to break, linear attention to mend it: attention 'linear' is"
        " that of arXiv 2006.16236, as none was published"
    ),
    "nonu-unit": "100 nonu are 1e-7 and 500 are 5e-7, so a nonu is 1e-9; it is no SI prefix",
}


def remarks_of(config: NonuConfig) -> tuple[Remark, ...]:
    """What is to be said of every model, and of this one."""
    return (*(Remark(name, text) for name, text in CLAIMS.items()), *_own(config))


def _own(config: NonuConfig) -> Iterator[Remark]:
    share = config.expected_active / config.matrix_params
    up = f"a guess of rank {config.predictor_rank} chooses up rows" if config.predictor_rank else "all up rows are read"
    yield (
        Remark(
            "nonu-size",
            f"{config.matrix_params:,} weights in matrices, {config.neurons:,} neurons a layer; with the first biases "
            f"{config.expected_active:,.0f} weights of open neurons a token, {share:.3%}; {up}",
        )
    )
    if config.gate_on == "attention":
        edge = f"{config.active_threshold:g} of the largest of its query"
        yield Remark("nonu-edge", f"a weight of attention is 0 if it is at most {edge}; all neurons are open")
        return
    bits = logit(config.threshold(0))
    yield Remark(
        "nonu-edge", f"a neuron of the first layer is open if z > {bits:.4f}; {config.initial_open:.2%} are, at first"
    )
