"""A session on the toy model: prefill = decode, loops, generation, snapshots, ranges, memory."""

from __future__ import annotations

import ctypes as ct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimerac.compiler.ir import numpy_math
from chimerac.runtime import BundleError, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer
from chimerac.runtime.sessions import native_library
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.native_library import NativeLibrary

TOKENS = [int(token) for token in np.random.default_rng(0).integers(0, 256, 75)]


@pytest.fixture
def session(toy: Any) -> Iterator[NativeSession]:
    opened = load(toy.folder)
    assert isinstance(opened, NativeSession)
    with opened:
        yield opened


class Reference:
    """The toy model in numpy, for one token at a time."""

    def __init__(self, weights: Path) -> None:
        container = bf.read_container(weights)
        self.embedding, self.mix, self.head, initial = (
            container.array(name) for name in ("embedding", "mix", "head", "initial")
        )
        self.looped = np.tile(initial, (4, 1))
        self.trace = np.zeros(8, np.float32)
        self.deepest = 0

    def run(self, token: int, loops: int) -> None:
        for iteration in range(max(1, self.deepest), loops):
            if self.deepest:
                self.looped[iteration] = self.looped[self.deepest - 1]
        x = self.embedding[token].copy()
        for iteration in range(loops):
            total = x.copy()
            for column in range(8):
                total = total + self.mix[:, column] * self.looped[iteration, column]
            self.looped[iteration] = numpy_math.tanh_f32(total)
            x = x * np.float32(0.5) + self.looped[iteration]
        self.trace = self.trace * np.float32(0.75) + x
        self.deepest = max(self.deepest, loops)

    def logits(self) -> np.ndarray:
        return numpy_math.lanes8_sum(self.head * self.trace[:, None], axis=0)


def set_loops(session: NativeSession, loops: int) -> None:
    session._library.call("chm_session_set_loops", session._session, loops)


def test_the_toy_is_its_reference_bit_for_bit(session: NativeSession, toy: Any) -> None:
    reference = Reference(toy.file("weights"))
    assert session.logits() is None
    for token, loops in zip(TOKENS[:20], [2] * 5 + [1] * 3 + [4] * 5 + [3] * 7, strict=True):
        set_loops(session, loops)
        session.prefill([token])
        reference.run(token, loops)
        logits = session.logits()
        assert logits is not None
        assert np.array_equal(logits.view(np.uint32), reference.logits().view(np.uint32))


@pytest.mark.parametrize("pieces", [[75], [1] * 75, [16, 16, 16, 27], [5, 30, 40], [0, 74, 0, 1]])
def test_any_split_of_a_prompt_gives_the_same_bits(session: NativeSession, pieces: list[int]) -> None:
    for token in TOKENS:
        session._library.call("chm_session_decode", session._session, token)
    expected = (session.state_hash(), session.logits_hash())
    session.reset()
    position = 0
    for size in pieces:
        session.prefill(TOKENS[position : position + size])
        position += size
        assert session.position == position
    assert (session.state_hash(), session.logits_hash()) == expected


def test_deeper_loops_start_from_the_deepest_state(session: NativeSession) -> None:
    """Loops 1 then 3: the states of iterations 2 and 3 are copies of the first one's, not the initial values."""
    set_loops(session, 1)
    session.prefill(TOKENS[:20])
    state = looped_state(session)
    set_loops(session, 3)
    before = session.snapshot()
    session.prefill(TOKENS[20:21])
    assert session.iterations == 3
    deep = looped_state(session)
    assert not np.array_equal(deep[1], state[1])
    assert np.array_equal(deep[3], state[3]), "the fourth iteration was never used"
    set_loops(session, 1)
    session.prefill(TOKENS[21:30])
    session.restore(before)
    session.prefill(TOKENS[20:21])
    assert session.iterations == 1


def looped_state(session: NativeSession) -> np.ndarray:
    return bf.parse_container(session.snapshot()).array("state.looped")


def test_a_snapshot_brings_back_everything(session: NativeSession) -> None:
    first = session.generate(TOKENS[:30], max_tokens=40, temperature=1.0, repetition_penalty=1.4, seed=3)
    for _ in range(11):
        next(first)
    snapshot = session.snapshot()
    rest = [piece.token for piece in first]
    end = (session.state_hash(), session.logits_hash())
    session.reset()
    session.restore(snapshot)
    token = ct.c_int32()
    again = []
    while not session._library.call("chm_session_generate", session._session, ct.byref(token)):
        again.append(token.value)
    assert again == rest
    assert (session.state_hash(), session.logits_hash()) == end
    assert session.snapshot() != snapshot


def test_an_exit_threshold_leaves_the_loop_and_prompts_still_match_single_tokens(session: NativeSession) -> None:
    call, handle = session._library.call, session._session
    results = []
    for pieces in ([75], [1] * 75):
        session.reset()
        set_loops(session, 4)
        call("chm_session_set_exit_threshold", handle, 0.9)
        depths, position = set(), 0
        for size in pieces:
            session.prefill(TOKENS[position : position + size])
            position += size
            depths.add(session.iterations)
        results.append((session.state_hash(), session.logits_hash()))
    assert results[0] == results[1]
    assert len(depths) > 1, "the threshold must make a difference"


def test_generation_stops_at_max_tokens_and_at_stop_tokens(session: NativeSession) -> None:
    pieces = list(session.generate("hello", max_tokens=25, temperature=1.0, seed=1))
    assert session.finish_reason == "length"
    assert [piece.token for piece in pieces if piece.token >= 0] == session.tokens()
    assert len(session.tokens()) == 25
    stop = session.tokens()[10]
    first = session.tokens().index(stop)
    session._library.call("chm_session_set_stop_tokens", session._session, (ct.c_int32 * 1)(stop), 1)
    list(session.generate("hello", max_tokens=25, temperature=1.0, seed=1))
    reasons = [session.finish_reason]
    assert session.tokens()[-1] == stop
    assert len(session.tokens()) == first + 1
    assert list(session.generate("hello", max_tokens=0)) == []
    reasons.append(session.finish_reason)
    assert reasons == ["stop", "length"]


def test_pieces_are_the_text_of_the_tokens(session: NativeSession) -> None:
    for seed in range(20):
        text = "".join(map(str, session.generate("hello", max_tokens=60, temperature=2.0, seed=seed)))
        data = bytes(token for token in session.tokens() if token < 256)
        assert text == data.decode("utf-8", "replace")


def test_unreachable_tokens_are_never_generated(session: NativeSession) -> None:
    seen = set()
    for seed in range(100):
        list(session.generate("hello", max_tokens=60, temperature=100.0, seed=seed))
        seen.update(session.tokens())
    assert len(seen) > 250
    assert all(token < 256 or token == 257 for token in seen), "only bytes and <end>"


def test_a_generation_can_be_continued(session: NativeSession) -> None:
    list(session.generate("hello", max_tokens=30, temperature=1.0, seed=4))
    whole = session.tokens()
    state = session.state_hash()
    assert session.position == len(b"hello") + 1 + 30
    list(session.generate("hello", max_tokens=12, temperature=1.0, seed=4))
    start = session.tokens()
    list(session.generate([], max_tokens=18, temperature=1.0, seed=4, reset=False))
    assert start + session.tokens() == whole
    assert session.state_hash() == state


def test_the_seed_decides_everything(session: NativeSession) -> None:
    def run(**options: Any) -> list[int]:
        list(session.generate("hello", max_tokens=30, temperature=1.5, **options))
        return session.tokens()

    assert run(seed=1) == run(seed=1)
    different = [run(seed=1), run(seed=2), run(seed=1, stream=1), run(seed=1 + 2**32), run(seed=1, top_k=3)]
    assert len({tuple(tokens) for tokens in different}) == len(different)


def test_a_generator_left_early_leaves_the_session_usable(session: NativeSession) -> None:
    list(session.generate("hello", max_tokens=20))
    expected = session.tokens()
    generator = session.generate("hello", max_tokens=20)
    next(generator)
    generator.close()
    assert session.finish_reason is None
    list(session.generate("hello", max_tokens=20))
    assert session.tokens() == expected


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": 0.001},
        {"temperature": 101.0},
        {"temperature": float("nan")},
        {"top_p": -0.1},
        {"top_p": 1.1},
        {"top_p": float("nan")},
        {"top_k": -1},
        {"top_k": 2**31},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"loops": -1},
        {"loops": 5},
        {"exit_threshold": -0.5},
        {"exit_threshold": float("nan")},
        {"max_tokens": -1},
        {"max_tokens": 2**31},
        {"max_tokens": 1.5},
        {"seed": -1},
        {"seed": 2**64},
        {"stream": 2**32},
    ],
)
def test_options_out_of_range(session: NativeSession, options: dict[str, Any]) -> None:
    with pytest.raises(BundleError) as caught:
        list(session.generate("hello", **options))
    assert caught.value.code == "CHM420"
    assert len(list(session.generate("hello", max_tokens=3))) == 3


def test_tokens_out_of_range_change_nothing(session: NativeSession) -> None:
    session.prefill(TOKENS[:5])
    before = session.state_hash()
    for bad in ([1, 288], [-1], [2**31], [-(2**40)]):
        with pytest.raises(BundleError) as caught:
            session.prefill(bad)
        assert caught.value.code == "CHM420"
    assert (session.position, session.state_hash()) == (5, before)


def test_calls_that_do_not_fit_the_state(session: NativeSession) -> None:
    library, token = session._library, ct.c_int32()
    with pytest.raises(BundleError, match="nothing to continue") as caught:
        library.call("chm_session_generate", session._session, ct.byref(token))
    assert caught.value.code == "CHM421"
    with pytest.raises(BundleError) as caught:
        library.call("chm_bundle_close", session._bundle)
    assert caught.value.code == "CHM421"
    session.close()
    session.close()
    with pytest.raises(BundleError) as caught:
        session.prefill([1])
    assert caught.value.code == "CHM421"


def test_null_handles_are_answered(toy: Any) -> None:
    library = NativeLibrary(toy.file("code"))
    calls: dict[str, tuple[Any, ...]] = {
        "open": (None, None, None),
        "reset": (None,),
        "set_loops": (None, 0),
        "prefill": (None, None, 0),
        "prompt": (None, None, 0),
        "generate": (None, None),
        "state_hash": (None, None),
        "snapshot": (None, None, 0),
        "restore": (None, None, 0),
    }
    for name, arguments in calls.items():
        assert library.get(f"chm_session_{name}", *arguments) == 420, name
    assert library.get("chm_session_position", None) == 0
    assert library.get("chm_session_logits", None) is None
    assert library.get("chm_bundle_close", None) == 420
    library.get("chm_session_close", None)
    assert library.get("chm_status_text", 406).decode().startswith("the file is damaged")
    assert library.get("chm_status_text", 12345) == b"unknown status"


def test_a_bundle_without_a_tokenizer_works_with_tokens(toy: Any) -> None:
    with NativeSession(toy.manifest, toy.file("code"), toy.file("weights"), None) as session:
        pieces = list(session.generate(TOKENS[:5], max_tokens=4))
        assert [piece.text for piece in pieces] == [""] * 4
        for call in (lambda: session.encode("a"), lambda: list(session.generate("a"))):
            with pytest.raises(BundleError) as caught:
                call()
            assert caught.value.code == "CHM421"


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="the system has no huge pages")
def test_weights_are_to_be_in_huge_pages(toy: Any) -> None:
    weights = str(toy.file("weights").resolve())
    with load(toy.folder):
        lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(f" {weights}"))
    flags = next(line for line in lines[at:] if line.startswith("VmFlags:"))
    assert "hg" in flags.split()


def test_weights_of_another_model_are_refused(toy: Any, tmp_path: Path) -> None:
    sections = [
        bf.Section(view.name, view.dtype, view.shape, bytes(bf.read_container(toy.file("weights")).raw(view.name)))
        for view in bf.read_container(toy.file("weights")).sections.values()
    ]
    changed = replace(sections[0], data=bytes(len(sections[0].raw())))
    for wrong in ([changed, *sections[1:]], sections[1:], [*sections, bf.Section("more", "U8", (1,), b"x")]):
        path = tmp_path / "wrong.b158"
        bf.write_container(path, "b158", wrong)
        with pytest.raises(BundleError) as caught:
            NativeSession(toy.manifest, toy.file("code"), path, None)
        assert caught.value.code == "CHM407"
    with pytest.raises(BundleError, match="gone") as caught:
        NativeSession(toy.manifest, toy.file("code"), tmp_path / "gone", None)
    assert caught.value.code == "CHM400"


class FailingAllocator:
    """chm_allocator over Python buffers that fails at the k-th call and, if ``persistent``, from then on."""

    def __init__(self, fail_at: int, persistent: bool) -> None:
        self.calls = 0
        self.fail_at, self.persistent = fail_at, persistent
        self.blocks: dict[int, Any] = {}
        allocate_type = ct.CFUNCTYPE(ct.c_void_p, ct.c_void_p, ct.c_size_t)
        release_type = ct.CFUNCTYPE(None, ct.c_void_p, ct.c_void_p, ct.c_size_t)
        self.functions = (allocate_type(self.allocate), release_type(self.release))
        self.struct = (ct.c_void_p * 3)(*(ct.cast(function, ct.c_void_p) for function in self.functions), None)

    def allocate(self, user: object, size: int) -> int:
        self.calls += 1
        if self.calls == self.fail_at or (self.persistent and self.calls > self.fail_at):
            return 0
        buffer = ct.create_string_buffer(size + 64)
        address = (ct.addressof(buffer) + 63) & ~63
        self.blocks[address] = (buffer, size)
        return address

    def release(self, user: object, block: int, size: int) -> None:
        assert self.blocks.pop(block)[1] == size


@pytest.mark.parametrize("persistent", [False, True])
def test_every_allocation_may_fail(toy: Any, persistent: bool, tmp_path: Path) -> None:
    merging = tmp_path / "merging.model"
    write_tokenizer(merging, Tokenizer((*(bytes([value]) for value in range(256)), b"he", b"ll")))
    library = NativeLibrary(toy.file("code"))

    def story(allocator: FailingAllocator) -> int:
        """Status of the first call that fails, everything closed afterwards."""
        bundle, handle, token = ct.c_void_p(), ct.c_void_p(), ct.c_int32()
        paths = (str(toy.file("weights")).encode(), str(merging).encode())
        status = int(library.get("chm_bundle_open_files", *paths, 0, allocator.struct, ct.byref(bundle)))
        if status:
            assert not bundle
            return status
        status = int(library.get("chm_session_open", bundle, None, ct.byref(handle)))
        if not status:
            status = int(library.get("chm_session_prompt", handle, b"hello", 5))
        if not status:
            before = allocator.calls
            for _ in range(5):
                assert library.get("chm_session_generate", handle, ct.byref(token)) == 0
            assert allocator.calls == before, "nothing is allocated per token"
        library.get("chm_session_close", handle)
        assert library.get("chm_bundle_close", bundle) == 0
        return status

    counting = FailingAllocator(0, False)
    assert story(counting) == 0
    assert not counting.blocks
    assert counting.calls >= 6
    for fail_at in range(1, counting.calls + 1):
        allocator = FailingAllocator(fail_at, persistent)
        assert story(allocator) == 422
        assert not allocator.blocks, f"leaked when allocation {fail_at} failed"
    assert story(FailingAllocator(counting.calls + 1, persistent)) == 0


@pytest.mark.parametrize(("suffix", "standard"), [(".c", "c11"), (".cpp", "c++17")])
def test_the_public_header_is_plain_c_and_cpp(gcc: str, suffix: str, standard: str, tmp_path: Path) -> None:
    source = tmp_path / f"use{suffix}"
    source.write_text('#include "chimera.h"\nint main(void) { return (int)chm_abi_version() - 65536; }\n')
    flags = [
        f"-std={standard}",
        f"-I{bf.NATIVE_DIRECTORY}",
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        "-fsyntax-only",
    ]
    result = subprocess.run([gcc, *flags, str(source)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_declared_function_is_exported_and_bound(toy: Any) -> None:
    library = ct.CDLL(str(toy.file("code")))
    declared = bf.exported_functions(wasm=False)
    assert len(declared) == len(set(declared)) > 30
    assert all(hasattr(library, name) for name in declared)
    bound = [table for name, table in vars(native_library).items() if name.endswith("_SIGNATURES")]
    of_c = {name for name in declared if name.startswith("chm_names_")} | {"chm_session_tell_names"}
    assert len(of_c) == 4, "Python reads the names of a home by itself"
    assert set().union(*bound) == set(declared) - of_c
    assert not hasattr(library, "chm_container_open"), "internal functions stay inside"
