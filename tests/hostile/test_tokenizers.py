"""Damaged and forged tokenizers: a typed error from both readers, never a crash, never a read outside of the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimerac.runtime import BundleError
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.reference.merging import Merges
from chimerac.runtime.reference.tokenizer import (
    Special,
    Tokenizer,
    tokenizer_of_container,
    tokenizer_sections,
    write_tokenizer,
)

WEIGHTS = bf.container_bytes("b158", [bf.array_section("a", np.zeros(4, np.float32))])

MERGING = Tokenizer(
    (*(bytes([byte]) for byte in range(256)), b"th", b"in", b"ing", b"thing", b" t", b"the", b"", b"\xc3\xa9"),
    (Special("<e>", 262, "end"),),
)


#: The same with merges: of characters, with tokens of single bytes.
PIECES = replace(
    MERGING,
    tokens=(*MERGING.tokens, " é".encode(), b""),
    specials=(Special("<e>", 262, "end"), Special("<é>", 265, "control", 3)),
    merges=Merges((256, 257, 258, 259, 260, 261, 264), (1, 1, 2, 2, 1, 2, 1)),
    byte_tokens=tuple(range(256)),
    rules=("underline", "prefix-first"),
)


@pytest.mark.parametrize("kind", ["toy", "none", "o200k", "with merges"])
def test_random_damage_without_checksums(
    kind: str, run_driver: Callable[..., list[int]], toy: Any, tmp_path: Path
) -> None:
    file = toy.file("tokenizer")
    if kind != "toy":
        file = tmp_path / "merging"
        write_tokenizer(file, PIECES if kind == "with merges" else replace(MERGING, pattern=kind))
    accepted = 0
    for seed in range(1):
        accepted += run_driver("mutate", "t", file, seed, 10_000)[0]
    assert accepted > 0, "some damage must get past the header, or the test looks at too little"


def changed(**sections: bytes) -> bytes:
    """The container of PIECES with other contents of sections, or more sections; b"" leaves one out."""
    kinds = {"merge": "U32", "byte": "U32"}
    given = {section.name: np.asarray(section.data).tobytes() for section in tokenizer_sections(PIECES)} | sections
    rows = [(name, kinds.get(name, "U8"), data) for name, data in given.items() if data]
    return bf.container_bytes(
        "tokenizer", [bf.Section(name, kind, (len(data) // bf.DTYPES[kind],), data) for name, kind, data in rows]
    )


def numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def special_bytes(**keys: object) -> bytes:
    """The list of one special token with other keys."""
    return json.dumps([{"name": "x", "id": 262, "role": "end"} | keys], separators=(",", ":")).encode()


def tokenizer_bytes(lengths: bytes, data: bytes, special: bytes, name: bytes | None = None, **dtypes: str) -> bytes:
    sections = [
        bf.Section("len", dtypes.get("len", "U8"), (len(lengths) // bf.DTYPES[dtypes.get("len", "U8")],), lengths),
        bf.Section("bytes", "U8", (len(data),), data),
        bf.Section("special", "U8", (len(special),), special),
    ]
    if name is not None:
        kind = dtypes.get("pattern", "U8")
        sections.append(bf.Section("pattern", kind, (len(name) // bf.DTYPES[kind],), name))
    return bf.container_bytes("tokenizer", sections)


BYTES = bytes(range(256))
ONES = b"\x01" * 256
TWO_OF_AN_ID = b'[{"name":"x","id":256,"role":"end"},{"name":"y","id":256,"role":"pad"}]'
TOKENIZERS: dict[str, tuple[str, bytes]] = {
    "weights instead": ("CHM405", WEIGHTS),
    "section missing": ("CHM430", bf.container_bytes("tokenizer", [bf.Section("len", "U8", (1,), b"\0")])),
    "lengths of 16 bits": ("CHM430", tokenizer_bytes(ONES, BYTES, b"[]", len="U16")),
    "lengths too large": ("CHM430", tokenizer_bytes(b"\xff" * 256, BYTES, b"[]")),
    "lengths too small": ("CHM430", tokenizer_bytes(ONES, BYTES + b"x", b"[]")),
    "a byte missing": ("CHM430", tokenizer_bytes(ONES[:-1] + b"\0", BYTES[:-1], b"[]")),
    "a token twice": ("CHM430", tokenizer_bytes(ONES + b"\x01", BYTES + b"a", b"[]")),
    "no list": ("CHM430", tokenizer_bytes(ONES, BYTES, b"{}")),
    "empty text": ("CHM430", tokenizer_bytes(ONES, BYTES, b"")),
    "unclosed": ("CHM430", tokenizer_bytes(ONES, BYTES, b"[")),
    "text after it": ("CHM430", tokenizer_bytes(ONES, BYTES, b"[]]")),
    "id out of range": ("CHM430", tokenizer_bytes(ONES, BYTES, b'[{"name":"x","id":256,"role":"end"}]')),
    "id is negative": ("CHM430", tokenizer_bytes(ONES, BYTES, b'[{"name":"x","id":-1,"role":"end"}]')),
    "id of text": ("CHM430", tokenizer_bytes(ONES, BYTES, b'[{"name":"x","id":65,"role":"end"}]')),
    "unknown role": ("CHM430", tokenizer_bytes(ONES + b"\0", BYTES, b'[{"name":"x","id":256,"role":"boss"}]')),
    "no name": ("CHM430", tokenizer_bytes(ONES + b"\0", BYTES, b'[{"name":"","id":256,"role":"end"}]')),
    "no role": ("CHM430", tokenizer_bytes(ONES + b"\0", BYTES, b'[{"name":"x","id":256}]')),
    "id twice": ("CHM430", tokenizer_bytes(ONES + b"\0", BYTES, TWO_OF_AN_ID)),
    "more tokens than the model": ("CHM407", tokenizer_bytes(ONES + bytes(40), BYTES, b"[]")),
    "unknown pattern": ("CHM430", tokenizer_bytes(ONES, BYTES, b"[]", b"o200k ")),
    "no pattern in its section": ("CHM430", tokenizer_bytes(ONES, BYTES, b"[]", b"")),
    "pattern of 16 bits": ("CHM430", tokenizer_bytes(ONES, BYTES, b"[]", b"none", pattern="U16")),
    "unknown rule": ("CHM430", changed(rules=b'["prefix","lower"]')),
    "a rule twice": ("CHM430", changed(rules=b'["prefix","prefix"]')),
    "two prefixes": ("CHM430", changed(rules=b'["prefix","prefix-first"]')),
    "rules are no list": ("CHM430", changed(rules=b'{"prefix":1}')),
    "rules are empty": ("CHM430", changed(rules=b"[]")),
    "text after the rules": ("CHM430", changed(rules=b'["prefix"]x')),
    "whole pieces of nothing": ("CHM430", changed(rules=b'["whole"]')),
    "dropped bytes of nothing": ("CHM430", changed(rules=b'["drop"]')),
    "the longest of merges": ("CHM430", changed(rules=b'["longest"]')),
    "splits without merges": ("CHM430", changed(merge=b"", byte=b"")),
    "byte tokens without merges": ("CHM430", changed(merge=b"", split=b"")),
    "too few splits": ("CHM430", changed(split=b"\1")),
    "a merge out of range": ("CHM430", changed(merge=numbers(999), split=b"\1")),
    "a merge of one byte": ("CHM430", changed(merge=numbers(5), split=b"\1")),
    "a merge of a hole": ("CHM430", changed(merge=numbers(262), split=b"\1")),
    "a merge with an empty right part": ("CHM430", changed(merge=numbers(256), split=b"\2")),
    "a merge with an empty left part": ("CHM430", changed(merge=numbers(256), split=b"\0")),
    "a merge twice": ("CHM430", changed(merge=numbers(256, 256), split=b"\1\1")),
    "a merge of any parts twice": ("CHM430", changed(merge=numbers(256, 256), split=b"")),
    "255 byte tokens": ("CHM430", changed(byte=numbers(*range(255)))),
    "a byte token out of range": ("CHM430", changed(byte=numbers(*range(255), 999))),
    "a byte token of another byte": ("CHM430", changed(byte=numbers(*range(255), 254))),
    "a byte token of two bytes": ("CHM430", changed(byte=numbers(*range(255), 256))),
    "a special strips four sides": ("CHM430", changed(special=special_bytes(strip=4))),
    "a special strips a text": ("CHM430", changed(special=special_bytes(strip="1"))),
    "hex is 0": ("CHM430", changed(special=special_bytes(hex=0, name="61"))),
    "half a byte": ("CHM430", changed(special=special_bytes(hex=1, name="616"))),
    "no hexadecimal digits": ("CHM430", changed(special=special_bytes(hex=1, name="6G"))),
    "no name in hexadecimal digits": ("CHM430", changed(special=special_bytes(hex=1, name=""))),
    "a name that is not UTF-8": ("CHM430", changed(special=special_bytes(hex=1, name="ff"))),
    "unknown key of a special": ("CHM430", changed(special=special_bytes(rank=1))),
    "over the limit": ("CHM403", tokenizer_bytes(ONES + bytes(262_144), BYTES, b"[]")),
}


@pytest.mark.parametrize("name", [name for name, (code, _) in TOKENIZERS.items() if code != "CHM407"])
def test_python_refuses_tokenizers(name: str) -> None:
    code, data = TOKENIZERS[name]
    with pytest.raises(BundleError) as caught:
        tokenizer_of_container(bf.parse_container(data))
    assert caught.value.code == code


def test_c_refuses_tokenizers_with_the_same_code(run_driver: Callable[..., list[int]], tmp_path: Path) -> None:
    file = tmp_path / "cases"
    file.write_bytes(b"".join(b"t" + struct.pack("<I", len(data)) + data for _, data in TOKENIZERS.values()))
    codes = [f"CHM{status}" for status in run_driver("cases", file)]
    assert dict(zip(TOKENIZERS, codes, strict=True)) == {name: code for name, (code, _) in TOKENIZERS.items()}
