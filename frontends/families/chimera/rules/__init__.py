"""The consistency rules: small functions that look at a config and say what contradicts what.

Ids: ``I`` rules concern the layers and the model's size, ``R`` rules what surrounds the model, ``X`` rules numbers that
are written twice.
"""

from __future__ import annotations

from chimerac.frontends.families.chimera.rules import (
    adaptation,
    agreement,
    layers,
    memory,
    operation,
    size,
    spans,
    text,
    training,
)
from chimerac.frontends.families.chimera.rules.base import SEVERITIES, Facts, Finding, Rule, Severity

#: All rules by id.
RULES: dict[str, Rule] = {
    rule.id: rule
    for module in (size, layers, spans, text, memory, adaptation, operation, training, agreement)
    for rule in module.RULES
}

__all__ = ["RULES", "SEVERITIES", "Facts", "Finding", "Rule", "Severity"]
