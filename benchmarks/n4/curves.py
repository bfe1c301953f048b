"""Losses of several trainings over their steps as SVG, written by hand so that nothing has to be installed."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 420, 56, 16, 40, 44
COLOURS = ("#1b6ca8", "#c0392b", "#7d8a97")
STYLE = """text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600;font-size:14px}.background{fill:#fff}
.grid{stroke:#ccd2d8;stroke-width:1}.line{fill:none;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#ddd}.background{fill:#15181c}.grid{stroke:#333}}"""


def svg(runs: Sequence[Mapping[str, Any]]) -> str:
    """Training losses as lines, held-out losses as dots."""
    points = [point for run in runs for point in [*run["train"], *run["held_out"]]]
    steps = max(step for step, _ in points)
    low, high = math.floor(min(loss for _, loss in points)), math.ceil(max(loss for _, loss in points))

    def place(step: float, loss: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / steps
        return f"{x:.1f} {TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / max(1, high - low):.1f}"

    title = "Loss in nats per token over steps: lines while training, dots on held-out text"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="background" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for loss in range(low, high + 1):
        x, y = place(0, loss).split()
        parts.append(f'<path class="grid" d="M{x} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{loss}</text>')
    for quarter in range(5):
        step = round(steps * quarter / 4)
        x, _ = place(step, low).split()
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{step}</text>')
    for number, (run, colour) in enumerate(zip(runs, COLOURS, strict=False)):
        line = "L".join(place(*point) for point in run["train"])
        if line:
            parts.append(f'<path class="line" stroke="{colour}" d="M{line}"/>')
        for point in run["held_out"]:
            x, y = place(*point).split()
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        y = TOP + 16 + 18 * number
        said = f"{run['model']}, {run['parameters']:,} parameters: {run['held_out'][-1][1]:.3f} at the end"
        parts.append(f'<rect x="{WIDTH - RIGHT - 390}" y="{y - 9}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT - 370}" y="{y}">{escape(said)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="JSON files that train.py wrote")
    parser.add_argument("--svg", type=Path, required=True)
    options = parser.parse_args()
    options.svg.write_text(svg([json.loads(file.read_text()) for file in options.runs]))
