"""Chimera as a family: its config, its module, its names and its reference, as frontends/families/protocol.py asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from chimerac.compiler.model import ReferenceSession, Remark
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.config.document import Document
from chimerac.frontends.config.loader import read_config
from chimerac.frontends.config.status import absent
from chimerac.frontends.families.chimera.consistency import check
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.generation import generation_defaults
from chimerac.frontends.families.chimera.grammars import grammar_request, refusal_of
from chimerac.frontends.families.chimera.naming import tensor_specs
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.chimera.sizes import audit
from chimerac.frontends.families.chimera.tables import ChimeraCheck
from chimerac.frontends.families.chimera.training import training_of
from chimerac.frontends.families.protocol import Description, TensorTable
from chimerac.frontends.tokenizers import tokenizer_of
from chimerac.runtime.bundle_format.constants import ROLE_END, ROLE_PAD
from chimerac.runtime.reference.tokenizer import Special

if TYPE_CHECKING:
    from torch import nn

#: Most tokens of a call: what shares one anchor of a Titans memory (docs/decisions/0001-block-of-sixteen.md).
BLOCK: Final = 16
#: Names and roles of ``token_ids``, in their order.
TOKEN_ROLES: Final = (("<|endoftext|>", ROLE_END), ("<|pad|>", ROLE_PAD))


@dataclass(frozen=True)
class Chimera:
    """The family ``chimera51``."""

    name: str = "chimera51"
    shape_type: type[ChimeraShape] = ChimeraShape

    def describe(self, document: Document) -> Description[ChimeraShape]:
        """A Chimera config as a description; ``UserError`` as of the protocol."""
        return describe(read_config(document))

    def block(self, shape: ChimeraShape) -> int:
        """The same for every shape."""
        return BLOCK

    def tensors(self, shape: ChimeraShape) -> TensorTable:
        """docs/weights.md lists them."""
        return TensorTable(tensor_specs(shape), shape.quantization.group_size)

    def make(self, shape: ChimeraShape, *, sparse_gradient: bool = False, ternary: bool = True) -> nn.Module:
        """The training form."""
        from chimerac.frontends.families.chimera.model import ChimeraModel

        return ChimeraModel(shape, sparse_gradient=sparse_gradient, ternary=ternary)

    def initial_parts(self, name: str, shape: ChimeraShape, seed: int, elements: int) -> Iterator[np.ndarray]:
        """frontends/families/chimera/initialization.py has the distributions."""
        from chimerac.frontends.families.chimera.initialization import initial_parts

        return initial_parts(name, tensor_specs(shape)[name].shape, shape, seed, elements)

    def export_form(self, module: nn.Module) -> nn.Module:
        """The step form with its state in buffers."""
        from chimerac.frontends.families.chimera.model import ChimeraModel
        from chimerac.frontends.families.chimera.stateful import Stateful

        assert isinstance(module, ChimeraModel)
        return Stateful(module, BLOCK).eval()

    def reference_session(self, module: nn.Module, loops: int | None) -> ReferenceSession:
        """The step form, run eagerly."""
        from chimerac.frontends.families.chimera.model import ChimeraModel
        from chimerac.frontends.families.chimera.session import EagerSession

        assert isinstance(module, ChimeraModel)
        return EagerSession(module, loops, BLOCK)


def describe(config: ModelConfig) -> Description[ChimeraShape]:
    """The description of a config that is read already."""
    shape = shape_of(config)
    files = {role: getattr(config.files, role) for role in ("weights", "tokenizer", "grammar")}
    return Description(
        name=config.name or "model",
        digest=config.digest,
        shape=shape,
        summary=f"{shape.layers} layers, {shape.hidden} channels",
        loops=shape.loop.maximum if shape.loop else 1,
        fewest_loops=shape.loop.minimum if shape.loop else 1,
        quantization=((shape.quantization.block_size, shape.quantization.group_size),),
        scale=config.origin.scale,
        specials=tuple(
            Special(name, token, role)
            for token, (name, role) in zip(config.token_ids, TOKEN_ROLES, strict=False)
            if 256 <= token < shape.vocabulary
        ),
        own_tokenizer=lambda: tokenizer_of(config.vocab_size, config.token_ids, config.place("token_ids")),
        grammars=lambda: grammar_request(config),
        training=partial(training_of, config),
        file_names={role: name for role, name in files.items() if name},
        generation=generation_defaults(config, shape),
        refusal=refusal_of(config),
        absent=absent(config),
        remarks=lambda: _remarks(config),
        checked=lambda: ChimeraCheck(check(config), audit(config)),
        place=config.place,
    )


def _remarks(config: ModelConfig) -> tuple[Remark, ...]:
    """The findings of the consistency check."""
    return tuple(Remark(f.id, f"{f.says}: {f.found}; {f.resolution}") for f in check(config).findings)


FAMILY: Final = Chimera()
