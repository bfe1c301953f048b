"""``chimerac check`` of a model that others published: whether a build takes it, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chimerac.compiler.verbs.inspect_published import PublishedDescription, inspect_published
from chimerac.frontends.sources.folder import ModelFolder
from chimerac.frontends.tokenizers import read_folder, read_gguf

TEXTS: Final = 1000  #: that the tokenizer is compared on: a tenth of those of a build


@dataclass(frozen=True)
class CheckedPublished:
    """A model that a build takes.

    Attributes:
        described: its shape, and what becomes of its weights.
        text: a line each of its tokenizer and its chat template.
    """

    described: PublishedDescription
    text: tuple[str, ...]

    def render(self) -> str:
        """As text, without a line end and without a list of tensors."""
        return "\n".join((*self.described.summary(), *self.text))


def check_published(path: str | Path) -> CheckedPublished:
    """What a build would make of a model folder or GGUF file, and whether its tokenizer is understood.

    Raises:
        UserError: what keeps a build from it: CHM230 to CHM235, CHM240 to CHM244, CHM260 to CHM262.
    """
    described = inspect_published(path)
    if described.refusal is not None:
        raise described.refusal
    assert described.shape is not None
    source, vocabulary = described.source, described.shape.vocabulary
    if isinstance(source, ModelFolder):
        parts = read_folder(source.path, vocabulary, strings=TEXTS)
    else:
        parts = read_gguf(source, vocabulary, strings=TEXTS)
    return CheckedPublished(described, (f"tokenizer of {len(parts.tokenizer.tokens):,} tokens", *parts.notes))
