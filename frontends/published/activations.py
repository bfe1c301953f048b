"""How the activations of a model's ternary products are rounded: in blocks, or by the rule that BitNet was made for."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, get_args

from chimerac.compiler.errors import UserError
from chimerac.frontends.matrices.forms import Activations
from chimerac.frontends.matrices.matrix import Matrix
from chimerac.frontends.published.bit_linear import bit_linear
from chimerac.frontends.published.shape import LlamaShape
from chimerac.frontends.published.text_part import text_part
from chimerac.frontends.sources.folder import ModelFolder
from chimerac.frontends.sources.gguf import GgufFile

CHOICES: Final[tuple[Activations, ...]] = get_args(Activations)
#: Architectures that are BitNet's whatever their files say of quantisation.
_BITNET: Final = ("bitnet", "bitnet-b1.58")


def asked(given: str | None) -> Activations | None:
    """A choice of the user, None for none; raises UserError CHM236 for what is no choice."""
    if given is None:
        return None
    for choice in CHOICES:
        if given == choice:
            return choice
    message = f"{given[:80]!r} is no way to round activations"
    raise UserError("CHM236", message, hint=f"there are {', '.join(CHOICES)}")


def usual(source: ModelFolder | GgufFile, shape: LlamaShape) -> Activations:
    """A scale for a row where the model was made for that, else for blocks; errors as of ``bit_linear``."""
    made_so = isinstance(source, ModelFolder) and bit_linear(text_part(source).config) is not None
    return "row" if made_so or shape.architecture in _BITNET else "blocks"


def with_activations(found: Matrix, activations: Activations) -> Matrix:
    """The matrix of a projection with the choice, if it is one of a layer and ternary; that of others is blocks."""
    if found.form.kind != "ternary" or not found.name.startswith("layers."):
        return found
    return replace(found, form=replace(found.form, activations=activations))
