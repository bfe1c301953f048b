"""Files made to take much time or memory: each reader in Python and C stands them, held to limits by the system."""

from __future__ import annotations

import ctypes as ct
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import CONFIGS, FORM
from limited import MEMORY, Case, answer, outcomes

from chimerac.runtime import BundleError
from chimerac.runtime import bundle_format as bf

#: What the sizes of the bombs are divided by; 1 where they are as large as the limits let them be.
SCALE = int(sys.argv[4]) if __name__ == "__main__" else 1
HEADER = (16 << 20) // SCALE - 4096


def header(text: str) -> bytes:
    """A container that is nothing but its header."""
    raw = text.encode()
    raw += b" " * (-(8 + len(raw)) % 4096)
    return len(raw).to_bytes(8, "little") + raw


def container(more: str, sections: str = "{}", kind: str = "b158") -> bytes:
    """The same, with metadata that are right and something after them."""
    text = json.dumps(sections)
    return header(
        f'{{"__metadata__":{{"chimera.kind":"{kind}","chimera.abi":"1.0","chimera.config_sha256":"",'
        f'"chimera.contents_sha256":"","chimera.sections":{text}}}{more}}}'
    )


def times(part: str | bytes, size: int = HEADER) -> Any:
    """The part again and again, up to this size."""
    return part * (size // len(part))


PAD = '"__pad.{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
CONTAINERS: Mapping[str, Callable[[], bytes]] = {
    "brackets": lambda: header('{"__metadata__":' + times("[", HEADER - 20)),
    "braces": lambda: header(times('{"a":')),
    "quotes": lambda: header('{"__metadata__":{"' + times('\\"', HEADER - 20)),
    "keys": lambda: header('{"__metadata__":{' + times('"a":"b",', HEADER - 40) + '"a":"b"}}'),
    "spaces": lambda: header("{" + times(" ", HEADER - 1)),
    "digits": lambda: container(',"a":{"dtype":"U8","shape":[' + times("9", HEADER - 300) + "]}"),
    "extents": lambda: container(',"a":{"dtype":"U8","shape":[' + times("1,", HEADER - 300) + "1]}"),
    "lists": lambda: container(',"a":[' + times("[],", HEADER - 300) + "1]"),
    "pads": lambda: container("," + ",".join(map(PAD.format, range(65_536 // SCALE)))),
    "too many pads": lambda: container("," + ",".join(map(PAD.format, range(66_000)))),
    "rows": lambda: container("", "{" + times('"a":{},', HEADER // 2) + "}"),
    "table of brackets": lambda: container("", times("[", HEADER - 300)),
}


def tokenizer(lengths: bytes, data: bytes, special: bytes) -> bytes:
    parts = {"len": lengths, "bytes": data, "special": special}
    return bf.container_bytes("tokenizer", [bf.Section(n, "U8", (len(d),), d) for n, d in parts.items()])


def pack(states: int, classes: int, nodes: int) -> bytes:
    """Tables of a grammar and a trie as large as may be, all zeros."""
    directory = np.zeros((1, 16), np.uint32)
    directory[0, :9] = [0, states, classes, 0, 0, 0, 0, 65_535, 65_536]
    tables: dict[str, np.ndarray[Any, Any]] = {
        "directory": directory,
        "names": np.array([97, 0], np.uint8),
        "g0.class": np.zeros(256, np.uint8),
        "g0.delta": np.zeros((states, classes), np.uint32),
        "g0.op": np.zeros(65_535, np.uint32),
        "g0.state": np.zeros((states, 4), np.uint16),
        "g0.loop": np.tile(np.array([0, 65_535, 0, 0], np.uint16), (65_536, 1)),
    }
    if nodes:
        trie = np.zeros((nodes, 2), np.uint32)
        trie[:, 1] = (np.arange(nodes, dtype=np.uint32) % 255 + 1) << np.uint32(24) | np.uint32(1)
        tables |= {"trie": trie, "slice.trie": trie}
        tables |= {"slice.chars": np.ones(288, np.uint8), "soft.class": np.zeros(288, np.uint8)}
    return bf.container_bytes("fstpack", [bf.array_section(name, table) for name, table in tables.items()])


ONES, BYTES = b"\x01" * 256, bytes(range(256))
SPECIAL = b'{"name":"x","id":256,"role":"pad"},'
TOKENIZERS: Mapping[str, Callable[[], bytes]] = {
    "most tokens": lambda: tokenizer(ONES + bytes(262_144 - 256), BYTES, b"[]"),
    "too many tokens": lambda: tokenizer(ONES + bytes(4_000_000), BYTES, b"[]"),
    "brackets": lambda: tokenizer(ONES, BYTES, times(b"[")),
    "quotes": lambda: tokenizer(ONES, BYTES, b'[{"name":"' + times(b'\\"')),
    "specials": lambda: tokenizer(ONES + bytes(32), BYTES, b"[" + times(SPECIAL) + b"1]"),
}
PACKS: Mapping[str, Callable[[], bytes]] = {
    "a large table": lambda: pack(30_000, 257, 0),
    "too many states": lambda: pack(66_000, 2, 0),
    "a large trie": lambda: pack(2, 2, 1 << 20),
}
SNAPSHOTS: Mapping[str, Callable[[], bytes]] = {
    "pads": lambda: container("," + ",".join(map(PAD.format, range(65_536 // SCALE))), kind="state"),
}
MANIFESTS: Mapping[str, Callable[[], bytes]] = {
    "brackets": lambda: b"[" * 1_000_000,
    "braces": lambda: b'{"a":' * 200_000,
    "digits": lambda: b'{"schema":' + b"9" * 1_000_000 + b"}",
    "exponent": lambda: b'{"schema":1e' + b"9" * 1_000_000 + b"}",
    "files": lambda: b'{"schema":1,"files":[' + b"{}," * 330_000 + b"{}]}",
    "too long": lambda: b" " * (64 << 20),
}
CONFIG_TEXTS: Mapping[str, Callable[[], str]] = {
    "brackets": lambda: "a: " + "[" * 1_000_000,
    "braces": lambda: "{a: " * 250_000,
    "numbers": lambda: "a: [" + times("1,", 125_000) + "1]",
    "digits": lambda: "a: " + "9" * 1_000_000,
    "exponent": lambda: "a: 1e" + "9" * 1_000_000,
    "comments": lambda: "/*" * 500_000,
    "quotes": lambda: 'a: "' + '\\"' * 500_000,
    "keys": lambda: "".join(f"a{i}: 1, " for i in range(80_000 // SCALE)),
    "same keys": lambda: times("a: 1, ", 125_000),
    "too long": lambda: CONFIGS[0] + " " * (64 << 20),
}
BOMBS: Mapping[str, Mapping[str, Callable[[], bytes | str]]] = {
    "weights": CONTAINERS,
    "checkpoint": CONTAINERS,
    "tokenizer": TOKENIZERS,
    "pack": PACKS,
    "snapshot": SNAPSHOTS,
    "manifest": MANIFESTS,
    "config": CONFIG_TEXTS,
}
#: What C reads, too.
OF_C = ("weights", "tokenizer", "pack", "snapshot")
#: What is large and allowed.
ACCEPTED: set[Case] = {("tokenizer", "most tokens")}
ACCEPTED |= {("checkpoint", name) for name in ("keys", "pads", "too many pads", "rows", "table of brackets")}
#: Where the two readers look first at different things: C knows its model, and counts special tokens first; only
#: Python has to count lists.
DIFFERENT = {("tokenizer", "most tokens"), ("tokenizer", "specials"), ("weights", "pads"), ("snapshot", "pads")}
DIFFERENT |= {("weights", "lists"), ("weights", "rows")}


def python_readers(folder: Path) -> dict[str, Callable[[Any], object]]:
    from chimerac.frontends.config import loads
    from chimerac.frontends.weights.files import open_checkpoint
    from chimerac.runtime.bundle_format.fstpack import pack_of_container
    from chimerac.runtime.bundle_format.state import parse_state
    from chimerac.runtime.reference.tokenizer import tokenizer_of_container

    def checkpoint(data: bytes) -> None:
        (folder / "model.safetensors").write_bytes(data)
        open_checkpoint(folder / "model.safetensors")

    return {
        "weights": bf.parse_container,
        "tokenizer": lambda data: tokenizer_of_container(bf.parse_container(data)),
        "pack": lambda data: pack_of_container(bf.parse_container(data)),
        "snapshot": lambda data: parse_state(FORM, data),
        "manifest": bf.parse_manifest,
        "config": loads,
        "checkpoint": checkpoint,
    }


class NativeReaders:
    """The readers of the toy model's library."""

    def __init__(self, code: str, weights: str, tokenizer: str) -> None:
        from chimerac.runtime.sessions.native_library import NativeLibrary

        self.library, self.bundle, self.session = NativeLibrary(Path(code)), ct.c_void_p(), ct.c_void_p()
        self.weights = self.copy(Path(weights).read_bytes())
        files = (weights.encode(), tokenizer.encode(), 0, None, ct.byref(self.bundle))
        assert not self.library.get("chm_bundle_open_files", *files)
        assert not self.library.get("chm_session_open", self.bundle, None, ct.byref(self.session))

    @staticmethod
    def copy(data: bytes) -> np.ndarray[Any, Any]:
        """The bytes, aligned."""
        block = np.empty(len(data) + 64, np.uint8)
        start = -block.ctypes.data % 64
        block[start : start + len(data)] = np.frombuffer(data, np.uint8)
        return block[start : start + len(data)]

    def read(self, reader: str, data: bytes) -> int:
        """The status of opening the bytes."""
        opened, block = ct.c_void_p(), self.copy(data)
        where, get = (block.ctypes.data, block.size), self.library.get
        good = (self.weights.ctypes.data, self.weights.size)
        if reader == "weights":
            status = int(get("chm_bundle_open", *where, None, 0, 0, None, ct.byref(opened)))
        elif reader == "tokenizer":
            status = int(get("chm_bundle_open", *good, *where, 0, None, ct.byref(opened)))
        elif reader == "pack":
            status = int(get("chm_pack_open", self.bundle, None, *where, 0, None, ct.byref(opened)))
        else:
            status = int(get("chm_session_restore", self.session, data, len(data)))
        if opened and reader == "pack":
            grammar = ct.c_void_p()
            status = int(get("chm_grammar_open", opened, None, None, ct.byref(grammar)))
            get("chm_grammar_close", grammar)
        if opened:
            get("chm_pack_close" if reader == "pack" else "chm_bundle_close", opened)
        return status


def child(code: str, weights: str, tokenizer: str, scale: str) -> None:
    """Read the bombs that the test asks for."""
    from chimerac.compiler.errors import UserError

    native = NativeReaders(code, weights, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        readers = python_readers(Path(folder))

        def read(reader: str, name: str) -> str:
            of_c = reader.startswith("c ")
            data = BOMBS[reader.removeprefix("c ")][name]()
            if of_c:
                assert isinstance(data, bytes)
                status = native.read(reader.removeprefix("c "), data)
                return f"CHM{status}" if status else ""
            try:
                readers[reader](data)
            except (BundleError, UserError) as error:
                return error.code
            return ""

        read("config", "digits")  # imports
        answer(read, MEMORY if SCALE > 1 else 2 * MEMORY)


CASES: list[Case] = [(reader, name) for reader, bombs in BOMBS.items() for name in bombs]
CASES += [("c " + reader, name) for reader in OF_C for name in BOMBS[reader]]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
@pytest.mark.parametrize("scale", [8, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "as large as may be"])
def test_nothing_takes_much_time_or_memory(scale: int, toy: Any) -> None:
    words = [*(str(toy.file(role)) for role in ("code", "weights", "tokenizer")), str(scale)]
    # safetensors, which reads checkpoints, ends the process where the largest headers get no memory
    cases = [case for case in CASES if scale > 1 or case[0] != "checkpoint"]
    found = outcomes(__file__, cases, *words)
    assert {case for case, code in found.items() if not code} == ACCEPTED & set(cases)
    assert all(code.startswith("CHM") for code in found.values() if code)
    for reader in OF_C:
        for name in BOMBS[reader]:
            if (reader, name) not in DIFFERENT:
                assert found[reader, name] == found["c " + reader, name], (reader, name)


if __name__ == "__main__":
    child(*sys.argv[1:])
