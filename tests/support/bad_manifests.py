"""A corpus of wrong manifests, each with the code of its error: the readers in Python and JavaScript share it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
Case = tuple[str, bytes, str]

GOOD: Row = {
    "schema": 1,
    "abi": "1.0",
    "name": "toy",
    "target": "wasm32-simd128",
    "config_sha256": "ab" * 32,
    "weights_sha256": "cd" * 32,
    "chimerac": "0.1.0",
    "files": [
        {"name": "chimera.wasm", "role": "code", "bytes": 10, "sha256": "0" * 64},
        {"name": "weights.chm", "role": "weights", "bytes": 20, "sha256": "1" * 64},
        {
            "name": "tokenizer.chm",
            "role": "tokenizer",
            "bytes": 30,
            "sha256": "2" * 64,
            "chunks": {"bytes": 16, "sha256": ["3" * 64, "4" * 64]},
        },
    ],
    "memory": {"weights_bytes": 1, "state_bytes": 2, "arena_bytes": 3, "decode_bytes": 4},
    "cpu": ["simd128"],
    "self_test": {"prompt": [1, 2], "tokens": [3], "logits_hash": "0" * 16, "state_hash": "f" * 16},
    "model_sha256": "ef" * 32,
    "provenance": {"weights": "random"},
    "context": 4096,
    "chat": {
        "pieces": {
            "opening": [1, "user\n"],
            "answer": [2],
            "next": [],
            "prompt": [2, "\n\tassistant\n", 1],
            "system": [["system"], []],
            "trim": "both",
        },
        "marks": {"thinking": [5, 6]},
        "space": False,
    },
    "generation": {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 8,
        "modes": {"fast": {"loops": 1}},
        "valve": {"thresholds": [1, 2.5], "loops": [1, 2, 4], "metrics": ["grammar_branching"]},
        "ledger": {"obligations": ["close_bracket", "finish_list"], "outstanding": 64, "weight": 307},
        "shares": {"near": 64, "grammar": 48, "text": 48, "head": 32, "nearness": 65536, "boundary": 22938},
    },
}

#: That of a module that is no language model.
CALLED: Row = {key: value for key, value in GOOD.items() if key != "generation"} | {
    "self_test": None,
    "entries": [
        {
            "name": "call",
            "most": 4,
            "inputs": [
                {"name": "x", "shape": ["T", 3], "dtype": "float32"},
                {"name": "ids", "shape": [2], "dtype": "int64", "values": [0, 9]},
            ],
            "results": [{"name": "output", "shape": ["T"], "dtype": "float16"}],
        }
    ],
    "call_test": {
        "entry": "call",
        "calls": [{"n": 2, "hashes": ["0" * 16], "samples": [[0.5, None]]}],
        "state_hash": "f" * 16,
    },
}
_INPUTS = ("entries", 0, "inputs")
_CALL = ("call_test", "calls", 0)

#: Place in it → values that are wrong there.
CALLED_WRONG: dict[tuple[str | int, ...], list[Any]] = {
    ("entries",): [None, 1, {}, [1], [CALLED["entries"][0]] * 2],
    ("entries", 0, "name"): [None, 1, "", "2nd", "a b", "a" * 65, "a\n"],
    ("entries", 0, "most"): [None, 0, -1, 1.5, 2**31, "4"],
    _INPUTS: [None, 1, {}, [CALLED["entries"][0]["inputs"][0]] * 2, [{"name": "x"}]],
    (*_INPUTS, 0, "name"): [None, 1, "", "a" * 129, "\x1b[2J", "ids"],
    (*_INPUTS, 0, "dtype"): [None, 1, "", "float", "complex64", "constructor"],
    (*_INPUTS, 0, "shape"): [None, 1, "T", {}, [-1], [0.5], ["N"], [None], [2] * 9, [2**31], [2**16, 2**15]],
    (*_INPUTS, 1, "values"): [1, [], [0], [0, 1, 2], [1, 0], [0, 0.5], ["0", "1"], [0, 2**31], [-(2**31) - 1, 0]],
    ("entries", 0, "results"): [None, [], [CALLED["entries"][0]["results"][0] | {"shape": [3]}]],
    ("call_test",): [1, [], {}, {"entry": "call"}],
    ("call_test", "entry"): [None, 1, "", "other"],
    ("call_test", "calls"): [None, 1, [], [1], [{}]],
    (*_CALL, "n"): [None, 0, 5, 1, "2"],
    (*_CALL, "hashes"): [None, [], ["0" * 15], ["0" * 16] * 2, [1]],
    (*_CALL, "samples"): [None, [], [[0.5]], [["0.5", 1]], [[True, 1]], [[0.5, 1], []], [[10**400, 1]], [[-1e39, 1]]],
    ("call_test", "state_hash"): [None, 1, "0", "g" * 16],
}

_LEDGER = ("generation", "ledger")
#: Of the ledger: place → values that are wrong there.
LEDGER_WRONG: dict[tuple[str | int, ...], list[Any]] = {
    _LEDGER: [1, [], {}, {"obligations": ["finish_list"], "outstanding": 1}],
    (*_LEDGER, "obligations"): [None, "", {}, [], ["mood"], [1], ["finish_list"] * 2],
    (*_LEDGER, "outstanding"): [None, "1", -1, 65, 1.5, True],
    (*_LEDGER, "weight"): [None, "1", -1, 65536, 1.5],
}
_SHARES = ("generation", "shares")
#: Of the shares of sources: place → values that are wrong there.
SHARES_WRONG: dict[tuple[str | int, ...], list[Any]] = {
    ("generation", "modes", "fast", "shares"): [1, [], {}, {"near": 1}, {"near": 257}],
    _SHARES: [1, [], {}, {"near": 1, "grammar": 1, "text": 1, "head": 1, "nearness": 1}],
    (*_SHARES, "near"): [None, "1", -1, 257, 1.5, True],
    (*_SHARES, "boundary"): [None, -1, (1 << 20) + 1],
}
_VALVE = ("generation", "valve")
#: Of the valve: place → values that are wrong there.
VALVE_WRONG: dict[tuple[str | int, ...], list[Any]] = {
    _VALVE: [1, [], {}, {"thresholds": [1, 2], "loops": [1, 2, 4]}],
    (*_VALVE, "thresholds"): [None, 1, [], [1], [1, 2, 3], [2, 1], [-1, 1], [1, 65], [True, 1], ["1", "2"], [None, 1]],
    (*_VALVE, "loops"): [None, 1, [1, 2], [0, 1, 2], [1, 2, 2**31], [1.5, 2, 3], [1, 2, "3"], [1, 2, 3, 4]],
    (*_VALVE, "metrics"): [None, "", {}, ["mood"], ["constructor"], [1], ["grammar_branching"] * 2],
}

_PIECES = ("chat", "pieces")
#: Of the chat: place → values that are wrong there.
CHAT_WRONG: dict[tuple[str | int, ...], list[Any]] = {
    ("chat",): [1, [], {}, {"marks": {}}, {"space": True}],
    ("chat", "space"): [None, 1, "true"],
    ("chat", "marks"): [None, 1, [], {"answer": [1, 2]}, *({"thinking": pair} for pair in ([1], [1, 2**18], "ab"))],
    ("chat", "template"): [1, "", "\x1b[2J", "\ud800", "a" * (1 << 17) + "a", []],
    _PIECES: [1, [], {}, {"opening": []}],
    (*_PIECES, "trim"): [None, 1, "", "all", ["both"]],
    (*_PIECES, "system"): [1, [], [[]], [[], [], []], [[], None], "ab"],
    (*_PIECES, "opening"): [None, 1, "text", {}, [None], [1.5], [-1], [2**18], [""], ["\x1b"], [[]], [True], [1] * 257],
    (*_PIECES, "prompt"): [["a" * (1 << 16), "b" * (1 << 16)]],
}

_CHUNKS = ("files", 2, "chunks")
#: Of the chunks of a file: place → values that are wrong there.
CHUNKS_WRONG: dict[tuple[str | int, ...], list[Any]] = {
    _CHUNKS: [1, [], {}, {"bytes": 16}, {"sha256": []}],
    (*_CHUNKS, "bytes"): [None, 0, -1, 1.5, 8, 30, "16"],
    (*_CHUNKS, "sha256"): [None, [], {}, ["3" * 64], ["3" * 64] * 3, ["3" * 64, "g" * 64], ["3" * 64, 4]],
}

#: Place in the manifest → what values it takes.
PLACES: dict[tuple[str | int, ...], str] = {
    **{(key,): "text" for key in ("name", "target", "config_sha256", "weights_sha256", "chimerac", "model_sha256")},
    ("files",): "list",
    ("files", 1): "object",
    ("files", 1, "name"): "name",
    ("files", 1, "role"): "role",
    ("files", 1, "bytes"): "count",
    ("files", 1, "sha256"): "hash",
    ("memory",): "object",
    **{("memory", f"{key}_bytes"): "count" for key in ("weights", "state", "arena", "decode")},
    ("cpu",): "list",
    ("cpu", 0): "text",
    ("self_test",): "object",
    ("self_test", "prompt"): "list",
    ("self_test", "tokens"): "list",
    ("self_test", "prompt", 0): "count",
    ("self_test", "tokens", 0): "count",
    ("self_test", "logits_hash"): "hash",
    ("self_test", "state_hash"): "hash",
    ("context",): "context",
    ("provenance",): "object",
    ("provenance", "weights"): "text",
    ("generation",): "object",
    ("generation", "temperature"): "number",
    ("generation", "top_p"): "number",
    ("generation", "max_tokens"): "count",
    ("generation", "modes"): "object",
    ("generation", "modes", "fast"): "object",
    ("generation", "modes", "fast", "loops"): "loops",
}
#: Keys that may be missing, or null.
OPTIONAL: set[tuple[str | int, ...]] = {("model_sha256",), ("generation",), ("self_test",)}
OPTIONAL |= {("provenance", "weights"), ("memory", "decode_bytes"), ("context",)}
OPTIONAL |= {
    place for place in PLACES if place[0] == "generation" and place != ("generation", "modes", "fast", "loops")
}
MAY_BE_NULL = {
    ("self_test",),
    ("generation",),
    *(("generation", key) for key in ("temperature", "top_p", "max_tokens")),
}

_NO_TEXTS: list[Any] = [None, True, 1, [], {}, "\x1b]0;owned\x07", "a\nb", "\x9b1m", "\x7f", "\ud800", "a" * 4097]
_NO_COUNTS: list[Any] = [None, True, "1", [], {}, -1, 0.5, 2**53, 2**64, 10**30]
_NO_LISTS: list[Any] = [None, True, 1, "files", {}]
_NO_OBJECTS: list[Any] = [None, False, 1, "x", []]
_NO_HASHES = [*_NO_TEXTS[:5], "", "0", "g" * 64, "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"]
WRONG: dict[str, list[Any]] = {
    "text": _NO_TEXTS,
    "count": _NO_COUNTS,
    "list": _NO_LISTS,
    "object": _NO_OBJECTS,
    "hash": _NO_HASHES,
    "number": [True, "0.5", [], {}, -0.001, 1e9, 100.5],
    "loops": [*_NO_COUNTS, 0, 2**31],
    "context": [*_NO_COUNTS, 2**31],
    "role": [*_NO_TEXTS[:5], "", "Code", "weights ", "constructor", "__proto__"],
    "name": [
        *(*_NO_TEXTS[:5], "", ".", "..", ".hidden", "-rf", "a/b", "../weights.chm", "a\\b", "/etc/passwd", "C:weights"),
        *("weights.chm\n", "weights.chm\0", "wéights", "weights chm", "a" * 65, "a:b", "a%2fb", "CHIMERA.wasm"),
    ],
}


def changed(place: tuple[str | int, ...], value: Any, good: Row = GOOD) -> Row:
    """A good manifest with another value at a place."""
    row: Any = copy.deepcopy(good)
    at = row
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return dict(row)


def without(place: tuple[str | int, ...]) -> Row:
    """The good manifest without what is at a place."""
    row: Any = copy.deepcopy(GOOD)
    at = row
    for key in place[:-1]:
        at = at[key]
    del at[place[-1]]
    return dict(row)


def _written(row: Any) -> bytes:
    return json.dumps(row).encode()


def _values() -> Iterator[Case]:
    for place, kind in PLACES.items():
        for number, value in enumerate(WRONG[kind]):
            if value is None and place in MAY_BE_NULL:
                continue
            yield f"{place} is wrong: {kind} {number}", _written(changed(place, value)), "CHM410"
        if place not in OPTIONAL and not isinstance(place[-1], int):
            yield f"{place} is missing", _written(without(place)), "CHM410"


def _versions() -> Iterator[Case]:
    for value, code in ((0, "CHM411"), (2, "CHM411"), (2**53 - 1, "CHM411"), (-1, "CHM410"), ("1", "CHM410")):
        yield f"schema {value!r}", _written(changed(("schema",), value)), code
    for value, code in (("2.0", "CHM405"), ("", "CHM405"), ("0", "CHM405"), ("11", "CHM405"), (1, "CHM410")):
        yield f"abi {value!r}", _written(changed(("abi",), value)), code
    for key in ("schema", "abi"):
        yield f"no {key}", _written(without((key,))), "CHM410"
    yield "another schema, made by a list", _written({"schema": 9, "abi": "1.0", "chimerac": ["x"]}), "CHM410"
    yield "another schema, made by an escape", _written({"schema": 9, "abi": "1", "chimerac": "\x1b[2J"}), "CHM410"
    yield "only a version", _written({"schema": 1, "abi": "1.0"}), "CHM410"
    for target in ("", "x86_64-avx2", "aarch64", "WASM32-simd128", "wasm64"):
        yield f"target {target!r}", _written(changed(("target",), target)), "CHM413"


def _texts() -> Iterator[Case]:
    good = _written(GOOD)
    yield "nothing", b"", "CHM410"
    yield "a byte order mark", b"\xef\xbb\xbf" + good, "CHM410"
    yield "UTF-16", good.decode().encode("utf-16"), "CHM410"
    yield "Latin-1", good.replace(b"toy", "t\xf6y".encode("latin-1")), "CHM410"
    yield "an encoded surrogate", good.replace(b"toy", b"\xed\xa0\x80"), "CHM410"
    yield "an overlong character", good.replace(b"toy", b"\xc0\xaf"), "CHM410"
    yield "a zero byte", good.replace(b"toy", b"t\0y"), "CHM410"
    yield "a page", b"<!doctype html><html>not found</html>", "CHM410"
    yield "two values", good + b"{}", "CHM410"
    yield "a comma at the end", good[:-1] + b",}", "CHM410"
    yield "a comment", b"/* */" + good, "CHM410"
    yield "single quotes", good.replace(b'"', b"'"), "CHM410"
    yield "NaN", good.replace(b"0.5", b"NaN"), "CHM410"
    yield "Infinity", good.replace(b"0.5", b"Infinity"), "CHM410"
    yield "a number over all", good.replace(b"0.5", b"1e999"), "CHM410"
    yield "digits without end", good.replace(b'"bytes": 10', b'"bytes": ' + b"9" * 9000), "CHM410"
    yield "a leading zero", good.replace(b'"bytes": 10', b'"bytes": 010'), "CHM410"
    yield "hexadecimal", good.replace(b'"bytes": 10', b'"bytes": 0x10'), "CHM410"
    for step in (1, 2, 3, 7, 20, 60, 200, 400):
        yield f"cut after {step} bytes", good[:step], "CHM410"
        yield f"cut {step} bytes before the end", good[:-step], "CHM410"
    for value in ("null", "true", "1", '"text"', "[]", "[1]", "{}"):
        yield f"only {value}", value.encode(), "CHM410"
    yield "too deep", b'{"x":' + b"[" * 40 + b"]" * 40 + b"," + good[1:], "CHM410"
    yield "far too deep", b"[" * 500_000, "CHM410"
    yield "objects far too deep", b'{"a":' * 150_000, "CHM410"
    yield "a string without an end", b'{"' + b'\\"' * 400_000, "CHM410"
    yield "a string that ends in a backslash", b'{"' + b'\\"' * 400_000 + b"\\", "CHM410"
    yield "a byte over the limit", good + b" " * ((1 << 20) + 1 - len(good)), "CHM410"
    yield "many bytes over the limit", good + b" " * (3 << 20), "CHM410"


def _files() -> Iterator[Case]:
    entries = GOOD["files"]
    other = {"name": "other.bin", "role": "weights", "bytes": 1, "sha256": "3" * 64}
    for name, files in {
        "no files": [],
        "no code": entries[1:],
        "no weights": [entries[0], entries[2]],
        "two codes": [*entries, other | {"role": "code"}],
        "two weights": [*entries, other],
        "two tokenizers": [*entries, other | {"role": "tokenizer"}],
        "a file twice": [*entries, other | {"role": "data", "name": "weights.chm"}],
        "a file twice but for case": [*entries, other | {"role": "data", "name": "Weights.CHM"}],
        "too many": [*entries, *(other | {"role": "data", "name": f"f{k}"} for k in range(65_536))][:65_537],
        "an entry in an entry": [*entries, [other]],
    }.items():
        yield name, _written(changed(("files",), files)), "CHM410"
    for key in ("prompt", "tokens"):
        yield f"no {key}", _written(changed(("self_test", key), [])), "CHM410"
    for name in ("", "Fast", "1st", "a-b", "a" * 33, "f\n"):
        yield f"the mode {name!r}", _written(changed(("generation", "modes"), {name: {"loops": 1}})), "CHM410"
    yield "a key of provenance", _written(changed(("provenance",), {"\x1b[2J": "x"})), "CHM410"


def _called() -> Iterator[Case]:
    for place, values in CALLED_WRONG.items():
        for number, value in enumerate(values):
            yield f"{place} is wrong: {number}", _written(changed(place, value, CALLED)), "CHM410"
    for place, values in (CHAT_WRONG | CHUNKS_WRONG | VALVE_WRONG | LEDGER_WRONG | SHARES_WRONG).items():
        for number, value in enumerate(values):
            yield f"{place} is wrong: {number}", _written(changed(place, value)), "CHM410"
    yield "a test of calls without entries", _written(GOOD | {"call_test": CALLED["call_test"]}), "CHM410"


def bad_manifests() -> list[Case]:
    """Name, bytes and code of every one."""
    return [*_versions(), *_texts(), *_files(), *_values(), *_called()]


def good_manifests() -> list[tuple[str, bytes]]:
    """Unusual ones that both readers take."""
    rows: dict[str, Row] = {
        "good": GOOD,
        "unknown keys": GOOD | {"x": [1, {"y": None}]},
        "no self-test": changed(("self_test",), None),
        "no chat": without(("chat",)),
        "null chat": changed(("chat",), None),
        "a template alone": changed(_PIECES, None) | {"chat": {"template": "{{ x }}\n", "marks": {}, "space": True}},
        "no system message": changed((*_PIECES, "system"), None),
        "long texts of a chat": changed((*_PIECES, "opening"), ["\U0001f600" * (1 << 16)]),
        "no defaults": without(("generation",)),
        "null defaults": changed(("generation",), None),
        "an empty mode list": changed(("generation", "modes"), {}),
        "a long name": changed(("name",), "ä" * 4096),
        "astral characters": changed(("name",), "\U0001f600" * 4096),
        "a zero": changed(("files", 1, "bytes"), 0),
        "the largest number": changed(("files", 1, "bytes"), 2**53 - 1),
        "no memory of a token": without(("memory", "decode_bytes")),
        "another minor version": changed(("abi",), "1.999"),
        "a module of tensors": CALLED,
        "no test of it": changed(("call_test",), None, CALLED),
        "no hash of its state": changed(("call_test", "state_hash"), "", CALLED),
        "unusual names of tensors": changed((*_INPUTS, 0, "name"), "\u2028\U0001f600" * 64, CALLED),
        "an empty tensor": changed((*_INPUTS, 0, "shape"), [0, 2**40], CALLED),
    }
    texts = {name: _written(row) for name, row in rows.items()}
    good = _written(GOOD)
    texts["space around"] = b" \n\t" + good + b"\r\n"
    texts["1.0 is 1"] = good.replace(b'"bytes": 10', b'"bytes": 1.0e1').replace(b'"schema": 1', b'"schema": 1.0')
    texts["a key twice"] = good[:-1] + b', "name": "last"}'
    texts["at the limit"] = good + b" " * ((1 << 20) - len(good))
    texts["nested as deep as may be"] = b'{"x":' + b"[" * 31 + b"]" * 31 + b"," + good[1:]
    return list(texts.items())
