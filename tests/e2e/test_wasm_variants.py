"""Every module of a web bundle computes the interpreter's bits, in every engine, with any number of threads."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from wasm_module import Module

import chimerac
from chimerac.compiler.build.build import build_model
from chimerac.compiler.build.importing import import_described, read_description
from chimerac.compiler.build.self_test import self_test
from chimerac.frontends.layers.shapes import MoeShape
from chimerac.runtime.bundle_format import Manifest, read_manifest
from chimerac.runtime.options import PLAIN
from chimerac.runtime.sessions.wasm import WasmSession
from chimerac.targets.registry import find_target

PROMPT = list(b"It was a bright cold day in April")
TOKENS = 12
MODULES = (
    "chimera.wasm",
    "chimera.relaxed.wasm",
    "chimera.scalar.wasm",
    "chimera.threads.wasm",
    "chimera.relaxed.threads.wasm",
)
FOURS = ("chimera.dot4.wasm", "chimera.dot4.threads.wasm")  # for some processors, in engines that use what they have
Result = tuple[list[int], str, str]


@dataclass(frozen=True)
class Case:
    """A web bundle and what the interpreter computes for PROMPT."""

    folder: Path
    manifest: Manifest
    expected: Result

    def path(self, role: str) -> Path:
        entry = self.manifest.file(role)
        assert entry is not None
        return self.folder / entry.name


def odd_shape(shape: Any) -> Any:
    """Sizes that are multiples of nothing; the wide layers are what threads share."""
    moe = MoeShape(layers=(3, 7), experts=3, shared_experts=1, experts_per_token=2, width=44)
    return replace(shape, vocabulary=301, hidden=72, width=3996, heads=3, head_width=24, moe=moe)


@pytest.fixture(scope="module", params=["nano", pytest.param("odd", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest, document: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    described = read_description(document, scale="nano")
    if request.param == "odd":
        odd = replace(described.description, shape=odd_shape(described.description.shape), specials=())
        described = replace(described, description=odd)
    source = import_described(described)
    assert source.tokenizer is not None
    target = find_target("wasm")
    folder = tmp_path_factory.mktemp("variants") / request.param
    module = build_model(source, target, folder, check=False)
    found = self_test(module, prompt=PROMPT, count=TOKENS, tokenizer=source.tokenizer).vector
    return Case(folder, read_manifest(folder), (list(found.tokens), found.state_hash, found.logits_hash))


def test_the_bundle_has_them_all(case: Case) -> None:
    roles = {file.name: file.role for file in case.manifest.files if file.name.endswith(".wasm")}
    assert roles == {name: "code" if name == "chimera.wasm" else "variant" for name in (*MODULES, *FOURS)}


@pytest.mark.parametrize(
    ("name", "deterministic"),
    [
        ("chimera.wasm", False),
        ("chimera.relaxed.wasm", False),
        ("chimera.relaxed.wasm", True),
        ("chimera.dot4.wasm", False),
        ("chimera.scalar.wasm", False),
    ],
)
def test_wasmtime(case: Case, name: str, deterministic: bool) -> None:
    module = Module(case.folder / name, deterministic=deterministic)
    refused = ""
    try:
        module.open(case.path("weights"), case.path("tokenizer"))
    except chimerac.runtime.BundleError as error:
        refused = str(error)
    if name in FOURS and "this processor cannot run the kernels dot4" in refused:
        pytest.skip("the processor has no byte products of four, or wasmtime does not use them")
    assert not refused
    module.prefill(PROMPT)
    tokens = module.generate(TOKENS)
    assert (tokens, *module.hashes()) == case.expected


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize(("name", "threads"), [(n, t) for n in MODULES for t in ((1, 4) if "threads" in n else (1,))])
def test_node(case: Case, name: str, threads: int) -> None:
    with WasmSession(case.manifest, case.folder, threads=threads, variant=name) as session:
        assert (session.variant, session.threads) == (name, threads)
        for _ in range(2):
            for _ in session.generate(PROMPT, max_tokens=TOKENS, **PLAIN):
                pass
            assert (session.tokens(), session.state_hash(), session.logits_hash()) == case.expected


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_best_module_is_chosen(case: Case) -> None:
    for threads, end in ((1, ".wasm"), (3, ".threads.wasm")):
        with chimerac.load(case.folder, threads=threads) as session:
            assert isinstance(session, WasmSession)
            assert session.variant in (f"chimera.relaxed{end}", f"chimera.dot4{end}")
            assert session.threads == threads
            best = session.variant
            list(session.generate(PROMPT, max_tokens=TOKENS, **PLAIN))
            assert (session.tokens(), session.state_hash(), session.logits_hash()) == case.expected
    if "dot4" not in best:
        with pytest.raises(chimerac.runtime.BundleError, match="this processor cannot run the kernels dot4"):
            WasmSession(case.manifest, case.folder, variant=FOURS[0])
    with pytest.raises(chimerac.runtime.BundleError, match='no module "other"'):
        WasmSession(case.manifest, case.folder, variant="other")
