"""N4 ("Nova Nox"): ``N4C`` as its document calls it, and ``N4Config``. docs/n4.md"""

from __future__ import annotations

from chimerac.frontends.families.n4.model import N4C
from chimerac.frontends.families.n4.shape import N4Config

__all__ = ["N4C", "N4Config"]
