"""``report.html``: what is in a bundle and what the compiler did, as one self-contained page.

It holds no times and no paths, so that equal builds give equal bytes; the command line prints times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

from chimerac.compiler.ir.costs import Cost
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.model import Model
from chimerac.compiler.packaging.package import Tested
from chimerac.passes.base import PassRecord
from chimerac.runtime.bundle_format import SelfTest
from chimerac.targets.code.places import MemoryPlan
from chimerac.targets.registry import Target
from chimerac.version import __version__


@dataclass(frozen=True)
class ReportInput:
    """Everything the page shows.

    Attributes:
        title: bundle name, for example ``home.wasm``.
        facts: (label, value) pairs of the head of the page.
        files: (name, role, bytes) of the bundle's other files.
        sections: (name, type, bytes) of the weights file.
        kernels: (symbol, operands, uses in decode, object bytes).
        findings: (identifier, text) of the config check.
        unit: what costs are of: a token that is generated, or a call of tensors.
        sent: bytes of files as a server sends them with gzip, by name; of web bundles.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    module: Module
    plan: MemoryPlan
    passes: Sequence[PassRecord]
    costs: Sequence[Cost]
    files: Sequence[tuple[str, str, int]]
    sections: Sequence[tuple[str, str, int]]
    kernels: Sequence[tuple[str, str, int, int]]
    findings: Sequence[tuple[str, str]]
    unit: Literal["token", "call"] = "token"
    sent: Mapping[str, int] = field(default_factory=dict)


def common_facts(model: Model, target: Target, module: Module, tested: Tested) -> tuple[tuple[str, str], ...]:
    """What the head of every page says; the self-test comes last."""
    scale = model.provenance.get("scale")
    return (
        ("made by", f"chimerac {__version__}"),
        ("target", f"{target.name}: {target.doc}"),
        ("weights", model.weights),
        *((("scale", scale),) if scale else ()),
        ("config SHA-256", model.digest),
        *((("enabled, not compiled yet", ", ".join(model.absent)),) if model.absent else ()),
        *_calls(model, module),
        *((("loop iterations", _loops(module)),) if module.has_tokens or module.loops != (1, 1) else ()),
        ("self-test", _tested(tested)),
    )


def _calls(model: Model, module: Module) -> Iterator[tuple[str, str]]:
    """What a call takes and gives."""
    if module.has_tokens:
        yield "tokens per call", f"1 to {module.block}"
    for entry in model.entries:
        yield "takes", "; ".join(map(str, entry.inputs)) or "nothing"
        yield "returns", "; ".join(map(str, entry.results)) or "nothing"
        if entry.varies:
            yield "T", f"1 to {entry.most}"


def _loops(module: Module) -> str:
    return f"{module.loops[0]} by default, {module.loops[1]} at most"


def _tested(tested: Tested) -> str:
    vector = tested.vector
    if isinstance(vector, SelfTest):
        return f"{len(vector.prompt)} + {len(vector.tokens)} tokens, logits {vector.logits_hash}"
    return f"{len(vector.calls)} calls, results {', '.join(vector.calls[-1].hashes)}"


def file_rows(folder: Path, roles: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """(name, role, bytes) of files in a folder."""
    return [(name, role, (folder / name).stat().st_size) for name, role in roles.items()]


def remark_rows(model: Model) -> list[tuple[str, str]]:
    """(identifier, text) of what was found in the description."""
    return [(remark.id, remark.text) for remark in model.remarks]


STYLE = """
:root { color-scheme: light dark;
  --ink: #1c2330; --soft: #5c6675; --line: #dfe3ea; --paper: #ffffff; --accent: #2f6fde; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #333b48; --paper: #14181f; --accent: #6ea0ff; }
}
body { margin: 2rem auto; max-width: 62rem; padding: 0 1.2rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
p { color: var(--soft); } .wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--soft); } th, td { padding: .28rem .7rem .28rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 13px/1.4 ui-monospace, monospace; } td:first-child { white-space: nowrap; }
.bar { height: .55rem; margin-top: .45rem; background: var(--accent); border-radius: 2px; min-width: 1px; }
.facts td { overflow-wrap: anywhere; }
th.bars, td.bars { width: 28%; padding-left: .7rem; } tr:has(b) td { border-bottom: 0; }
details > summary { cursor: pointer; color: var(--soft); margin: .4rem 0; }
@media (max-width: 44rem) { .bars { display: none; } }
"""


_UNITS = {"token": "generated token", "call": "call, with T of 1"}


def render_report(report: ReportInput) -> str:
    """The page as text."""
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>Made by chimerac. Sizes in bytes; costs per {_UNITS[report.unit]}. Weights that a loop reads again count"
        " once here; each time in the manifest's <code>decode_bytes</code> and in chimerac bench.</p>",
        f"<div class=facts>{_table(('', ''), [(escape(k), escape(v)) for k, v in report.facts])}</div>",
        "<h2>Files</h2>",
        "<p>Beside these the folder holds this page and <code>manifest.json</code>.</p>",
        _files(report.files, report.sent),
        "<h2>Cost by layer</h2>",
        _costs(report.costs),
        "<h2>Memory</h2>",
        _memory(report.module, report.plan),
        "<h2>Passes</h2>",
        _table(
            ("pass", "what it did", "#ops after"),
            [(f"<code>{p.name}</code>", "<br>".join(map(escape, p.notes)), _number(p.ops)) for p in report.passes],
        ),
        "<h2>Kernels</h2>",
        _folded(
            f"{len(report.kernels)} kernels, {_number(sum(b for *_, b in report.kernels))} bytes of object files",
            ("kernel", "operands", "#uses in decode" if report.unit == "token" else "#uses in a call", "#code bytes"),
            [
                (f"<code>{s}</code>", f"<code>{escape(w)}</code>", _number(c), _number(b))
                for s, w, c, b in report.kernels
            ],
        ),
        "<h2>Weights</h2>",
        _folded(
            f"{len(report.sections)} sections, {_number(sum(b for *_, b in report.sections))} bytes",
            ("section", "type", "#bytes"),
            [(f"<code>{escape(n)}</code>", f"<code>{escape(t)}</code>", _number(b)) for n, t, b in report.sections],
        ),
    ]
    if report.findings:
        body += [
            "<h2>Config</h2>",
            _folded(
                f"{len(report.findings)} findings of the config check, with what was done",
                ("", "finding"),
                [(f"<code>{escape(i)}</code>", escape(t)) for i, t in report.findings],
            ),
        ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}: build report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; columns whose head starts with ``#`` hold numbers."""
    numeric = [h.startswith("#") for h in head]
    lines = ["<div class=wide><table>"]
    if any(head):
        cells = "".join(
            h if h.startswith("<th") else f"<th{' class=n' if n else ''}>{h.lstrip('#')}</th>"
            for h, n in zip(head, numeric, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    for row in rows:
        cells = "".join(
            cell if cell.startswith("<td") else f"<td{' class=n' if n else ''}>{cell}</td>"
            for cell, n in zip(row, numeric, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table></div>"])


def _folded(summary: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"<details><summary>{summary}</summary>\n{_table(head, rows)}\n</details>"


def _files(files: Sequence[tuple[str, str, int]], sent: Mapping[str, int]) -> str:
    rows = [(name, role, size, sent.get(name, size)) for name, role, size in files]
    cells = [(f"<code>{escape(name)}</code>", role, *map(_number, sizes)) for name, role, *sizes in rows]
    cells.append(("<b>all</b>", "", _number(sum(row[2] for row in rows)), _number(sum(row[3] for row in rows))))
    heads = ("file", "role", "#bytes", "#with gzip")
    return _table(heads, cells) if sent else _table(heads[:3], [row[:3] for row in cells])


def _costs(costs: Sequence[Cost]) -> str:
    most = max((c.multiply_adds for c in costs), default=0) or 1
    rows = [
        (
            f"<code>{escape(c.part)}</code>",
            _number(c.visits),
            _number(c.multiply_adds),
            _number(c.weight_bytes),
            f'<td class=bars><div class=bar style="width:{100 * c.multiply_adds / most:.1f}%"></div></td>',
        )
        for c in costs
    ]
    total = (
        "<b>all</b>",
        "",
        _number(sum(c.multiply_adds for c in costs)),
        _number(sum(c.weight_bytes for c in costs)),
        "<td class=bars></td>",
    )
    bars = "<th class=bars>multiply–adds, drawn</th>"
    return _table(("part", "#visits", "#multiply–adds", "#weight bytes, once", bars), [*rows, total])


def _memory(module: Module, plan: MemoryPlan) -> str:
    rows = [
        (
            "weights in use",
            _number(sum(c.type.bytes() for c in module.constants.values())),
            "read only, shared; the file has a header and padding besides",
        ),
        ("recurrent state", _number(plan.state_bytes), f"per session, {len(module.states)} tensors"),
    ]
    for name, graph in plan.graphs.items():
        values = sum(len(op.results) for op in walk(module.graphs[name].ops))
        without = _number(graph.unshared_bytes)
        rows.append((f"arena of {name}", _number(graph.arena_bytes), f"{values} values; {without} without reuse"))
    states = [
        (
            f"<code>{escape(n)}</code>",
            f"<code>{s.type}</code>",
            _number(s.iterations),
            _number(s.type.bytes() * s.iterations),
        )
        for n, s in module.states.items()
    ]
    return _table(("", "#bytes", ""), rows) + _folded("state tensors", ("state", "type", "#copies", "#bytes"), states)
