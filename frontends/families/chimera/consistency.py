"""``check``: all rules put to one config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chimerac.compiler.errors import UserError, UserErrors
from chimerac.frontends.config.fields import Status
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.config.status import absent, written
from chimerac.frontends.families.chimera.rules import RULES, Facts, Finding, Severity


@dataclass(frozen=True)
class CheckReport:
    """What is inconsistent in a config, the gravest first.

    Attributes:
        buildable: the config has a shape.
        keys: how many keys of each status the config and its bases write.
        absent: paths of what the config enables and no compiler makes yet.
    """

    file: str
    findings: tuple[Finding, ...]
    buildable: bool
    keys: Mapping[Status, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def get(self, rule: str) -> Finding | None:
        """The finding of a rule, or None when the rule is content."""
        return next((finding for finding in self.findings if finding.id == rule), None)


def check(config: ModelConfig) -> CheckReport:
    """Finds every inconsistency of a config. Never raises for what a config says.

    A config without a shape has findings ``CHM120`` only: the rules need a model to compare with.
    """
    try:
        facts = Facts.of(config)
    except UserError as error:
        errors = error.errors if isinstance(error, UserErrors) else (error,)
        findings = tuple(_unbuildable(item) for item in errors)
        return CheckReport(config.origin.file, findings, False, written(config), absent(config))
    found = (rule.run(facts) for rule in RULES.values())
    ordered = sorted((finding for finding in found if finding), key=_order)
    return CheckReport(config.origin.file, tuple(ordered), True, written(config), absent(config))


def _unbuildable(error: UserError) -> Finding:
    return Finding(
        id=error.code,
        severity="A",
        path="",
        says="",
        found=error.message,
        resolution=error.hint or "none: change the config",
        span=error.span,
    )


def _order(finding: Finding) -> tuple[str, str, int, str]:
    match = re.fullmatch(r"([A-Z]+)(\d+)(\w*)", finding.id)
    assert match
    return finding.severity, match.group(1), int(match.group(2)), match.group(3)
