"""A toy bundle, natively and as wasm, made of a hand-written model.c: the runtime tested without the compiler."""

from __future__ import annotations

import ctypes as ct
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
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


def compile_c(output: Path, sources: Sequence[Path], *flags: str, compiler: Sequence[str] = ("gcc",)) -> Path:
    command = [*compiler, *bf.C_FLAGS, f"-I{bf.NATIVE_DIRECTORY}", *map(str, sources), *flags, "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
    return output


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
def compile_native(gcc: str) -> Callable[..., Path]:
    """compile_native(output, sources, *flags) with the flags of the runtime."""
    return compile_c


@pytest.fixture(scope="session")
def native_target() -> str:
    return f"{platform.machine()}-test"


@pytest.fixture(scope="session")
def toy_flags() -> list[str]:
    """Compiler flags that native/toy_model.c needs."""
    return toy_defines("test")


@pytest.fixture(scope="session")
def toy_library(gcc: str, native_target: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES]
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    output = tmp_path_factory.mktemp("native") / "libchimera.so"
    return compile_c(output, [TOY_C, *sources], "-shared", "-fPIC", *warnings, *toy_defines(native_target))


def link_wasm(output: Path, vocab: int = VOCAB) -> Path:
    sources = [bf.NATIVE_DIRECTORY / name for name in bf.WASM_SOURCES]
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding")
    warnings = ("-Wall", "-Wextra", "-Werror")
    flags = (*warnings, *bf.WASM_C_FLAGS, *bf.wasm_link_flags(), *toy_defines("wasm32-test", vocab))
    return compile_c(output, [TOY_C, *sources], *flags, compiler=compiler)


@pytest.fixture(scope="session")
def toy_wasm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_wasm(tmp_path_factory.mktemp("wasm") / "chimera.wasm")


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
    files = (
        bf.file_entry(folder / code.name, "code"),
        bf.file_entry(folder / "toy.b158", "weights"),
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
def internals(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> ct.CDLL:
    """The runtime's internal functions, see native/exports.c."""
    sources = [NATIVE_TESTS / "exports.c", TOY_C, *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    output = tmp_path_factory.mktemp("internals") / "internals.so"
    return ct.CDLL(str(compile_c(output, sources, "-shared", "-fPIC", *toy_defines("test"))))
