"""A model family in a package of its own: an embedding, gated linear recurrences, a head.

``family.py`` is what chimerac asks, ``model.py`` the PyTorch module. A process that wants the family calls
``chimerac.frontends.families.registry.register("toy", toy)``; a distribution that is installed says in its metadata

    [project.entry-points."chimerac.families"]
    toy = "toy_family:toy"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toy_family.family import Toy


def toy() -> Toy:
    """The family, loaded when it is asked for."""
    from toy_family.family import FAMILY

    return FAMILY
