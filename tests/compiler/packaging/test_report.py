"""``report.html`` and ``MODEL_CARD.md``: well formed, self-contained, readable, and their numbers add up."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

import chimerac
from chimerac.compiler.packaging.report import STYLE
from chimerac.compiler.verbs.inspect import inspect
from chimerac.frontends import config as config_language
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.sizes import audit
from chimerac.runtime.bundle_format import read_container, read_manifest

TARGETS = ("x86_64-avx2", "wasm")
VOID = {"meta", "br", "link", "img", "hr", "input"}


@dataclass
class Table:
    """Rows of cell texts; a heading row comes first where there is one."""

    title: str
    rows: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """Checks that tags are balanced, and collects tables under their headings and attributes that refer to things."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[Table] = []
        self.references: list[str] = []
        self.title = self.heading = self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [f"{n}={v}" for n, v in attributes if n in ("src", "href", "srcset", "action", "data")]
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append(Table(self.heading))
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append("")
        elif tag in ("h2", "summary"):
            self.heading = ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1].rows[-1][-1] += data
        elif self.open[-1:] in (["h2"], ["summary"]):
            self.heading += data

    def table(self, title: str) -> list[list[str]]:
        return next(table.rows for table in self.tables if title in table.title)


def number(cell: str) -> int:
    return int(re.sub(r"[\s\u202f,]", "", cell))


@pytest.fixture(params=TARGETS)
def bundle(request: pytest.FixtureRequest, bundles: dict[str, Path]) -> Path:
    return bundles[request.param]


@pytest.fixture
def page(bundle: Path) -> Page:
    return Page((bundle / "report.html").read_text("utf-8"))


def test_page_is_self_contained_and_names_no_place(bundle: Path, page: Page) -> None:
    text = (bundle / "report.html").read_text("utf-8")
    assert page.references == []
    for outside in ("http:", "https:", "url(", "@import", "<script", "file:", "//"):
        assert outside not in text
    assert not re.search(r"(?<![\w.<])/(?:work|root|home|tmp|usr|Users)/", text)


def test_files_and_their_total(bundle: Path, page: Page) -> None:
    head, *rows, (name, _, total, *sent) = page.table("Files")
    sizes = {p.name: p.stat().st_size for p in bundle.iterdir()}
    packed = {name: size for name, size in sizes.items() if name.endswith(".gz")}
    others = sizes.keys() - packed.keys() - {"report.html", "manifest.json"}
    assert head == ["file", "role", "bytes", *(["with gzip"] if packed else [])]
    assert {row[0]: number(row[2]) for row in rows} == {name: sizes[name] for name in others}
    assert name == "all"
    assert number(total) == sum(number(row[2]) for row in rows)
    if packed:
        assert {row[0]: number(row[3]) for row in rows} == {n: packed.get(f"{n}.gz", sizes[n]) for n in others}
        assert number(sent[0]) == sum(number(row[3]) for row in rows)
    roles = {entry.name: entry.role for entry in read_manifest(bundle).files}
    assert all(roles[row[0]] == row[1] for row in rows)


def test_sections_are_those_of_the_weights_file(bundle: Path, page: Page) -> None:
    manifest = read_manifest(bundle)
    weights = manifest.file("weights")
    assert weights is not None
    stored = read_container(bundle / weights.name).sections
    _, *rows = page.table("sections, ")
    assert {row[0]: number(row[2]) for row in rows} == {section.name: section.bytes for section in stored.values()}
    total = sum(section.bytes for section in stored.values())
    assert number(re.findall(r"sections, ([\d\u202f]+) bytes", page.text)[0]) == total
    memory = {row[0]: row[1] for row in page.table("Memory")}
    assert number(memory["weights in use"]) == total
    assert number(memory["recurrent state"]) == manifest.memory.state_bytes
    assert max(number(memory["arena of decode"]), number(memory["arena of prefill"])) == manifest.memory.arena_bytes
    assert number(memory["weights in use"]) < manifest.memory.weights_bytes == weights.bytes


def test_bytes_of_weights_are_the_same_wherever_they_have_the_same_name(bundle: Path, page: Page) -> None:
    """The file; the tensors in it; those a token reads, a loop's once; the same in each iteration."""
    manifest = read_manifest(bundle)
    file, read = manifest.memory.weights_bytes, manifest.memory.decode_bytes
    tensors = number({row[0]: row[1] for row in page.table("Memory")}["weights in use"])
    *_, total = page.table("Cost by layer")
    once = number(total[3])
    assert once < tensors < file
    assert once < read < 2 * once, "the looped layers run twice, others once"
    card = (bundle / "MODEL_CARD.md").read_text("utf-8")
    assert f"- {tensors:,} bytes of weights, " in card
    assert f"- {once:,} bytes of weights per token, those that a loop reads again counted once" in card
    sections = inspect(bundle).sections
    assert sum(section.bytes for section in sections) == tensors
    weights = manifest.file("weights")
    assert weights is not None
    assert (bundle / weights.name).stat().st_size == file
    shown = chimerac.bench(bundle, threads=(1,), prompts=(), seconds=0.01)
    assert (shown.memory.weights_bytes, shown.decode_bytes) == (file, read)


def test_states_add_up(bundle: Path, page: Page) -> None:
    """State tensors start at multiples of 64 bytes, so their sum is a little less than the block that holds them."""
    _, *rows = page.table("state tensors")
    total = sum(number(row[3]) for row in rows)
    state = read_manifest(bundle).memory.state_bytes
    assert total <= state <= total + 64 * sum(number(row[2]) for row in rows)


def test_passes_are_a_chain(page: Page) -> None:
    _, *rows = page.table("Passes")
    assert [row[0] for row in rows][:2] == ["entry_points", "moe_sort_dispatch"]
    assert rows[-1][0] == "level_order"
    assert all(row[1] for row in rows)
    removed = int(re.findall(r"removed (\d+) ops", rows[-2][1])[0])
    assert number(rows[-3][2]) - removed == number(rows[-2][2]) == number(rows[-1][2])


def test_costs_are_those_of_the_parameters(document: Path, page: Page) -> None:
    """Every weight of a product is one multiply–add a visit: the audit counts weights without knowing of ops."""
    config = config_language.load(document, scale="nano")
    shape = shape_of(config)
    counts = audit(config).counts
    assert shape.loop is not None
    assert shape.moe is not None
    _, *rows, total = page.table("Cost by layer")
    costs = {row[0]: (number(row[1]), number(row[2]), number(row[3])) for row in rows}
    assert number(total[2]) == sum(c[1] for c in costs.values())
    assert number(total[3]) == sum(c[2] for c in costs.values())
    heads, width = shape.heads, shape.head_width
    state = {"gated_deltanet": 3, "xlstm_m": 2}  # products of the recurrence for each element of a head's matrix
    for index, layer in enumerate(counts.layers):
        visits = shape.loop.default if shape.loop.first <= index <= shape.loop.last else 1
        chosen = layer.ternary("routed") * shape.moe.experts_per_token // shape.moe.experts
        router = shape.moe.experts * shape.hidden if layer.experts else 0
        network = layer.ternary("dense", "shared") + chosen + router
        assert costs[f"layers.{index}.ffn"][:2] == (visits, visits * network)
        spent = costs[f"layers.{index}.mixer"]
        assert spent[0] == visits
        if layer.mixer in state:
            gates = 2 * heads * shape.hidden
            taps = 3 * shape.hidden * shape.conv_size if layer.mixer == "gated_deltanet" else 0
            work = state[layer.mixer] * heads * width * width
            assert spent[1] == visits * (layer.ternary("mixer") + gates + taps + work)
        else:
            assert spent[1] > visits * layer.ternary("mixer")
    assert costs["head"][1] == shape.vocabulary * shape.hidden == counts.embedding
    bits = 8 * sum(c[2] for c in costs.values()) / counts.active
    assert 2 < bits < 4  # 2 bits and scales for most, 8 for the embedding, 32 for what stays float


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", ["report", "page"])
def test_text_has_contrast_in_light_and_dark(style: str, bundles: dict[str, Path]) -> None:
    """4.5 to 1 at least, the AA level of WCAG 2.2, in both colour schemes."""
    text = STYLE if style == "report" else (bundles["wasm"] / "page.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in re.split(r"@media \(prefers", text)[:2]
    )
    assert set(light) == set(dark)
    for colours in (light, dark):
        assert contrast(colours["ink"], colours["paper"]) >= 7
        assert contrast(colours["soft"], colours["paper"]) >= 4.5
    if style == "page":
        assert all(contrast(colours["on-accent"], colours["accent"]) >= 4.5 for colours in (light, dark))


def test_model_card_says_what_the_weights_are(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text("utf-8")
    assert card.startswith("# chimera-5.1-final\n")
    assert "The weights are random." in card
    provenance = json.loads((bundle / "manifest.json").read_text())["provenance"]
    assert provenance["weights"].startswith("random")
