"""``chimerac targets``: what can be built."""

from __future__ import annotations

from chimerac.targets.registry import TARGETS, Target


def list_targets() -> tuple[Target, ...]:
    """Every target, with what it is for, where the test suite runs its code, and its other names; never fails."""
    return tuple(TARGETS.values())
