"""Models of text and pictures: the part that is a language model, and what is left out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.tree import Object, Scalar, kind
from chimerac.frontends.sources.folder import ModelFolder
from chimerac.frontends.sources.recognised import CONFIG

#: ``model_type`` of a whole → that of its text part.
WHOLES: Final[Mapping[str, str]] = {"qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text"}
#: Keys of a whole beside ``text_config`` that say nothing of texts.
_SILENT: Final = frozenset(
    """
    architectures dtype image_token_id model_type torch_dtype transformers_version video_token_id vision_config
    vision_end_token_id vision_start_token_id
    """.split()  # noqa: SIM905  (a list of so many words is read more easily so)
)
#: Keys of a whole that decide over those of its text part.
_DECIDING: Final = frozenset({"tie_word_embeddings", "quantization_config"})
#: What tensors are called that a language model does not need, and what they are.
_LEFT_OUT: Final[Mapping[str, str]] = {
    "model.visual.": "what sees pictures",
    "mtp.": "what guesses further tokens",
}


@dataclass(frozen=True)
class TextPart:
    """A language model within a config.

    Attributes:
        model_type: of it.
        config: its keys.
        prefix: what the names of its tensors begin with, but for the head.
    """

    model_type: str
    config: Object
    prefix: str = "model."


def text_part(folder: ModelFolder) -> TextPart:
    """The language model of a folder, which is mostly all there is.

    Raises:
        UserError: CHM231, it says nothing of its kind; CHM112, ``text_config`` is no object; CHM234, it is of another
            kind than that of such wholes, or the whole has a key that is not known.
    """
    name, tree = folder.model_type, folder.config
    if name not in WHOLES:
        return TextPart(name, tree)
    text = tree.get("text_config")
    if not isinstance(text, Object):
        said = "is missing" if text is None else f"must be an object, not {kind(text)}"
        raise UserError("CHM112", f"'text_config' {said}", span=(text or tree).span)
    for key, entry in tree.entries.items():
        if key not in _SILENT | _DECIDING | {"text_config"}:
            message = f"{CONFIG} says {key[:80]!r}, which chimerac does not know for {name}"
            raise UserError("CHM234", message, span=entry.span, hint="it may change what the model computes")
    own = text.get("model_type")
    if not isinstance(own, Scalar) or own.value != WHOLES[name]:
        message = f"the text part of a model of the type {name!r} must be of the type {WHOLES[name]!r}"
        raise UserError("CHM234", message, span=(own or text).span)
    deciding = {key: entry for key, entry in tree.entries.items() if key in _DECIDING}
    return TextPart(WHOLES[name], Object({**text.entries, **deciding}, text.span), "model.language_model.")


def left_out(names: Iterable[str]) -> dict[str, str]:
    """Of names of tensors those that a language model does not need, and what each is part of."""
    return {name: what for name in names for start, what in _LEFT_OUT.items() if name.startswith(start)}
