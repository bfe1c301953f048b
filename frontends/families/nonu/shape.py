"""The numbers that a Nonu model is made of, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

from chimerac.compiler.errors import UserError

NONU: Final = 1e-9  #: 100 of them are the threshold of the first model, 500 that for audio and video
PRECISION: Final = (1e-9, 1e-3)  #: within which adaptive thresholds stay
OPEN: Final = 1e-4  #: share of the neurons that are open at first
GROUP: Final = 128  #: weights that share a scale
BLOCK: Final = 64  #: activations that do
SPREAD: Final = 0.02  #: of random weights
MEAN: Final = math.sqrt(2 / math.pi)  #: of |w|, for w from the standard normal distribution: the scale of its trits
#: What trits keep of the spread of normal weights, about 0.66: what is below half a scale becomes 0, all else a scale
TERNARY: Final = MEAN * math.sqrt(2 * NormalDist().cdf(-MEAN / 2))

Gate = Literal["neuron", "attention"]
Attention = Literal["softmax", "linear"]
Estimator = Literal["shifted", "identity"]
Weights = Literal["f32", "int8", "ternary"]
CHOICES: Final = {
    "gate_on": ("neuron", "attention"),
    "attention": ("softmax", "linear"),
    "ste": ("shifted", "identity"),
    "weights": ("f32", "int8", "ternary"),
}


@dataclass(frozen=True)
class NonuConfig:
    """A Nonu model, under the names of its document; those behind ``use_multiplicative_residuals`` are additions.

    Attributes:
        total_params: what all matrices hold together; decides the width of the network unless it is given.
        active_threshold: a neuron is open if its sigmoid is more. ``NONU`` times 100.
        hidden_size, num_layers, num_heads: h, L, H.
        use_multiplicative_residuals: scale the residual of each layer by 1 + 1e-7 · s, s learned.
        vocab_size, embedding_dim, embedding_levels, embedding_range: V, and the codes of the table of tokens.
        nonu_drop: probability that a layer is left out of a forward pass in training.
        intermediate_size: F, neurons of a layer; None: as many as ``total_params`` leaves.
        max_position: most tokens of a text, once compiled.
        tie: whether the head reads the table of tokens.
        thresholds: one for each layer in place of ``active_threshold``.
        dynamic_threshold: thresholds are learned (v2).
        adaptive_precision: learned thresholds stay within these bounds (Infinity); implies ``dynamic_threshold``.
        gate_on: "neuron", or "attention": weights of attention are gated relative to the largest of a query.
        attention: "softmax", or "linear", whose state does not grow with the text.
        ste: gradient of the gate: sigmoid' around the threshold, or that of the identity.
        weights: format of the matrices of layers, in training and once compiled; "f32" rounds nothing.
        initial_open: share of the neurons that the first biases leave open.
        predictor_rank: of the guess of open neurons, which spares the rows of others; 0: there is none.
        predictor_exact: compiled, an int8 copy of the first matrix bounds each z, and rows of the others are not read.
        seed: of random weights.

    Raises:
        UserError: CHM220, numbers that do not go together.
    """

    total_params: int = 7_000_000_000
    active_threshold: float = 100 * NONU
    hidden_size: int = 1024
    num_layers: int = 48
    num_heads: int = 16
    use_multiplicative_residuals: bool = True
    vocab_size: int = 50_000
    embedding_dim: int = 100
    embedding_levels: int = 10_000_000
    embedding_range: float = 1.0
    nonu_drop: float = 100 * NONU
    intermediate_size: int | None = None
    max_position: int = 8192
    tie: bool = True
    thresholds: tuple[float, ...] | None = None
    dynamic_threshold: bool = False
    adaptive_precision: tuple[float, float] | None = None
    gate_on: Gate = "neuron"
    attention: Attention = "softmax"
    ste: Estimator = "shifted"
    weights: Weights = "f32"
    initial_open: float = OPEN
    predictor_rank: int = 0
    predictor_exact: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if broken := [text for _, text in contradictions(self)]:
            raise UserError("CHM220", "no Nonu model can be made: " + "; ".join(broken))

    @property
    def vocabulary(self) -> int:
        """V, as every family calls it."""
        return self.vocab_size

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.hidden_size // self.num_heads

    @property
    def embedding_params(self) -> int:
        """Numbers of the tables and of the products beside them."""
        tables = 1 if self.tie else 2
        return self.embedding_dim * (tables * self.vocab_size + 2 * self.hidden_size)

    @property
    def neurons(self) -> int:
        """F: ``intermediate_size``, or what ``total_params`` leaves for two matrices of each layer."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        layer = (self.total_params - self.embedding_params) / self.num_layers
        rest = layer - 4 * self.hidden_size**2 - self.predictor_rank * self.hidden_size
        return round(rest / (2 * self.hidden_size + self.predictor_rank))

    @property
    def learned(self) -> bool:
        """Whether thresholds are learned."""
        return self.dynamic_threshold or self.adaptive_precision is not None

    @property
    def matrix_params(self) -> int:
        """Numbers of all matrices."""
        layer = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.neurons
        layer += self.predictor_rank * (self.hidden_size + self.neurons)
        return self.embedding_params + self.num_layers * layer

    def threshold(self, layer: int) -> float:
        """tau of a layer, at first."""
        return self.active_threshold if self.thresholds is None else self.thresholds[layer]

    @property
    def expected_active(self) -> float:
        """Weights of open neurons for a token, with the first biases."""
        share = self.initial_open if self.gate_on == "neuron" else 1.0
        return share * self.neurons * self.num_layers * 2 * self.hidden_size


def logit(probability: float) -> float:
    """Where the sigmoid is a probability: ln(p / (1 - p)). The smallest thresholds are none of float16's numbers."""
    return math.log(probability) - math.log1p(-probability)


def gate_bias(config: NonuConfig, layer: int) -> float:
    """The first bias of the neurons: ``initial_open`` of them are open for normed inputs and random weights."""
    if config.gate_on == "attention":
        return 0.0
    spread = SPREAD * (TERNARY if config.weights == "ternary" else 1.0)
    deviations = NormalDist().inv_cdf(1 - config.initial_open)
    return logit(config.threshold(layer)) - deviations * spread * math.sqrt(config.hidden_size)


def contradictions(config: NonuConfig) -> list[tuple[str, str]]:
    """What leaves no model to be made: the key that is to blame, and the reason."""
    sizes = ("hidden_size", "num_layers", "num_heads", "vocab_size", "embedding_dim", "max_position")
    found = [(name, f"{name} must be 1 or more") for name in sizes if getattr(config, name) < 1]
    found += [
        (name, f"{name} is {getattr(config, name)!r}, and not one of {', '.join(known)}")
        for name, known in CHOICES.items()
        if getattr(config, name) not in known
    ]
    return found or [*_widths(config), *_gates(config), *_probabilities(config)]


def _widths(config: NonuConfig) -> Iterator[tuple[str, str]]:
    if config.hidden_size % config.num_heads:
        yield "num_heads", f"{config.hidden_size} channels cannot be shared by {config.num_heads} heads"
    elif config.head_width % 2:
        yield "num_heads", f"heads of {config.head_width} channels have no pairs that positions turn"
    if config.neurons < 1:
        yield "total_params", f"{config.total_params:,} parameters leave no neurons: give intermediate_size"
    if not 2 <= config.embedding_levels <= 1 << 24:
        yield "embedding_levels", "a code of 3 bytes has 2 to 16,777,216 levels"
    if not 0 < config.embedding_range < math.inf:
        yield "embedding_range", "embedding_range must be above 0"
    if config.thresholds is not None and len(config.thresholds) != config.num_layers:
        yield "thresholds", f"{len(config.thresholds)} thresholds for {config.num_layers} layers"


def _gates(config: NonuConfig) -> Iterator[tuple[str, str]]:
    if config.predictor_rank < 0:
        yield "predictor_rank", "predictor_rank must be 0 or more"
    if config.predictor_exact and (config.weights != "f32" or config.predictor_rank):
        yield "predictor_exact", "predictor_exact is for weights of f32 without a predictor_rank: bounds are of int8"
    if config.gate_on != "attention":
        return
    if config.attention == "linear":
        yield "attention", "linear attention has no weights that gate_on 'attention' could gate"
    if config.predictor_rank or config.predictor_exact:
        yield "predictor_rank", "a predictor guesses which neurons are open: with gate_on 'attention' all are"
    if config.thresholds is not None or config.learned:
        key = "thresholds" if config.thresholds is not None else "dynamic_threshold"
        yield key, "thresholds of layers are those of neurons: gate_on 'attention' has active_threshold"


def _probabilities(config: NonuConfig) -> Iterator[tuple[str, str]]:
    low, high = config.adaptive_precision or PRECISION
    if not 0 < low < high < 1:
        yield "adaptive_precision", "adaptive_precision must be two probabilities in ascending order"
    for name, values in (("thresholds", config.thresholds or ()), ("active_threshold", (config.active_threshold,))):
        if not all(0 < value < 1 for value in values):
            yield name, f"{name} must be above 0 and below 1"
        elif config.adaptive_precision is not None and not all(low <= value <= high for value in values):
            yield name, f"{name} must lie within adaptive_precision, {low:g} to {high:g}"
    if not 0 < config.initial_open < 1:
        yield "initial_open", "initial_open must be above 0 and below 1"
    if not 0 <= config.nonu_drop <= 1:
        yield "nonu_drop", "nonu_drop must be a probability"
