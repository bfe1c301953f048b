"""Attention with a cache: the interpreter's bits on every target, PyTorch's numbers, and caches of half the size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_models import CachedModel
from attention_modules import STEPPED, WHOLE, Whole, windowed
from onnx_tools import assert_agrees
from project import ROOT
from replay import Program, Recorded
from snapshots import changed

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import module_of_source
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.caches import CACHE_TYPES, with_caches
from chimerac.compiler.ir.context import ATTENTION
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.compiler.packaging.facts import facts_of
from chimerac.frontends.export.importer import import_module
from chimerac.runtime.bundle_format import parse_container, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.runner import find_emulator

CALLS = (tuple(range(8)), (3,), (1, 2, 3), *((i,) for i in range(4)), *(tuple(range(i, i + 8)) for i in range(6)), (5,))
TARGETS = ("x86_64-avx2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("wasm32-simd128", "aarch64-neon")))
#: Forms with a table of positions, grouped heads and rotations, a ring, and caches of float16 and of codes.
FORMS = ("filled", "expanded", "window", "slopes", "f16", "int8", "int4")


@pytest.fixture(autouse=True)
def _short_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are looked for in texts of thousands of tokens, which takes a second; here they are of a dozen."""
    monkeypatch.setattr("chimerac.frontends.export.attention.LONGEST", 128)


@cache
def lowered(form: str) -> Module:
    module = CachedModel(72).eval() if form in CACHE_TYPES else WHOLE[form]().eval()
    context = 72 if form == "expanded" else None
    made = import_module(module.requires_grad_(False), name=form, block=8, context=context)
    return pipeline.run(with_caches(made, form) if form in CACHE_TYPES else made, pipeline.passes())[0]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("forms", [FORMS[:1], pytest.param(FORMS[1:], marks=pytest.mark.slow)], ids=["one", "others"])
def test_targets_give_the_interpreters_bits(target: str, forms: tuple[str, ...], tmp_path: Path) -> None:
    if target == "aarch64-neon" and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
    recorded = [Recorded(lowered(form), CALLS, 1) for form in forms]
    found = Program(target, recorded, tmp_path / "program").run(0, "cortex-a53" if target == "aarch64-neon" else "")
    for ours, one in zip(found, recorded, strict=True):
        for got, wanted in zip(ours, one.expected(), strict=True):
            assert {name: array.tobytes() for name, array in got.items()} == {
                name: array.tobytes() for name, array in wanted.items()
            }


@pytest.mark.parametrize("form", FORMS)
def test_onnx_gives_the_interpreters_bits(form: str, tmp_path: Path) -> None:
    assert_agrees(lowered(form), tmp_path, CALLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grouped", "window", "MultiheadAttention"])
def test_pytorchs_numbers_over_two_hundred_tokens(name: str) -> None:
    """Grouped heads with rotations, a window that the text leaves far behind, and PyTorch's own layer."""
    module = Whole(windowed, positions=False) if name == "window" else WHOLE[name]()
    if name == "MultiheadAttention":
        module.places = torch.nn.Embedding(256, 32)
    module.eval().requires_grad_(False)
    imported = import_module(module, name="m", block=16, context=256 if name == "grouped" else None)
    tokens = np.random.default_rng(2).integers(0, 256, 200)
    session = Session(pipeline.run(imported, pipeline.passes())[0])
    found = np.stack([session.forward([token]) for token in tokens.tolist()])
    np.testing.assert_allclose(found, module(torch.from_numpy(tokens)[None])[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["expanded", "f16", "int8", "int4"])
def test_the_interpreter_overwrites_caches(form: str) -> None:
    """But for a session that is observed, which sees what ops are given: to the same bits."""
    made, seen = lowered(form), []
    plain = Session(made)
    observed = Session(made, observe=lambda op, operands, results: seen.append((op.name, operands, results)))
    caches = {name: copies.ctypes.data for name, copies in plain.states.items()}
    for tokens in ([1, 2, 3], [4], [5, 6]):
        assert plain.forward(tokens).tobytes() == observed.forward(tokens).tobytes()
        assert plain.state_bytes() == observed.state_bytes()
    assert {name: copies.ctypes.data for name, copies in plain.states.items()} == caches
    given, made_of = next((operands[3], results[1]) for name, operands, results in seen if name in ATTENTION)
    assert given.tobytes() != made_of.tobytes()


def test_rounded_caches_are_near() -> None:
    """Rounding keys and values moves logits by less than a thousandth of their range, to int8 less than a hundredth,
    to 4 bits less than a tenth."""
    module = import_module(CachedModel(72, width=64).eval().requires_grad_(False), name="m", block=8)
    tokens = np.random.default_rng(3).integers(0, 256, 70).tolist()
    logits, row = {}, {"f32": 4 * 64, "f16": 2 * 64, "int8": 64 + 4, "int4": 32 + 4}
    for dtype in CACHE_TYPES:
        session = Session(pipeline.run(with_caches(module, dtype), pipeline.passes())[0])
        logits[dtype] = np.stack([session.forward([token]) for token in tokens])
        assert sum(s.nbytes for s in session.states.values()) == 4 * 2 * 72 * row[dtype]
    far = {form: np.abs(found - logits["f32"]).max() / np.ptp(logits["f32"]) for form, found in logits.items()}
    assert 0 < far["f16"] < 1e-3
    assert far["f16"] < far["int8"] < 1e-2
    assert far["int8"] < far["int4"] < 1e-1


@pytest.mark.parametrize("cache", ["f16", *(pytest.param(form, marks=pytest.mark.slow) for form in ("int8", "int4"))])
def test_bundles_with_a_context_and_rounded_caches(cache: str, tmp_path: Path) -> None:
    """Each is compared with the interpreter when it is built; snapshots go from one to the other."""
    report = chimerac.compile(
        WHOLE["expanded"](), name="rounded", targets=["x86_64-avx2", "onnx"], out=tmp_path, context=40, cache=cache
    )
    snapshots = set()
    for bundle in report.bundles:
        assert read_manifest(bundle.path).provenance["cache"] == cache
        with chimerac.load(bundle.path) as session:
            assert session.context == 40
            for _ in session.generate([1, 2, 3], max_tokens=20):
                pass
            session.state_hash()
            snapshots.add(session.snapshot())
            session.restore(session.snapshot())
            for wrong in _with_what_no_cache_holds(session.snapshot()):
                with pytest.raises(BundleError, match="out of range", check=lambda error: error.code == "CHM420"):
                    session.restore(wrong)
    assert len(snapshots) == 1


def _with_what_no_cache_holds(snapshot: bytes) -> Iterator[bytes]:
    container = parse_container(snapshot)
    for name in container.sections:
        array = container.array(name).copy()
        if name.startswith("state.") and array.dtype != np.uint8:  # bytes of two codes may be any
            array[-1, -1, -1] = -128 if array.dtype == np.int8 else np.nan
            yield changed(snapshot, {name: array})


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_rows_that_no_text_reaches_take_no_memory(tmp_path: Path) -> None:
    """Of 16 MiB of caches a session of a few tokens has a few pages; on memory that was used it has zeros again."""
    report = chimerac.compile(CachedModel(1 << 16), targets=["x86_64-avx2"], out=tmp_path)
    found = subprocess.run([sys.executable, "-c", RESIDENT, report.bundles[0].path], capture_output=True, check=True)
    opened, run, same = json.loads(found.stdout)
    assert 0 <= opened <= run < 4 << 20
    assert same


#: Memory that two sessions take, opened and after some tokens; whether a later one computes the same.
RESIDENT = """
import json, mmap, sys
from pathlib import Path
import chimerac
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
logits = []
with chimerac.load(sys.argv[1]) as first:
    first.prefill([1, 2, 3])
    before = resident()
    with chimerac.load(sys.argv[1]) as second:
        opened = resident() - before
        second.prefill(range(40))
        logits.append(second.logits().tobytes())
        run = resident() - before
with chimerac.load(sys.argv[1]) as third:
    third.prefill(range(40))
    logits.append(third.logits().tobytes())
print(json.dumps([opened, run, len(set(logits)) == 1]))
"""


def test_the_gpt_of_the_page(tmp_path: Path) -> None:
    """docs/modules.md: it is compiled as it stands, and gives PyTorch's logits."""
    page = (ROOT / "docs" / "modules.md").read_text("utf-8")
    (source,) = re.findall(r"^`gpt.py`:\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "gpt.py").write_text(source)
    module = module_of_source(f"{tmp_path / 'gpt.py'}:GPT").eval().requires_grad_(False)
    made = pipeline.run(import_module(module, name="gpt", block=16), pipeline.passes())[0]
    tokens = np.random.default_rng(4).integers(0, 256, 50)
    session = Session(made)
    found = np.stack([session.forward([token]) for token in tokens.tolist()])
    np.testing.assert_allclose(found, module(torch.from_numpy(tokens)[None])[0].numpy(), rtol=1e-4, atol=1e-4)
    assert (session.context, sum(op.name == "cached_attention" for op in made.entry("decode").ops)) == (256, 2)


def test_facts_say_what_is_kept() -> None:
    """Bytes of a token and of all rows: keys and values of 8 numbers, of the heads and layers that there are."""
    expected = {
        "filled": "256 bytes of keys and values per token, 18,432 bytes for a context of 72 tokens",
        "window": "256 bytes of keys and values per token, 4,608 bytes for the windows",
        "f16": "128 bytes of keys and values per token, 9,216 bytes for a context of 72 tokens",
        "int8": "80 bytes of keys and values per token, 5,760 bytes for a context of 72 tokens",
        "int4": "272 bytes of keys and values per token, 19,584 bytes for a context of 72 tokens",
    }
    for form, line in expected.items():
        assert line in list(facts_of(lowered(form)).lines())
    rounded = {form: line for form in FORMS for line in facts_of(lowered(form)).lines() if "are kept as" in line}
    assert rounded == {
        "f16": "keys and values are kept as float16, each within 1/2,048 of itself",
        "int8": "keys and values are kept as codes of 8 bits, each within 1/250 of the largest of its 32 channels",
        "int4": "keys and values are kept as codes of 4 bits, in blocks of 32 channels that are transformed first",
    }


def test_what_caches_there_are() -> None:
    module = import_module(CachedModel(72).eval(), name="m", block=8)
    assert with_caches(module, "f32") is module
    stepped = import_module(STEPPED["copy_"]().eval(), name="m", block=8)
    assert {str(state.type) for state in with_caches(stepped, "f16").states.values()} == {"f16[4,72,8]"}
    coded = with_caches(stepped, "int8").states
    assert {(name.endswith(".scales"), str(state.type)) for name, state in coded.items()} == {
        (False, "i8[4,72,8]"),
        (True, "f16[4,72,1]"),
    }
    for made, dtype, message in (
        (module, "f64", "there are no caches of f64"),
        (import_module(torch.nn.Sequential(torch.nn.Embedding(9, 9)).eval(), name="m", block=8), "f16", "no attention"),
    ):
        with pytest.raises(UserError, match=message, check=lambda error: error.code == "CHM223"):
            with_caches(made, dtype)


def test_contexts_are_of_language_models() -> None:
    for given in ({"context": 8}, {"cache": "f16"}):
        with pytest.raises(UserError, match="takes no", check=lambda error: error.code == "CHM219"):
            chimerac.build("home", **given)
        with pytest.raises(UserError, match="no language model", check=lambda error: error.code == "CHM219"):
            chimerac.compile(torch.nn.Linear(2, 2), example=["2:f32"], **given)
    with pytest.raises(UserError, match="a context of 1 tokens", check=lambda error: error.code == "CHM224"):
        chimerac.compile(WHOLE["flash"](), context=1)
