"""Horizontal bars as SVG, written by hand so that the page needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, MARGIN = 860, 16
LABELS, VALUES = 250, 90  #: room left and right of the bars
BAR, GAP = 18, 6
TITLE, BETWEEN = 30, 22
OURS, PEER, LIMIT = "#1b6ca8", "#b8bec6", "#c0392b"
STYLE = """text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600;font-size:14px}
.background{fill:#fff}.value{font-variant-numeric:tabular-nums;paint-order:stroke;stroke:#fff;stroke-width:4px}
@media(prefers-color-scheme:dark){text{fill:#ddd}.background{fill:#15181c}.value{stroke:#15181c}}"""


@dataclass(frozen=True)
class Bar:
    """One line: a system and its number, larger is better."""

    label: str
    value: float
    ours: bool


@dataclass(frozen=True)
class Panel:
    """Bars with one scale; ``limit`` is a value that physics allows, with its name."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    limit: tuple[str, float] | None = None

    @property
    def height(self) -> int:
        return TITLE + len(self.bars) * (BAR + GAP) + (16 if self.limit else 0)


def number(value: float) -> str:
    """Three digits, as people read them."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def svg(panels: Sequence[Panel], description: str) -> str:
    """All panels below each other."""
    height = 2 * MARGIN + sum(panel.height for panel in panels) + BETWEEN * (len(panels) - 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(description)}</title><style>{STYLE}</style>",
        f'<rect class="background" width="{WIDTH}" height="{height}"/>',
    ]
    top = MARGIN
    for panel in panels:
        parts += _panel(panel, top)
        top += panel.height + BETWEEN
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, top: int) -> list[str]:
    most = max([bar.value for bar in panel.bars] + ([panel.limit[1]] if panel.limit else []))
    scale = (WIDTH - 2 * MARGIN - LABELS - VALUES) / most
    left = MARGIN + LABELS
    parts = [f'<text class="title" x="{MARGIN}" y="{top + 14}">{escape(panel.title)}, {escape(panel.unit)}</text>']
    bottom = top + TITLE + len(panel.bars) * (BAR + GAP)
    if panel.limit:
        name, value = panel.limit
        x, begin = left + value * scale, top + TITLE - 3
        parts += [
            f'<path d="M{x:.1f} {begin}V{bottom}" stroke="{LIMIT}" stroke-dasharray="4 3"/>',
            f'<text x="{x:.1f}" y="{bottom + 11}" text-anchor="end">{escape(name)}: {number(value)}</text>',
        ]
    y = top + TITLE
    for bar in panel.bars:
        width = max(1.0, bar.value * scale)
        colour = OURS if bar.ours else PEER
        middle = y + BAR - 5
        parts += [
            f'<text x="{left - 8}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text class="value" x="{left + width + 6:.1f}" y="{middle}">{number(bar.value)}</text>',
        ]
        y += BAR + GAP
    return parts
