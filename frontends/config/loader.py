"""``load`` and ``loads``: a config file or text to a ``ModelConfig``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chimerac.frontends.config.compose import Composition, apply_command_line, compose
from chimerac.frontends.config.derive import resolve
from chimerac.frontends.config.locate import locate, read, shown
from chimerac.frontends.config.model import ModelConfig, Origin
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.config.scale import scaled
from chimerac.frontends.config.sections.directives import Directives, ScaleBlock
from chimerac.frontends.config.source import make_source


def load(path_or_name: str | Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> ModelConfig:
    """The config of a file, or of a built-in's name.

    Args:
        path_or_name: a path, or the name of a config that comes with chimerac.
        scale: a preset that replaces the config's own ``scale``.
        overrides: ``a.b.c=value``, as of ``--set``; they have the last word.

    Raises:
        UserError: CHM100 no such file, CHM101 limits, CHM102 syntax, CHM103 a key twice, CHM104 row fences,
            CHM110 to CHM113 keys and values, CHM114 ``extends``, CHM115 overrides, CHM116 ``scale``.
    """
    path = locate(str(path_or_name), Path())
    composition = compose(read(path), path.resolve().parent, (path.resolve(),))
    return _finish(apply_command_line(composition, scale, overrides), shown(path))


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
    composition = compose(make_source(text, file), Path(folder))
    return _finish(apply_command_line(composition, scale, overrides), file)


def _finish(composition: Composition, file: str) -> ModelConfig:
    reader = Reader()
    config: ModelConfig = reader.read(ModelConfig, composition.tree)
    origin = Origin(file, composition.fenced, "full", reader.places, reader.literals)
    config = replace(config, origin=origin)
    if composition.scale is not None:
        asked = Reader().read_key(Directives, "scale", composition.scale)
        if asked is not None:
            block = ScaleBlock(preset=asked) if isinstance(asked, str) else asked
            config = scaled(config, block, composition.scale.span, composition.fixed)
    return resolve(config)
