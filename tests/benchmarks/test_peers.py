"""Comparisons with peers: the arithmetic, the page and the plot from sample results, and the protocol of workers."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from project import ROOT

PEERS = ROOT / "benchmarks" / "peers"
MODULES = ("modules", "turns", "plot", "page", "matrices")

MACHINE = {
    "processor": "Example CPU",
    "family": "family 1, model 2",
    "cores": 2,
    "virtual": False,
    "features": ["avx2"],
    "caches": ["L1 48K", "L2 1024K"],
    "memory_gib": 8,
    "system": "Linux 6.1",
}
MATVEC: dict[str, Any] = {
    "kind": "matvec",
    "date": "2026-01-02 10:00 UTC",
    "machine": MACHINE,
    "versions": {"onnxruntime": "1.2.3"},
    "rows": 1000,
    "columns": 2000,
    "cases": {"chimerac avx2:t2": {"bytes": 500_000}, "llama.cpp (avx2) tq2_0": {"bytes": 520_000}},
    "runs": [
        {
            "threads": threads,
            "read": {"read, 1 stream": [10e9, 5e9, 10e9], "read, 8 streams": [8e9, 4e9, 20e9]},
            "seconds": {
                "chimerac avx2:t2": [100e-6, 200e-6, 50e-6],
                "llama.cpp (avx2) tq2_0": [250e-6, 400e-6, 150e-6],
            },
        }
        for threads in (1, 2)
    ],
}
MODEL: dict[str, Any] = {
    "kind": "model",
    "date": "2026-01-03 10:00 UTC",
    "machine": MACHINE,
    "versions": {"llama-cpp-python": "4.5"},
    "name": "example",
    "ours": {"ternary": 900_000_000, "head": 100_000_000},
    "cases": {
        "chimerac avx2": {"bytes": 250_000_000, "weights": 1_000_000_000},
        "llama.cpp (avx2) tq2_0": {"bytes": 260_000_000, "weights": 990_000_000},
    },
    "runs": [
        {
            "threads": 2,
            "what": "decode",
            "read": {"read, 1 stream": [17e9], "read, 8 streams": [16e9]},
            "seconds": {"chimerac avx2": [0.02], "llama.cpp (avx2) tq2_0": [0.05]},
        },
    ],
}
BROWSER: dict[str, Any] = {
    **MODEL,
    "kind": "browser",
    "name": "example.wasm",
    "runs": [
        {
            "threads": 1,
            "what": "decode",
            "seconds": {
                "chimerac wasm relaxed": [0.02],
                "chimerac wasm simd": [0.03],
                "chimerac native avx2": [0.01],
                "wllama tq2_0": [0.2],
            },
        }
    ],
}


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, ModuleType]]:
    """The scripts' modules, which find each other as scripts do: in their own folder."""
    import importlib

    sys.path.insert(0, str(PEERS))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(PEERS))
        for name in MODULES:
            sys.modules.pop(name, None)


def test_ratios_are_medians_of_rounds_not_ratios_of_medians(peers: dict[str, ModuleType]) -> None:
    ratio = peers["turns"].paired_ratio
    assert ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]) == 2.0
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


def test_share_of_reading_takes_the_fastest_reading_of_each_round(peers: dict[str, ModuleType]) -> None:
    share = peers["page"].share_of_reading(MATVEC["runs"][0], "chimerac avx2:t2", 500_000)
    assert share == pytest.approx(0.5)  # of 50 %, 50 % and 50 %: 5, 2.5 and 10 GB/s of 10, 5 and 20


def test_page_and_plot(peers: dict[str, ModuleType]) -> None:
    template = (PEERS / "page.md").read_text("utf-8")
    page, plot = peers["page"].make([MATVEC, MODEL, BROWSER], template)
    assert "<!--" not in page
    assert "Example CPU" in page
    assert "llama-cpp-python 4.5, onnxruntime 1.2.3" in page
    assert "2026-01-02 10:00 UTC to 2026-01-03 10:00 UTC" in page
    assert "| chimerac avx2:t2 | 100 µs, 20 G/s, 50 % |" in page
    assert "| 1 thread, fastest to llama.cpp TQ2_0 | 2.50 × |" in page
    assert "| 1 thread, reading our t2 bytes to llama.cpp TQ2_0 | 5.00 × |" in page  # 250 to 50, 400 to 100, 150 to 25
    assert "| chimerac avx2 | 1,000 M, 250 MB | 50.0 |" in page
    assert "| reading all weights, 2.125 bits each |  | 64.0 |" in page
    assert "| our best module to wllama | 10.00 × |" in page
    assert "| our best module to our native AVX2 | 0.50 × |" in page
    drawn = ElementTree.fromstring(plot)
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "Whole model, 1.0 B weights a token, decode, 2 threads, tokens/s" in texts
    widths = [float(e.attrib["width"]) for e in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(widths[1:]) < widths[0]  # bars within the background


def test_pieces_of_a_measurement_become_one_table(peers: dict[str, ModuleType]) -> None:
    other = copy.deepcopy(MODEL)
    other["runs"][0]["what"] = "prefill"
    joined = peers["page"].merged([MODEL, other])
    assert [[run["what"] for run in result["runs"]] for result in joined] == [["decode", "prefill"]]
    assert len(MODEL["runs"]) == 1


def test_every_mark_of_the_template_is_filled(peers: dict[str, ModuleType]) -> None:
    marks = re.findall(r"<!-- (.*?) -->", (PEERS / "page.md").read_text("utf-8"))
    assert sorted(marks) == [
        "browser",
        "long context",
        "matvec 1",
        "matvec 2",
        "models",
        "modules",
        "published",
        "ratios",
        "sources",
    ]


def test_decode_of_modules_becomes_a_table(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    times = {"PyTorch": [300.0, 200.0, 260.0], "chimerac": [100.0, 100.0, 130.0]}
    result = {"model": "lstm", "threads": 2, "microseconds": times}
    machine = {"processor": "P", "family": "family 1"}
    (tmp_path / "decode-p.json").write_text(json.dumps({"machine": machine, "results": [result]}), "utf-8")
    heads, rows = peers["modules"].decode_rows(tmp_path)
    assert heads == ["", "PyTorch", "chimerac"]
    assert rows == [["LSTM, 2 layers of 512, 2 threads, P (family 1)", "3846 tokens/s, 2.00", "10000 tokens/s"]]


def test_wrong_products_are_noticed(peers: dict[str, ModuleType]) -> None:
    matrices = peers["matrices"]
    exact = matrices.trits(256).astype("float32") @ matrices.activations(256) * matrices.SCALE
    matrices.check("exact", exact, 256)
    with pytest.raises(RuntimeError, match="rolled: outputs are off"):
        matrices.check("rolled", exact, 256, roll=1)


WORKER = """
import sys
sys.path.insert(0, {peers!r})
from worker import serve
print("x" * 300_000, file=sys.stderr)  # more than a pipe holds
serve({{"cases": {{}}}}, lambda request: print("noise") or request["number"] * 2)
"""


def test_workers_answer_whatever_they_print(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    script = tmp_path / "worker_script.py"
    script.write_text(WORKER.format(peers=str(PEERS)))
    turns = peers["turns"]
    with turns.Worker([sys.executable, script]) as worker:
        found = turns.take_turns({"a": (worker, {"number": 1}), "b": (worker, {"number": 2})}, rounds=2)
    assert found == {"a": [2, 2], "b": [4, 4]}


def test_a_worker_that_ends_is_an_error_with_its_last_words(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no such library')")
    turns = peers["turns"]
    with turns.Worker([sys.executable, script]) as worker, pytest.raises(RuntimeError, match="no such library"):
        worker.ask({})
