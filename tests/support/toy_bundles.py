"""A toy bundle, natively and as wasm, made of a hand-written model.c: the runtime tested without the compiler."""

from __future__ import annotations

import ctypes as ct
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from made_once import Once
from project import NATIVE_TESTS

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, byte_tokenizer, write_tokenizer

TOY_C = NATIVE_TESTS / "toy_model.c"
VOCAB = 288


def toy_weights(vocab: int = VOCAB) -> list[bf.Section]:
    random = np.random.default_rng(7)

    def draw(*shape: int, scale: float) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    return [
        bf.array_section("embedding", draw(vocab, 8, scale=1.0)),
        bf.array_section("mix", draw(8, 8, scale=0.6)),
        bf.array_section("head", draw(8, vocab, scale=0.7)),
        bf.array_section("initial", draw(8, scale=0.5)),
    ]


def toy_tokenizer() -> Tokenizer:
    return byte_tokenizer(
        270, [Special("<end>", 257, "end"), Special("<begin>", 256, "begin"), Special("<p>", 260, "pad")]
    )


WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
#: Beginnings of the flags that decide what the runtime's own sources become.
SWITCHES = ("-f", "-g", "-m", "-O", "-pthread", "-D_POSIX", "-Dclock")


def compile_c(output: Path, sources: Sequence[Path], *flags: str, compiler: Sequence[str] = ("gcc",)) -> Path:
    """A library or a program, with the flags of the runtime."""
    run_compiler([*compiler, *bf.C_FLAGS, f"-I{bf.NATIVE_DIRECTORY}", *map(str, sources), *flags, "-o", str(output)])
    return output


def run_compiler(command: Sequence[str], folder: Path | None = None) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"


def compile_with_runtime(once: Once, output: Path, sources: Sequence[Path], *flags: str) -> Path:
    """As ``compile_c``; the runtime's sources among them are compiled once in a run of tests for each kind of flags."""
    own = [source for source in sources if source.parent == bf.NATIVE_DIRECTORY]
    switches = [*dict.fromkeys(["-fPIC", *(flag for flag in flags if flag.startswith(SWITCHES))])]

    def make(source: Path, folder: Path) -> None:
        run_compiler(["gcc", *bf.C_FLAGS, *WARNINGS, *switches, "-c", str(source)], folder)

    objects = [
        once(f"{source.stem} {' '.join(sorted(switches))}", partial(make, source)) / f"{source.stem}.o"
        for source in own
    ]
    return compile_c(output, [*(source for source in sources if source not in own), *objects], *flags)


def toy_defines(target: str, vocab: int = VOCAB) -> list[str]:
    digest = bf.contents_sha256(toy_weights(vocab))
    return [f'-DTOY_TARGET="{target}"', f'-DTOY_WEIGHTS_SHA256="{digest}"', f"-DVOCAB={vocab}"]


@pytest.fixture(scope="session")
def gcc() -> str:
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("needs gcc")
    return found


@pytest.fixture(scope="session")
def compile_native(gcc: str, once: Once) -> Callable[..., Path]:
    """compile_native(output, sources, *flags) with the flags of the runtime."""
    return partial(compile_with_runtime, once)


@pytest.fixture(scope="session")
def native_target() -> str:
    return f"{platform.machine()}-test"


@pytest.fixture(scope="session")
def toy_flags() -> list[str]:
    """Compiler flags that native/toy_model.c needs."""
    return toy_defines("test")


@pytest.fixture(scope="session")
def toy_library(compile_native: Callable[..., Path], native_target: str, once: Once) -> Path:
    sources = [TOY_C, *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    flags = ("-shared", "-fPIC", *WARNINGS, *toy_defines(native_target))
    name = "libchimera.so"
    return once("native", lambda folder: compile_native(folder / name, sources, *flags)) / name


#: Functions that no loader calls, so that modules of bundles lack them: the toy's masks are compared with native ones.
GRAMMAR_STEPS: Final = ("chm_grammar_start", "chm_grammar_accept", "chm_grammar_mask_words", "chm_grammar_mask")


def link_wasm(output: Path, vocab: int = VOCAB, *more: str) -> Path:
    sources = [bf.NATIVE_DIRECTORY / name for name in bf.WASM_SOURCES]
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding")
    warnings = ("-Wall", "-Wextra", "-Werror")
    steps = (f"-Wl,--export={name}" for name in GRAMMAR_STEPS)
    flags = (*warnings, *bf.WASM_C_FLAGS, *bf.wasm_link_flags(), *steps, *toy_defines("wasm32-test", vocab), *more)
    return compile_c(output, [TOY_C, *sources], *flags, compiler=compiler)


@pytest.fixture(scope="session")
def toy_wasm(once: Once) -> Path:
    return once("wasm", lambda folder: link_wasm(folder / "chimera.wasm")) / "chimera.wasm"


@dataclass(frozen=True)
class Toy:
    """A folder with a whole bundle."""

    folder: Path
    manifest: bf.Manifest

    def file(self, role: str) -> Path:
        entry = self.manifest.file(role)
        assert entry is not None
        return self.folder / entry.name


def make_bundle(
    folder: Path,
    code: Path,
    target: str,
    self_test: bf.SelfTest | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    vocab: int = VOCAB,
) -> Toy:
    folder.mkdir(exist_ok=True)
    sections = toy_weights(vocab)
    bf.write_container(folder / "toy.b158", "b158", sections, {bf.KEY_CONFIG: "ab" * 32})
    write_tokenizer(folder / "toy_tokenizer.model", tokenizer or toy_tokenizer())
    shutil.copy(code, folder / code.name)
    weights = bf.file_entry(folder / "toy.b158", "weights")
    files = (
        bf.file_entry(folder / code.name, "code"),
        bf.chunked(weights, folder / "toy.b158") if code.suffix == ".wasm" else weights,
        bf.file_entry(folder / "toy_tokenizer.model", "tokenizer"),
    )
    manifest = bf.Manifest(
        name="toy",
        target=target,
        config_sha256="ab" * 32,
        weights_sha256=bf.contents_sha256(sections),
        chimerac="0.0.0",
        files=files,
        memory=bf.Memory(sum(len(section.raw()) for section in sections), 160, 64),
        self_test=self_test,
    )
    bf.write_manifest(folder, manifest)
    return Toy(folder, manifest)


@pytest.fixture(scope="session")
def make_toy_bundle() -> Callable[..., Toy]:
    """make_toy_bundle(folder, code, target, self_test=None, *, tokenizer=None, vocab=VOCAB)"""
    return make_bundle


@pytest.fixture(scope="session")
def toy(toy_library: Path, native_target: str, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "native", toy_library, native_target)


@pytest.fixture(scope="session")
def wasm_toy(toy_wasm: Path, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "wasm", toy_wasm, "wasm32-test")


@pytest.fixture(scope="session")
def make_wasm_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tokenizer], Toy]:
    """make_wasm_toy(tokenizer): a web bundle whose model has the tokenizer's vocabulary."""

    def make(tokenizer: Tokenizer) -> Toy:
        folder, vocab = tmp_path_factory.mktemp("wasm"), len(tokenizer.tokens)
        code = link_wasm(folder / "chimera.wasm", vocab)
        return make_bundle(folder / "bundle", code, "wasm32-test", tokenizer=tokenizer, vocab=vocab)

    return make


@pytest.fixture(scope="session")
def internals(compile_native: Callable[..., Path], once: Once) -> ct.CDLL:
    """The runtime's internal functions, see native/exports.c."""
    sources = [NATIVE_TESTS / "exports.c", TOY_C, *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    flags = ("-shared", "-fPIC", *toy_defines("test"))
    name = "internals.so"
    return ct.CDLL(str(once("internals", lambda folder: compile_native(folder / name, sources, *flags)) / name))
