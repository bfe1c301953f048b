"""What a consistency rule is given and what it returns."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chimerac.compiler.errors import Span
from chimerac.frontends.config.fields import fields_of, is_section
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.config.sections.inference import Level, Mode
from chimerac.frontends.families.chimera.sizes.claims import Audit, Claim, audit

Severity = Literal["A", "B", "C"]

SEVERITIES: dict[Severity, str] = {
    "A": "can't be built or run as written",
    "B": "a stated number or claim is wrong",
    "C": "vague, or of no effect",
}


@dataclass(frozen=True)
class Found:
    """What one rule found. ``path`` replaces the rule's own where the rule looks at several.

    ``resolution`` is what chimerac does about it; ``planned``: what it will do once the part is compiled.
    """

    says: str
    found: str
    resolution: str
    path: str | None = None
    planned: bool = False


def planned(says: str, found: str, plan: str, path: str | None = None) -> Found:
    """A finding in a part that has no compiler yet; ``plan`` is what is meant to be done when it has one."""
    return Found(says, found, f"not compiled yet; when it is: {plan}", path, planned=True)


@dataclass(frozen=True)
class Finding:
    """One inconsistency of a config."""

    id: str
    severity: Severity
    path: str
    says: str  #: what the config says
    found: str  #: what is true instead
    resolution: str  #: what chimerac does, or would do
    span: Span | None
    also: tuple[str, ...] = ()  #: other names of the same finding
    planned: bool = False  #: the part is not compiled yet


class Facts:
    """A config and what is computed of it once for all rules."""

    def __init__(self, config: ModelConfig, audited: Audit) -> None:
        self.config, self.audit, self.shape = config, audited, audited.shape

    @classmethod
    def of(cls, config: ModelConfig) -> Facts:
        """Raises UserErrors CHM120 when the config has no shape."""
        return cls(config, audit(config))

    @functools.cached_property
    def mixers(self) -> frozenset[str]:
        return frozenset(self.shape.mixers)

    def has(self, mixer: str) -> bool:
        return mixer in self.mixers

    def open(self, question: str) -> bool:
        """Whether a question of ``resolutions`` is unanswered."""
        return getattr(self.config.resolutions, question) is None

    def wrong(self, path: str) -> Claim | None:
        """The claim at a path when it doesn't hold."""
        claim = self.audit.claim(path)
        return claim if claim and not claim.holds else None

    @functools.cached_property
    def buckets(self) -> dict[str, float]:
        """The lines of the memory budget by name, MB."""
        budget = self.config.memory_budget_mb
        return dict(zip(budget.keys or (), budget.values or (), strict=False))

    @functools.cached_property
    def modes(self) -> dict[str, Mode]:
        """The modes that the config has, by name."""
        modes = self.config.modes
        named = {"fast": modes.fast, "balanced": modes.balanced, "reasoning": modes.reasoning}
        return {name: mode for name, mode in named.items() if mode}

    @functools.cached_property
    def levels(self) -> dict[str, Level]:
        """The levels of the entropy valve that the config has, by name."""
        levels = self.config.entropy_valve.levels
        named = {"low": levels.low, "medium": levels.medium, "high": levels.high}
        return {name: level for name, level in named.items() if level}

    @functools.cached_property
    def expert_layers(self) -> frozenset[int]:
        return frozenset(self.shape.moe.layers if self.shape.moe else ())


Findings: TypeAlias = Iterator[Found]


@dataclass(frozen=True)
class Rule:
    """One question put to a config; ``check`` yields nothing when the config is consistent, and the first thing counts.

    ``settled_by`` is the question of ``resolutions`` that settles it: the rule is silent once that is answered.
    """

    id: str
    severity: Severity
    path: str
    check: Callable[[Facts], Findings]
    also: tuple[str, ...] = ()
    settled_by: str | None = None

    @property
    def doc(self) -> str:
        return (self.check.__doc__ or "").split("\n")[0]

    def run(self, facts: Facts) -> Finding | None:
        if self.settled_by is not None and not facts.open(self.settled_by):
            return None
        result = next(self.check(facts), None)
        if result is None:
            return None
        path = result.path or self.path
        return Finding(
            id=self.id,
            severity=self.severity,
            path=path,
            says=result.says,
            found=result.found,
            resolution=result.resolution,
            span=facts.config.place(path),
            also=self.also,
            planned=result.planned,
        )


def sections_of(section: object, path: str = "") -> Iterator[tuple[str, object]]:
    """All sections of a config with their dotted paths, the whole config first."""
    if isinstance(section, tuple):
        for index, item in enumerate(section):
            yield from sections_of(item, f"{path}.{index}")
    elif is_section(type(section)):
        yield path, section
        for item in fields_of(type(section)):
            where = f"{path}.{item.name}" if path else item.name
            yield from sections_of(getattr(section, item.attribute), where)


def millions(count: float) -> str:
    """A count of parameters: 2.726B, 44.0M, 32,768."""
    if count >= 1e9:
        return f"{count / 1e9:.3f}B"
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count:,.0f}"


def megabytes(size: float) -> str:
    """A number of bytes: 10.5 MB, 24.6 kB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def number_in(pattern: str, text: str | None) -> float | None:
    """The first group of a pattern in a text, as a number."""
    match = re.search(pattern, text or "")
    return float(match.group(1)) if match else None


def listing(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
