"""Plain-text tables of a check and of an audit, at most 100 columns wide."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from chimerac.frontends.config.status import not_compiled
from chimerac.frontends.families.chimera.consistency import CheckReport
from chimerac.frontends.families.chimera.rules import SEVERITIES
from chimerac.frontends.families.chimera.sizes.claims import MB, Audit
from chimerac.frontends.families.chimera.sizes.parameters import LayerCounts
from chimerac.frontends.families.chimera.sizes.storage import FORMATS, embedding_bytes, ternary_bytes

WIDTH = 100


@dataclass(frozen=True)
class ChimeraCheck:
    """The inconsistencies of a Chimera config, and its sizes held against its claims."""

    report: CheckReport
    audit: Audit

    def render(self) -> str:
        """Both as tables."""
        return f"{render_check(self.report)}\n\n{render_audit(self.audit)}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns that line up: the first ``left`` to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(headers), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def render_check(report: CheckReport) -> str:
    """The findings, the gravest first, and what the keys do.

    A finding says what the config says, what is true, and what chimerac does, or plans for a part without a compiler.
    """
    if not report.findings:
        return "\n\n".join([f"{report.file}: consistent", _render_keys(report)])
    parts = []
    for severity, meaning in SEVERITIES.items():
        findings = report.of(severity)
        if not findings:
            continue
        parts.append(f"{severity}: {meaning}")
        for finding in findings:
            place = str(finding.span) if finding.span else report.file
            title = f"  {finding.id:<5} {finding.path or report.file}"
            gap = WIDTH - len(title) - len(place)
            place = place if len(place) <= WIDTH else "…" + place[1 - WIDTH :]
            lines = [title + " " * gap + place] if gap >= 2 else [title, place.rjust(WIDTH)]
            lines += _labelled("says", finding.says) if finding.says else []
            lines += _labelled("found", finding.found)
            lines += _labelled("plan" if finding.planned else "does", finding.resolution)
            parts.append("\n".join(lines))
    counts = ", ".join(f"{severity} {len(report.of(severity))}" for severity in SEVERITIES if report.of(severity))
    parts.append(f"{len(report.findings)} findings: {counts}")
    return "\n\n".join([*parts, _render_keys(report)])


def _render_keys(report: CheckReport) -> str:
    """How many keys do what, and what is enabled without a compiler."""
    counts = ", ".join(f"{count} {status}" for status, count in report.keys.items() if count)
    lines = textwrap.wrap(
        f"{sum(report.keys.values())} keys written: {counts} (docs/config-keys.md)", WIDTH, break_on_hyphens=False
    )
    if report.absent:
        lines += textwrap.wrap(not_compiled(report.absent), WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def _labelled(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"        {label:<6}", subsequent_indent=" " * 14)


def render_audit(audit: Audit) -> str:
    """Parameters, bytes, recurrent state and claims, one table each."""
    parts = [
        "Parameters per layer",
        _layer_table(audit),
        "Parameters in all",
        _total_table(audit),
        "Megabytes (10**6) of weights by storage format, scales included",
        _format_table(audit),
        "Megabytes (10**6) of recurrent state of one stream, by loop iterations",
        _state_table(audit),
    ]
    if audit.claims:
        parts += ["Claims of the config", _claim_table(audit)]
    return "\n\n".join(parts)


def _layer_table(audit: Audit) -> str:
    kinds: dict[LayerCounts, int] = {}
    for layer in audit.counts.layers:
        kinds[layer] = kinds.get(layer, 0) + 1
    rows = [
        [
            f"{layer.mixer}{' + experts' if layer.experts else ''}",
            str(count),
            _count(layer.ternary("mixer")),
            _count(layer.ternary("dense", "shared")),
            _count(layer.ternary("routed")),
            _count(layer.float_parameters),
            _count(layer.norms + layer.routed_norms),
            _count(layer.total),
        ]
        for layer, count in kinds.items()
    ]
    return table(["kind", "layers", "mixer", "dense+shared", "routed", "float", "norms", "total"], rows)


def _total_table(audit: Audit) -> str:
    counts = audit.counts
    rows = [
        ["ternary, used by every token", _count(counts.ternary_resident)],
        ["ternary, routed experts", _count(counts.routed)],
        ["float", _count(counts.float_parameters)],
        ["norms", _count(counts.norms)],
        ["embedding, tied with the head", _count(counts.embedding)],
        ["all but routed experts", _count(counts.base)],
        ["all", _count(counts.physical)],
        ["used by one token, one iteration", _count(counts.active)],
    ]
    loop = audit.shape.loop
    if loop:
        rows.append([f"visited with {loop.default} iterations", _count(counts.effective(loop.default))])
    return table(["", "parameters"], rows)


def _format_table(audit: Audit) -> str:
    group = audit.shape.quantization.group_size
    rows = []
    for name in FORMATS:
        resident = ternary_bytes(audit.counts.matrices, name, group, ("mixer", "dense", "shared"))
        routed = ternary_bytes(audit.counts.matrices, name, group, ("routed",))
        number = audit.counts.ternary_resident + audit.counts.routed
        rows.append([name, f"{8 * (resident + routed) / number:.3f}", _mb(resident), _mb(routed)])
    for name in ("ternary", "int8", "bfloat16", "float32"):
        size = embedding_bytes(audit.shape, name)
        bits = 8 * size / audit.counts.embedding
        used = " *" if name == audit.shape.embedding_format else ""
        rows.append([f"embedding {name}{used}", f"{bits:.3f}", _mb(size), ""])
    return table(["format", "bits/weight", "every token", "routed experts"], rows)


def _state_table(audit: Audit) -> str:
    rows = [
        [
            str(state.iterations),
            _mb(state.all_per_iteration),
            _mb(state.recurrent),
            _mb(state.with_window(2)),
            _mb(state.anchors),
            _mb(state.ring),
            _mb(state.built),
        ]
        for state in audit.states
    ]
    headers = ["loops", "Titans each", "Titans once", "+fp16 window", "anchors", "float32 window", "as built"]
    return table(headers, rows)


def _claim_table(audit: Audit) -> str:
    rows = [
        [
            re.sub(r"^self_evolution\..*\.", "….", claim.path),
            claim.basis,
            _quantity(claim.claimed, claim.unit),
            _quantity(claim.computed, claim.unit),
            f"{claim.ratio:.2f}",
            "" if claim.holds else "!",
        ]
        for claim in audit.claims
    ]
    return table(["claim", "computed from", "claimed", "computed", "ratio", ""], rows, left=2)


def _count(number: float) -> str:
    if number >= 1e9:
        return f"{number / 1e9:.3f} B"
    return f"{number / 1e6:.3f} M" if number >= 1e5 else f"{number:,.0f}"


def _mb(size: int) -> str:
    return f"{size / MB:,.1f}" if size >= 10 * MB else f"{size / MB:.3f}"


def _quantity(number: float, unit: str) -> str:
    return f"{number:,.1f} {unit}" if unit else _count(number)
