"""Damaged packs: an error or a usable grammar, never a read or write outside of the tables; memory that fails."""

from __future__ import annotations

import ctypes as ct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_seeds import deep_trie

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.fstpack import Pack, Vocabulary, pack_bytes
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, tokenizer_sections, write_tokenizer
from chimerac.runtime.sessions.native_library import NativeLibrary

from .conftest import Compiled

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
Get = Callable[[str], Compiled]


@pytest.fixture(scope="module")
def driver(compile_native: Callable[..., Path], toy_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = Path(__file__).parent
    sources = [here / "grammar_driver.c", here.parent / "toy_model.c"]
    sources += [bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES]
    output = tmp_path_factory.mktemp("driver") / "grammars"
    return compile_native(output, sources, *SANITIZERS, "-pthread", *toy_flags)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, compiled: Get) -> Callable[[str], tuple[Path, Path]]:
    """small(name): (tokenizer, pack) files of 286 tokens, so that many packs can be tried."""
    from chimerac.passes.grammar_fst.masks import with_masks
    from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of

    folder = tmp_path_factory.mktemp("packs")
    pieces = (b'{"', b'":', b'"}', b"}}", b"]]", b'": "', b"12", b"-1", b"true", b"ab", b"  ", b"on", b"onl", b'","')
    tokens = (*(bytes([value]) for value in range(256)), *pieces, b"", b"")
    tokenizer = Tokenizer(tokens, (Special("<end>", len(tokens) - 2, "end"), Special("<pad>", len(tokens) - 1, "pad")))
    write_tokenizer(folder / "tokenizer", tokenizer)

    def get(name: str) -> tuple[Path, Path]:
        vocabulary = vocabulary_of(tokens)
        automata = (with_masks(compiled(name).automaton, vocabulary),)
        digest = bf.contents_sha256(tokenizer_sections(tokenizer))
        (folder / name).write_bytes(pack_bytes(Pack(automata, vocabulary, digest)))
        return folder / "tokenizer", folder / name

    return get


def run(driver: Path, toy: Any, files: tuple[Path, Path], *words: object) -> int:
    command = [str(driver), str(toy.file("weights")), *map(str, files), *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return int(result.stdout)


@pytest.mark.parametrize("name", ["json", "person", "regex"])
def test_random_damage_never_leads_outside(
    name: str, driver: Path, toy: Any, small: Callable[[str], tuple[Path, Path]]
) -> None:
    opened = run(driver, toy, small(name), 1, 400)
    assert 0 < opened < 400, "some damage is harmless, some is noticed"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["json", "person", "regex", "python", "items"])
def test_much_random_damage(name: str, driver: Path, toy: Any, small: Callable[[str], tuple[Path, Path]]) -> None:
    assert run(driver, toy, small(name), 77, 12_000) > 0


def test_no_prefix_is_a_pack(driver: Path, toy: Any, small: Callable[[str], tuple[Path, Path]]) -> None:
    assert run(driver, toy, small("person"), "cuts") == 0


def test_a_trie_that_goes_below_the_longest_token_is_refused(
    model: Any, tokenizer: Tokenizer, vocabulary: Vocabulary
) -> None:
    """The engine has room for walks over tokens; with this one it wrote behind it."""
    library, bundle, pack = NativeLibrary(model.file("code")), ct.c_void_p(), ct.c_void_p()
    paths = (str(model.file("weights")).encode(), str(model.file("tokenizer")).encode())
    library.call("chm_bundle_open_files", *paths, 0, None, ct.byref(bundle))
    digest = bf.contents_sha256(tokenizer_sections(tokenizer))
    data = np.frombuffer(deep_trie(vocabulary, digest), np.uint8).copy()
    status = library.get("chm_pack_open", bundle, None, data.ctypes.data, data.size, 0, None, ct.byref(pack))
    assert (status, pack.value) == (431, None)
    library.call("chm_bundle_close", bundle)


class CountingAllocator:
    """Allocations that fail at a given number."""

    def __init__(self, fail_at: int) -> None:
        self.calls, self.fail_at = 0, fail_at
        self.blocks: dict[int, Any] = {}
        allocate = ct.CFUNCTYPE(ct.c_void_p, ct.c_void_p, ct.c_size_t)
        release = ct.CFUNCTYPE(None, ct.c_void_p, ct.c_void_p, ct.c_size_t)
        self._functions = allocate(self._allocate), release(self._release)
        addresses = [ct.cast(function, ct.c_void_p).value for function in self._functions]
        self.struct = (ct.c_void_p * 3)(*addresses, None)

    def _allocate(self, user: object, size: int) -> int | None:
        self.calls += 1
        if self.calls == self.fail_at:
            return None
        block = np.zeros(size + 64, np.uint8)
        address = -(-block.ctypes.data // 64) * 64
        self.blocks[address] = block, size
        return address

    def _release(self, user: object, block: int, size: int) -> None:
        assert self.blocks.pop(block)[1] == size


@pytest.mark.parametrize("form", ["data", "stored"])
def test_every_allocation_may_fail_and_none_is_made_per_token(form: str, model: Any, compiled: Get) -> None:
    library, bundle = NativeLibrary(model.file("code")), ct.c_void_p()
    paths = (str(model.file("weights")).encode(), str(model.file("tokenizer")).encode())
    assert not library.call("chm_bundle_open_files", *paths, 0, None, ct.byref(bundle))
    data = np.frombuffer(getattr(compiled("person"), form), np.uint8).copy()

    def story(allocator: CountingAllocator) -> int:
        pack, grammar = ct.c_void_p(), ct.c_void_p()
        where = (data.ctypes.data, data.size, 0, allocator.struct, ct.byref(pack))
        status = int(library.get("chm_pack_open", bundle, None, *where))
        if status:
            assert not pack
            return status
        status = int(library.get("chm_grammar_open", pack, None, None, ct.byref(grammar)))
        if not status:
            before = allocator.calls
            words = np.zeros(library.get("chm_grammar_mask_words", grammar), np.uint32)
            for token in b'{"name":"abc':
                assert library.get("chm_grammar_mask", grammar, 30, words.ctypes.data, words.size) == 0
                assert library.get("chm_grammar_accept", grammar, token) == 0
            assert allocator.calls == before, "nothing is allocated per token"
        library.get("chm_grammar_close", grammar)
        assert library.get("chm_pack_close", pack) == 0
        return status

    counting = CountingAllocator(0)
    assert story(counting) == 0
    assert not counting.blocks
    for fail_at in range(1, counting.calls + 1):
        allocator = CountingAllocator(fail_at)
        assert story(allocator) == 422
        assert not allocator.blocks
    library.call("chm_bundle_close", bundle)
