"""``load`` and ``loads``: a config file or text to a ``ModelConfig``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chimerac.frontends.config.derive import resolve
from chimerac.frontends.config.document import Document, document_of_text, open_document
from chimerac.frontends.config.model import ModelConfig, Origin
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.config.scale import scaled
from chimerac.frontends.config.sections.directives import Directives, ScaleBlock


def load(path_or_name: str | Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> ModelConfig:
    """The config of a file, or of a built-in's name; arguments as of ``open_document``.

    Raises:
        UserError: as ``open_document`` and ``read_config``.
    """
    return read_config(open_document(path_or_name, scale=scale, overrides=overrides))


def loads(
    text: str,
    file: str = "<text>",
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    folder: str | Path = ".",
) -> ModelConfig:
    """The config of a text. ``file`` names it in errors; relative paths of ``extends`` start at ``folder``.

    Raises:
        UserError: like ``load``.
    """
    return read_config(document_of_text(text, file, scale=scale, overrides=overrides, folder=folder))


def read_config(document: Document) -> ModelConfig:
    """The config that a document describes.

    Raises:
        UserError: CHM110 to CHM113 keys and values, CHM116 ``scale``.
    """
    composition = document.composition
    reader = Reader()
    config: ModelConfig = reader.read(ModelConfig, composition.tree)
    origin = Origin(document.file, composition.fenced, "full", reader.places, reader.literals)
    config = replace(config, origin=origin)
    if composition.scale is not None:
        asked = Reader().read_key(Directives, "scale", composition.scale)
        if asked is not None:
            block = ScaleBlock(preset=asked) if isinstance(asked, str) else asked
            config = scaled(config, block, composition.scale.span, composition.fixed)
    return resolve(config)
