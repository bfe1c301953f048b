"""Masks of the C engine, native and as wasm: those of the Python reference, and exactly what is accepted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wasm_module import Module

from chimerac.runtime import BundleError, load
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.native_grammar import NativeGrammar, NativePack

from .conftest import SOURCES, Compiled, walk

Get = Callable[[str], Compiled]


@pytest.fixture(scope="module")
def session(model: Any) -> Iterator[NativeSession]:
    with load(model.folder) as opened:
        assert isinstance(opened, NativeSession)
        yield opened


@pytest.fixture
def opened(session: NativeSession) -> Iterator[Callable[..., NativeGrammar]]:
    """opened(bytes of a pack, base=None): a grammar that is closed after the test."""
    packs: list[NativePack] = []
    grammars: list[NativeGrammar] = []

    def get(data: bytes) -> NativeGrammar:
        packs.append(NativePack(session._library, session._bundle, data))
        grammars.append(packs[-1].grammar())
        return grammars[-1]

    yield get
    for grammar in grammars:
        grammar.close()
    for pack in packs:
        pack.close()


@pytest.mark.parametrize("name", SOURCES)
def test_masks_are_those_of_the_reference(name: str, compiled: Get, opened: Callable[..., NativeGrammar]) -> None:
    """With tables made in C and no stored mask, and with those of the pass."""
    grammar = compiled(name)
    engines = [opened(grammar.data), opened(grammar.stored)]
    checked = 0
    for seed in range(4):
        for engine in engines:
            engine.start()
        for at, mask, left, token in walk(grammar, seed, 25):
            for engine in engines:
                np.testing.assert_array_equal(engine.mask(left)[: mask.size], mask)
                assert not engine.mask(left)[mask.size :].any()
                assert engine.complete == grammar.engine.complete(at)
                assert engine.closing == grammar.engine.closing(at)
                assert engine.forced() == grammar.engine.forced(at)
                if token >= 0:
                    assert engine.accept(token) is False
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", ["json", "person", "python"])
def test_exactly_the_tokens_of_the_mask_are_accepted(
    name: str, compiled: Get, opened: Callable[..., NativeGrammar], tokenizer: Tokenizer
) -> None:
    grammar = compiled(name)
    engine = opened(grammar.data)
    for seed in range(3):
        engine.start()
        for _, _, _, token in walk(grammar, 100 + seed, 12):
            mask, place = engine.mask().copy(), engine.save()
            for candidate in range(-1, len(tokenizer.tokens) + 1):
                accepted = True
                try:
                    engine.accept(candidate)
                except BundleError as error:
                    accepted = error.code != "CHM432"
                    assert engine.save() == place
                engine.restore(place)
                assert accepted == (0 <= candidate < len(tokenizer.tokens) and bool(mask[candidate])), candidate
            if token >= 0:
                engine.accept(token)


@pytest.mark.parametrize("name", ["json", "person", "long"])
def test_masks_kept_from_before_hold_wherever_they_are_used(
    name: str, compiled: Get, opened: Callable[..., NativeGrammar]
) -> None:
    """Jumps among many places of many texts: a mask made at one is used at others, and gives way to newer ones."""
    grammar, source = compiled(name), random.Random(9)
    engines = [opened(grammar.data), opened(grammar.stored)]
    places = []
    for seed in range(12):
        for engine in engines:
            engine.start()
        for at, _, _, token in walk(grammar, 200 + seed, 30):
            places.append((engines[0].save(), at))
            if token >= 0:
                for engine in engines:
                    engine.accept(token)
    for _ in range(150):
        place, at = source.choice(places)
        left = source.choice([None, source.randrange(1, 60)])
        expected = grammar.engine.mask(at, left)
        for engine in engines:
            engine.restore(place)
            np.testing.assert_array_equal(engine.mask(left)[: expected.size], expected)


def test_copies_have_one_size_and_lead_back(compiled: Get, opened: Callable[..., NativeGrammar]) -> None:
    engine = opened(compiled("json").data)
    engine.accept(ord("["))
    shallow = engine.save()
    for _ in range(63):
        engine.accept(ord("["))
    deep = engine.save()
    assert len(shallow) == len(deep) == 1032
    assert not engine.mask()[[ord("["), ord("{")]].any(), "a full stack opens nothing more"
    assert engine.closing == 64
    for left in range(64, 0, -1):
        assert engine.mask(left)[:256].nonzero()[0].tolist() == [ord("]")]
        engine.accept(ord("]"))
    assert engine.complete
    engine.restore(shallow)
    assert engine.save() == shallow
    with pytest.raises(BundleError, match="another grammar"):
        engine.restore(b"\xff" * 1032)
    with pytest.raises(BundleError):
        engine.restore(b"short")
    assert engine.save() == shallow


def test_end_tokens_end_a_complete_text(
    compiled: Get, opened: Callable[..., NativeGrammar], tokenizer: Tokenizer
) -> None:
    engine = opened(compiled("choices").data)
    ends = [special.id for special in tokenizer.specials if special.role == "end"]
    assert len(ends) == 2
    assert not engine.mask()[ends].any()
    for letter in b"on":
        engine.accept(letter)
    mask = engine.mask()
    assert mask[ends].all()
    assert mask[ord("l")]
    assert engine.accept(ends[1]) is True
    assert not engine.mask().any()
    with pytest.raises(BundleError) as caught:
        engine.accept(ord("l"))
    assert caught.value.code == "CHM432"
    engine.start()
    assert engine.mask().any()


def test_the_whitespace_cap_can_be_changed(compiled: Get, opened: Callable[..., NativeGrammar]) -> None:
    for data in (compiled("json").data, compiled("json").stored):
        engine = opened(data)
        for cap in (0, 3, 255, None, 2):
            engine.set_whitespace(cap)
            engine.start()
            accepted = 0
            while accepted < 300 and engine.mask()[ord(" ")]:
                engine.accept(ord(" "))
                accepted += 1
            assert accepted == (8 if cap is None else cap)
        with pytest.raises(BundleError) as caught:
            engine.set_whitespace(256)
        assert caught.value.code == "CHM420"


class WasmGrammar:
    """The same functions in a wasm module."""

    def __init__(self, module: Module, data: bytes) -> None:
        self.module, self.out = module, module.out
        module.call("chm_pack_open", module.bundle, 0, module.place(data), len(data), 0, 0, self.out)
        module.call("chm_grammar_open", module.word(self.out), 0, 0, self.out)
        self.handle = module.word(self.out)
        self.words = module.get("chm_grammar_mask_words", self.handle)
        self.place = module.place(bytes(4 * self.words))

    def mask(self, left: int | None) -> bytes:
        self.module.call("chm_grammar_mask", self.handle, -1 if left is None else left, self.place, self.words)
        return self.module.read(self.place, 4 * self.words)


@pytest.fixture(scope="module")
def module(make_wasm_toy: Callable[[Tokenizer], Any], tokenizer: Tokenizer) -> Module:
    toy = make_wasm_toy(tokenizer)
    opened = Module(toy.file("code"))
    opened.open(toy.file("weights"), toy.file("tokenizer"))
    return opened


@pytest.mark.parametrize("name", SOURCES)
def test_wasm_makes_the_same_masks(
    name: str, compiled: Get, opened: Callable[..., NativeGrammar], module: Module
) -> None:
    grammar = compiled(name)
    native, wasm = opened(grammar.stored), WasmGrammar(module, grammar.stored)
    for seed in range(3):
        native.start()
        module.call("chm_grammar_start", wasm.handle)
        for _, _, left, token in walk(grammar, 300 + seed, 25):
            assert native.mask_words(left).tobytes() == wasm.mask(left)
            assert native.closing == module.get("chm_grammar_closing", wasm.handle)
            if token >= 0:
                native.accept(token)
                module.call("chm_grammar_accept", wasm.handle, token)


def test_packs_that_do_not_fit_are_refused(session: NativeSession, compiled: Get, tmp_path: Path) -> None:
    library, bundle = session._library, session._bundle
    stored = bytearray(compiled("choices").stored)
    at = stored.index(b"chimera.tokenizer_sha256") + len(b'chimera.tokenizer_sha256":"')
    stored[at] ^= 1
    with pytest.raises(BundleError, match="another tokenizer") as caught:
        NativePack(library, bundle, bytes(stored))
    assert caught.value.code == "CHM431"
    with pytest.raises(BundleError) as caught:
        NativePack(library, bundle, b"no container at all")
    assert caught.value.code == "CHM401"
    with pytest.raises(BundleError) as caught:
        NativePack(library, bundle, tmp_path / "missing")
    assert caught.value.code == "CHM400"
    base = NativePack(library, bundle, None)
    assert (base.names, base.default) == ([], None)
    pack = NativePack(library, bundle, compiled("choices").data, base)
    with pytest.raises(BundleError) as caught:
        pack.grammar("other")
    assert caught.value.code == "CHM431"
    with pytest.raises(BundleError) as caught:
        base.close()
    assert caught.value.code == "CHM421", "another pack uses its tables"
    grammar = pack.grammar(pack.names[0])
    with pytest.raises(BundleError) as caught:
        pack.close()
    assert caught.value.code == "CHM421"
    grammar.close()
    pack.close()
    base.close()
