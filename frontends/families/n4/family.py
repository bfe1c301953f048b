"""The family ``n4`` as frontends/families/protocol.py asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.model import ReferenceSession, Remark
from chimerac.frontends.config.document import Document
from chimerac.frontends.families.grammars import refused
from chimerac.frontends.families.n4.keys import N4Keys, TrainingKeys
from chimerac.frontends.families.n4.shape import QUANTIZATION, Counter, N4Config, contradictions
from chimerac.frontends.families.phases import Phase, Precision, Schedule, Training
from chimerac.frontends.families.protocol import Description, TensorTable
from chimerac.frontends.families.reading import read_keys

if TYPE_CHECKING:
    from torch import nn

BLOCK: Final = 16  #: most tokens of a call


@dataclass(frozen=True)
class N4Family:
    """The family."""

    name: str = "n4"
    shape_type: type[N4Config] = N4Config

    def describe(self, document: Document) -> Description[N4Config]:
        """A config as a description; ``UserError`` as of the protocol."""
        reading = read_keys(document, N4Keys)
        keys, ternary = reading.keys, reading.keys.quantization == "ternary"
        if broken := contradictions(keys.hidden_size, keys.heads, keys.bias, ternary):
            key, text = broken[0]
            raise UserError("CHM120", f"no N4 model can be built: {text}", span=reading.place(key))
        shape = N4Config(
            vocab_size=keys.vocab_size,
            hidden_size=keys.hidden_size,
            inter_size=keys.inter_size,
            heads=keys.heads,
            layers=keys.layers,
            bias=keys.bias,
            counter=cast(Counter, keys.counter),
            context=keys.context,
            ternary=ternary,
            seed=keys.seed,
        )
        return Description(
            keys.name,
            reading.digest,
            shape,
            f"{shape.layers} layers of N4, {shape.hidden_size} channels",
            quantization=((QUANTIZATION.block_size, QUANTIZATION.group_size),) if ternary else (),
            training=partial(training_of, keys.training, keys.seed),
            grammars=partial(keys.grammar.request, reading.place),
            refusal=refused(keys.grammar.refusal),
            remarks=partial(remarks_of, keys),
            place=reading.place,
        )

    def block(self, shape: N4Config) -> int:
        """The same for every shape."""
        return BLOCK

    def tensors(self, shape: N4Config) -> TensorTable:
        """The tensors of the official state dict."""
        from chimerac.frontends.families.n4.trainable import tensor_specs

        return TensorTable(tensor_specs(shape), QUANTIZATION.group_size)

    def make(self, shape: N4Config, *, sparse_gradient: bool = False, ternary: bool = True) -> nn.Module:
        """The training form."""
        from chimerac.frontends.families.n4.trainable import N4Trainable

        return N4Trainable(shape, sparse_gradient=sparse_gradient, ternary=ternary)

    def initial_parts(self, name: str, shape: N4Config, seed: int, elements: int) -> Iterator[np.ndarray]:
        """The official code's distributions."""
        from chimerac.frontends.families.n4.trainable import initial_parts

        return initial_parts(name, shape, seed, elements)

    def export_form(self, module: nn.Module) -> nn.Module:
        """The step form with its state in buffers."""
        from chimerac.frontends.families.n4.steps import N4Steps
        from chimerac.frontends.families.n4.trainable import N4Trainable

        assert isinstance(module, N4Trainable)
        return N4Steps(module.n4b, module.lm_head, module.shape).eval()

    def reference_session(self, module: nn.Module, loops: int | None) -> ReferenceSession:
        """The step form, run by PyTorch."""
        from chimerac.frontends.families.n4.steps import N4Steps
        from chimerac.frontends.families.n4.trainable import N4Trainable
        from chimerac.frontends.families.stepwise import StepSession

        assert isinstance(module, N4Trainable)
        return StepSession(N4Steps(module.n4b, module.lm_head, module.shape))


def training_of(keys: TrainingKeys | None, seed: int, usual: tuple[Phase, ...]) -> Training:
    """The one phase of a config's ``training``; without it the usual ones."""
    if keys is None:
        return Training(usual, seed)
    phase = Phase(
        "pretrain",
        steps=keys.steps,
        sequence_length=keys.sequence_length,
        batch=keys.batch * keys.accumulation,
        micro_tokens=keys.batch * keys.sequence_length,
        learning_rate=keys.learning_rate,
        schedule=cast(Schedule, keys.schedule),
        warmup_steps=keys.warmup_steps,
        weight_decay=keys.weight_decay,
        clip=keys.grad_clip,
        beta1=keys.betas[0],
        beta2=keys.betas[1],
    )
    return Training((phase,), seed, cast(Precision, keys.precision))


def remarks_of(keys: N4Keys) -> tuple[Remark, ...]:
    """What a reader of the formulas would not expect (docs/n4.md), and what a training cannot reach."""
    values = keys.layers * (keys.hidden_size // keys.heads)
    found = [
        Remark("n4-mean", "token i counts i times in the running means, whose divisor is j^2: a constant is not kept"),
        Remark("n4-scale", f"scores are divided by sqrt({keys.hidden_size}), the channels of the model, not of a head"),
        Remark("n4-norm", f"{values:,} values of n4.norm are kept in checkpoints, but nothing uses them"),
    ]
    if keys.counter == "bf16":
        found.append(Remark("n4-counter", "from 256 on tokens are counted as bfloat16 holds the numbers"))
    plan = keys.training
    if plan is not None and plan.warmup_steps >= plan.steps:
        reached = plan.learning_rate * plan.steps / plan.warmup_steps
        text = f"the warm-up of {plan.warmup_steps} steps outlasts the {plan.steps} of the training"
        found.append(Remark("n4-warmup", f"{text}, whose learning rate ends at {reached:.2g}"))
    return tuple(found)


FAMILY: Final = N4Family()
