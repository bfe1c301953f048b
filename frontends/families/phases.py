"""How a model wants to be trained: what a description says of it, and what frontends/training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["pretrain", "sft", "dpo", "router", "draft"]
#: Kinds that train a part of a model that is trained, and stand alone.
BESIDE: Final = ("router", "draft")
Precision = Literal["float32", "tensorfloat32", "bfloat16"]
Schedule = Literal["cosine", "linear", "wsd", "constant"]


@dataclass(frozen=True)
class Phase:
    """One phase. Numbers of sequences are over all processes.

    Attributes:
        kind: pretrain predicts every token of running text, sft the targets of rows, dpo prefers one answer to another;
            router trains the loop-depth router and draft the draft head of a trained model; each stands alone.
        epochs: in place of ``steps``, which is then 0: passes over the data.
        seconds: in place of both: train that long. The learning rate then follows the clock, so that it has come down
            when the time is up, whatever the machine's speed; such a run is not repeatable bit for bit.
        micro_tokens: most tokens of one forward pass on one process; None takes a step's share at once.
        data: sub-folders of the data folder that the phase reads, together; none: the folder itself.
        schedule: course of the learning rate behind its warm-up: half a cosine; a line; "wsd": the peak, then a line
            over the last tenth; constant.
        final_rate: learning rate at the end, as a fraction of the peak.
        ends: sequence lengths to cut a batch to, ascending: a batch is as long as its longest row needs, rounded up
            to one of them. Rows of similar length are then drawn together. Empty: always ``sequence_length``.
        depth: loop counts drawn per sequence, per step ("batch": all sequences alike, no gathering), or "default".
        truncate: gradients for the last ceil(R/2) iterations only.
        balance: move the routing biases, by ``bias_rate`` a step. None: in pretrain only. Short phases need a larger
            rate: the biases of 400 steps of 0.001 reach 0.4 at most.
        epsilon: MeZO's step to both sides.
        beta: strength of the preference loss.
        gain: nats a token that more iterations must save for the router to take them.
    """

    name: str
    kind: Kind = "pretrain"
    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    sequence_length: int = 256
    batch: int = 32
    micro_tokens: int | None = None
    data: tuple[str, ...] = ()
    optimizer: Literal["adamw", "lion", "mezo", "mezo_sparse"] = "adamw"
    learning_rate: float = 3e-4
    schedule: Schedule = "cosine"
    warmup_steps: int = 100
    final_rate: float = 0.1
    weight_decay: float = 0.1
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    ends: tuple[int, ...] = ()
    depth: Literal["sequence", "batch", "default"] = "sequence"
    truncate: bool = True
    balance: bool | None = None
    bias_rate: float = 1e-3
    epsilon: float = 1e-3
    beta: float = 0.1
    gain: float = 0.02

    @property
    def descends(self) -> bool:
        """Whether the optimiser follows gradients; MeZO takes forward passes only."""
        return self.optimizer in ("adamw", "lion")

    @property
    def moves_bias(self) -> bool:
        return self.kind == "pretrain" if self.balance is None else self.balance


@dataclass(frozen=True)
class Training:
    """The training that a description asks for; what it leaves open is as a plan has it without being told.

    Attributes:
        phases: in order.
        seed: of the order of the data and of everything else that is drawn; weights have the shape's.
    """

    phases: tuple[Phase, ...]
    seed: int = 0
    precision: Precision = "float32"
