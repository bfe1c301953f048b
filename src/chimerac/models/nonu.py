"""The 100 Nonu model: ``NonuConfig``, ``NonuModel`` and ``NonuAdam`` as its document calls them. docs/nonu.md"""

from __future__ import annotations

from chimerac.frontends.families.nonu.adam import NonuAdam
from chimerac.frontends.families.nonu.model import NonuModel, NonuOutput
from chimerac.frontends.families.nonu.shape import NONU, NonuConfig

__all__ = ["NONU", "NonuAdam", "NonuConfig", "NonuModel", "NonuOutput"]
