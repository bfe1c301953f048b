"""A config put together from its files and the command line, before anybody says what its keys mean.

The syntax is the same for every model; the keys are those of the family that ``model_type`` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chimerac.compiler.errors import Span
from chimerac.frontends.config.compose import Composition, apply_command_line, compose
from chimerac.frontends.config.locate import locate, read, shown
from chimerac.frontends.config.source import make_source
from chimerac.frontends.config.tree import Scalar

MODEL_TYPE = "model_type"


@dataclass(frozen=True)
class Document:
    """The tree of a config. ``file`` names it in errors."""

    composition: Composition
    file: str

    @property
    def model_type(self) -> tuple[str, Span] | None:
        """The family that it names, and where; None when it names none, or no text."""
        node = self.composition.tree.get(MODEL_TYPE)
        return (node.value, node.span) if isinstance(node, Scalar) and isinstance(node.value, str) else None


def open_document(path_or_name: str | Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> Document:
    """The document of a file, or of a built-in's name.

    Args:
        path_or_name: a path, or the name of a config that comes with chimerac.
        scale: a preset that replaces the document's own ``scale``.
        overrides: ``a.b.c=value``, as of ``--set``; they have the last word.

    Raises:
        UserError: CHM100 no such file, CHM101 limits, CHM102 syntax, CHM103 a key twice, CHM104 row fences,
            CHM114 ``extends``, CHM115 overrides.
    """
    path = locate(str(path_or_name), Path())
    composition = compose(read(path), path.resolve().parent, (path.resolve(),))
    return Document(apply_command_line(composition, scale, overrides), shown(path))


def document_of_text(
    text: str, file: str, *, scale: str | None = None, overrides: Sequence[str] = (), folder: str | Path = "."
) -> Document:
    """The document of a text; relative paths of ``extends`` start at ``folder``. Arguments and errors as above."""
    composition = compose(make_source(text, file), Path(folder))
    return Document(apply_command_line(composition, scale, overrides), file)
