"""``chimerac check``: what a config contradicts itself in, and what its model weighs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chimerac.frontends.config.document import open_document
from chimerac.frontends.families.protocol import Checked
from chimerac.frontends.families.registry import DEFAULT, find_family


def check(config: str | Path = "home", *, scale: str | None = None, overrides: Sequence[str] = ()) -> Checked:
    """Check a config, whatever its family; ``render()`` of the result is a text.

    Args:
        config: path of a config, or the name of a built-in one.
        scale: preset that shrinks the config: nano, tiny, small or full.
        overrides: ``a.b.c=value`` settings of config values.

    Raises:
        UserError: CHM1xx: the config cannot be read, or leaves no model to build.
    """
    document = open_document(config, scale=scale, overrides=overrides)
    family = find_family(*(document.model_type or (DEFAULT,)))
    return family.describe(document).check()
