"""``chimerac check``: what a config contradicts itself in, and what its model weighs; or of a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.document import open_document
from chimerac.frontends.config.locate import builtin_names
from chimerac.frontends.families.protocol import Checked
from chimerac.frontends.families.registry import DEFAULT, find_family
from chimerac.frontends.sources.recognised import is_published


def check(config: str | Path = "home", *, scale: str | None = None, overrides: Sequence[str] = ()) -> Checked:
    """Check a config, whatever its family, or a model that others published; ``render()`` of the result is a text.

    Args:
        config: path of a config, or the name of a built-in one; or a model folder or GGUF file.
        scale: preset that shrinks the config: nano, tiny, small or full.
        overrides: ``a.b.c=value`` settings of config values.

    Raises:
        UserError: CHM1xx: the config cannot be read, or leaves no model to build; CHM219, scale or overrides of a
            published model; CHM23x, CHM24x, CHM26x, one that a build does not take.
    """
    if str(config) not in builtin_names() and is_published(Path(config)):
        if scale or overrides:
            message = f"{config} is a published model, and takes no {'scale' if scale else '--set'}"
            raise UserError("CHM219", message, hint="its config says what it is")
        from chimerac.compiler.verbs.check_published import check_published

        return check_published(config)
    document = open_document(config, scale=scale, overrides=overrides)
    family = find_family(*(document.model_type or (DEFAULT,)))
    return family.describe(document).check()
