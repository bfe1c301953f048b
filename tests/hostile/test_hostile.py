"""Damaged and forged containers: a typed error from both readers, never a crash, never a read outside of the file."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimerac.runtime import BundleError
from chimerac.runtime import bundle_format as bf

Header = dict[str, Any]


def small_container() -> bytes:
    return bf.container_bytes(
        "b158",
        [
            bf.array_section("a", np.arange(6, dtype=np.float32).reshape(2, 3)),
            bf.array_section("b", np.arange(70, dtype=np.uint8)),
            bf.array_section("c", np.arange(5, dtype=np.int16)),
        ],
        {bf.KEY_CONFIG: "cd" * 32},
    )


GOOD = small_container()
START = 8 + int.from_bytes(GOOD[:8], "little")
TEXT = GOOD[8:START].rstrip(b" ").decode()


def assemble(text: str | bytes, data: bytes = GOOD[START:], *, align: bool = True) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if align:
        raw += b" " * (-(8 + len(raw)) % 4096)
    return len(raw).to_bytes(8, "little") + raw + data


def edited(change: Callable[[Header], object], data: bytes = GOOD[START:]) -> bytes:
    header = json.loads(TEXT)
    change(header)
    return assemble(json.dumps(header, separators=(",", ":")), data)


def edited_table(change: Callable[[Header], object]) -> bytes:
    def apply(header: Header) -> None:
        table = json.loads(header["__metadata__"]["chimera.sections"])
        change(table)
        header["__metadata__"]["chimera.sections"] = json.dumps(table, separators=(",", ":"))

    return edited(apply)


def entry(name: str, **values: Any) -> bytes:
    return edited(lambda header: header[name].update(values))


def metadata(**values: Any) -> bytes:
    return edited(lambda header: header["__metadata__"].update({f"chimera.{key}": v for key, v in values.items()}))


def renamed(old: str, new: str) -> bytes:
    return assemble(TEXT.replace(f'"{old}":{{"dtype"', f'"{new}":{{"dtype"').replace(f'\\"{old}\\":', f'\\"{new}\\":'))


def reordered() -> bytes:
    header = json.loads(TEXT)
    names = ["__metadata__", *reversed([name for name in header if name != "__metadata__"])]
    return assemble(json.dumps({name: header[name] for name in names}, separators=(",", ":")))


def length_field(value: int) -> bytes:
    return struct.pack("<Q", value) + GOOD[8:]


def with_byte(offset: int, value: int) -> bytes:
    return GOOD[:offset] + bytes([value]) + GOOD[offset + 1 :]


def swapped_data() -> bytes:
    data = bytearray(GOOD)
    data[START], data[START + 6] = data[START + 6], data[START]
    return bytes(data)


MANY = {f"__pad.{k}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for k in range(65_537)}
METADATA = json.loads(TEXT)["__metadata__"]

CASES: dict[str, tuple[str, bytes]] = {
    "empty": ("CHM401", b""),
    "one byte": ("CHM401", b"\x00"),
    "length only": ("CHM401", GOOD[:8]),
    "html page": ("CHM401", b"<!doctype html><html><body>404 not found</body></html>" * 100),
    "zip file": ("CHM401", b"PK\x03\x04" + bytes(5000)),
    "length 0": ("CHM402", length_field(0)),
    "length 1": ("CHM402", length_field(1)),
    "length less by one": ("CHM402", length_field(START - 9)),
    "length more by one": ("CHM402", length_field(START - 7)),
    "length of the file": ("CHM401", length_field(len(GOOD))),
    "length at the limit": ("CHM401", length_field(16 << 20)),
    "length over the limit": ("CHM403", length_field((16 << 20) + 1)),
    "length 2**63": ("CHM403", length_field(1 << 63)),
    "length 2**64 - 1": ("CHM403", length_field((1 << 64) - 1)),
    "length 2**64 - 8 wraps": ("CHM403", length_field((1 << 64) - 8)),
    "prefix before the file": ("CHM401", b"\x7fELF" + GOOD),
    "suffix after the file": ("CHM404", GOOD + b"\0"),
    "cut in the data": ("CHM401", GOOD[:-1]),
    "cut at the data": ("CHM401", GOOD[:START]),
    "unaligned data start": ("CHM402", assemble(TEXT, align=False)),
    "space before the header": ("CHM401", assemble(" " + TEXT)),
    "not JSON": ("CHM402", assemble("{" * 40)),
    "deep nesting": ("CHM402", assemble('{"__metadata__":' + "[" * 60_000 + "]" * 60_000 + "}")),
    "a list": ("CHM401", assemble("[" + TEXT + "]")),
    "two headers": ("CHM402", assemble(TEXT + TEXT)),
    "text after the header": ("CHM402", assemble(TEXT + "x")),
    "zero byte in the header": ("CHM402", assemble(TEXT.encode() + b"\0")),
    "newline in the header": ("CHM402", assemble(TEXT.replace(",", ",\n", 1))),
    "not ASCII": ("CHM402", assemble(TEXT.replace('"a"', '"ä"'))),
    "trailing comma": ("CHM402", assemble(TEXT[:-1] + ",}")),
    "no metadata": ("CHM402", edited(lambda h: h.pop("__metadata__"))),
    "metadata not first": ("CHM402", edited(lambda h: h.update({"__metadata__": h.pop("__metadata__")}))),
    "metadata is a list": ("CHM402", edited(lambda h: h.update({"__metadata__": []}))),
    "metadata value is a number": ("CHM402", metadata(kind=5)),
    "metadata key twice": ("CHM402", assemble(TEXT.replace('"chimera.kind"', '"chimera.kind":"b158","chimera.kind"'))),
    "no kind": ("CHM402", edited(lambda h: h["__metadata__"].pop("chimera.kind"))),
    "no sections table": ("CHM402", edited(lambda h: h["__metadata__"].pop("chimera.sections"))),
    "other kind": ("CHM405", metadata(kind="gguf")),
    "next major version": ("CHM405", metadata(abi="2.0")),
    "version 0": ("CHM405", metadata(abi="0.9")),
    "version 11": ("CHM405", metadata(abi="11.0")),
    "empty version": ("CHM405", metadata(abi="")),
    "table is not JSON": ("CHM402", metadata(sections="{")),
    "table is a list": ("CHM402", metadata(sections="[]")),
    "table with an escape": ("CHM402", metadata(sections='{"a\\\\u0062":{}}')),
    "row missing": ("CHM402", edited_table(lambda t: t.pop("b"))),
    "row too many": ("CHM402", edited_table(lambda t: t.update({"d": t["a"]}))),
    "rows in another order": ("CHM402", edited_table(lambda t: t.update({"a": t.pop("a")}))),
    "row with another size": ("CHM404", edited_table(lambda t: t["a"].update(bytes=23))),
    "row without crc": ("CHM402", edited_table(lambda t: t["a"].pop("crc32"))),
    "row with another key": ("CHM402", edited_table(lambda t: t["a"].update(more=1))),
    "crc of 7 digits": ("CHM402", edited_table(lambda t: t["a"].update(crc32="1234567"))),
    "crc in capitals": ("CHM402", edited_table(lambda t: t["a"].update(crc32="ABCDEF00"))),
    "crc is a number": ("CHM402", edited_table(lambda t: t["a"].update(crc32=12345678))),
    "crc of another": ("CHM406", edited_table(lambda t: t["a"].update(crc32="00000000"))),
    "sha of 63 digits": ("CHM402", edited_table(lambda t: t["a"].update(sha256="0" * 63))),
    "unknown dtype": ("CHM402", entry("a", dtype="F64")),
    "empty dtype": ("CHM402", entry("a", dtype="")),
    "dtype is a number": ("CHM402", entry("a", dtype=4)),
    "wider dtype": ("CHM404", entry("c", dtype="F32")),
    "shape is a number": ("CHM402", entry("a", shape=6)),
    "negative extent": ("CHM402", entry("a", shape=[-2, -3])),
    "extent is a fraction": ("CHM402", entry("a", shape=[2.0, 3])),
    "extent is a text": ("CHM402", entry("a", shape=["2", 3])),
    "extent over 2**53": ("CHM402", entry("a", shape=[(1 << 53) + 1])),
    "leading zero": ("CHM402", assemble(TEXT.replace('"shape":[2,3]', '"shape":[02,3]'))),
    "shape that wraps to the size": ("CHM404", entry("a", shape=[1 << 32, 1 << 30, 4, 6])),
    "shape that wraps to 0": ("CHM404", entry("a", shape=[1 << 32, 1 << 32])),
    "shape with a zero": ("CHM404", entry("a", shape=[0, 3])),
    "zero hides an overflow": ("CHM404", entry("a", shape=[1 << 53, 1 << 53, 0])),
    "9 dimensions": ("CHM403", entry("a", shape=[2, 3, 1, 1, 1, 1, 1, 1, 1])),
    "transposed shape with one more": ("CHM404", entry("a", shape=[3, 2, 2])),
    "one offset": ("CHM402", entry("a", data_offsets=[0])),
    "three offsets": ("CHM402", entry("a", data_offsets=[0, 24, 24])),
    "begin after end": ("CHM404", entry("a", data_offsets=[24, 0])),
    "negative offset": ("CHM402", entry("a", data_offsets=[-24, 0])),
    "overlap": ("CHM404", entry("b", data_offsets=[0, 70])),
    "hole": ("CHM404", entry("b", data_offsets=[128, 198])),
    "end beyond the file": ("CHM401", entry("c", shape=[50], data_offsets=[192, 292])),
    "offset over 2**53": ("CHM402", entry("a", data_offsets=[0, 1 << 60])),
    "key missing": ("CHM402", edited(lambda h: h["a"].pop("shape"))),
    "key too many": ("CHM402", entry("a", strides=[1])),
    "key twice": ("CHM402", assemble(TEXT.replace('"a":{', '"a":{"dtype":"F32",'))),
    "entry is a list": ("CHM402", edited(lambda h: h.update(a=[]))),
    "entry is null": ("CHM402", edited(lambda h: h.update(a=None))),
    "two sections of a name": ("CHM402", renamed("b", "a")),
    "reordered sections": ("CHM404", reordered()),
    "unaligned section": ("CHM404", edited(lambda h: h.pop("__pad.0"))),
    "section called pad": ("CHM402", renamed("a", "__pad.9")),
    "reserved name": ("CHM402", renamed("a", "__a")),
    "empty name": ("CHM402", renamed("a", "")),
    "name with a slash": ("CHM402", renamed("a", "../a")),
    "name of 129": ("CHM402", renamed("a", "n" * 129)),
    "name with an escape": ("CHM402", assemble(TEXT.replace('"a":{', '"\\u0061":{'))),
    "65537 sections": ("CHM403", assemble(json.dumps({"__metadata__": METADATA | {"chimera.sections": "{}"}, **MANY}))),
    "padding is not zero": ("CHM406", with_byte(START + 24, 1)),
    "data flipped": ("CHM406", with_byte(START + 3, 0xFF)),
    "data swapped": ("CHM406", swapped_data()),
    "last byte flipped": ("CHM406", with_byte(len(GOOD) - 1, GOOD[-1] ^ 0x80)),
}


def python_code(data: bytes) -> str:
    try:
        bf.parse_container(data)
    except BundleError as error:
        return error.code
    return "accepted"


@pytest.mark.parametrize("name", CASES)
def test_python_refuses(name: str) -> None:
    code, data = CASES[name]
    assert python_code(data) == code


def test_the_cases_are_distinct_and_their_base_is_good() -> None:
    assert python_code(GOOD) == "accepted"
    assert python_code(assemble(TEXT)) == "accepted"
    assert len({data for _, data in CASES.values()}) == len(CASES)


def test_c_refuses_with_the_same_code(run_driver: Callable[..., list[int]], tmp_path: Path) -> None:
    file = tmp_path / "cases"
    file.write_bytes(b"".join(b"b" + struct.pack("<I", len(data)) + data for _, data in CASES.values()))
    statuses = run_driver("cases", file)
    wrong = {
        name: (code, f"CHM{status}")
        for (name, (code, _)), status in zip(CASES.items(), statuses, strict=True)
        if f"CHM{status}" != code
    }
    assert not wrong


def test_every_prefix_is_refused(run_driver: Callable[..., list[int]], tmp_path: Path) -> None:
    file = tmp_path / "good"
    file.write_bytes(GOOD)
    assert run_driver("truncate", "b", file) == [0]
    for size in range(len(GOOD)):
        assert python_code(GOOD[:size]) in ("CHM401", "CHM402", "CHM404")


def test_every_flipped_bit_is_noticed_or_harmless(run_driver: Callable[..., list[int]], tmp_path: Path) -> None:
    """The header has no checksum; what a flip may change unnoticed are digits that this reader only hands on."""
    file = tmp_path / "good"
    file.write_bytes(GOOD)
    harmless: set[int] = set()
    for text in ("cd" * 32, json.loads(TEXT)["__metadata__"]["chimera.contents_sha256"], "1.0"):
        start = 8 + TEXT.index(text)
        harmless.update(range(start, start + len(text)))
    for row in json.loads(json.loads(TEXT)["__metadata__"]["chimera.sections"]).values():
        start = 8 + TEXT.index(row["sha256"])
        harmless.update(range(start, start + 64))
    harmless.update(pad_numbers())
    assert set(run_driver("flip", "b", file)) <= harmless


def pad_numbers() -> set[int]:
    """Offsets of the digits that number the pads."""
    return {8 + found.end() for found in re.finditer(r"__pad\.", TEXT)}


def test_python_notices_flipped_bits() -> None:
    random = np.random.default_rng(1)
    config = range(8 + TEXT.index("cdcd"), 8 + TEXT.index("cdcd") + 64)
    version = 8 + TEXT.index('"1.0"') + 3
    for position in [*range(8, 8 + len(TEXT)), *random.integers(START, len(GOOD), 100).tolist()]:
        data = bytearray(GOOD)
        data[position] ^= 1 << int(random.integers(8))
        if python_code(bytes(data)) == "accepted":
            assert position in config or position == version or position in pad_numbers()


def test_random_damage_without_checksums(run_driver: Callable[..., list[int]], tmp_path: Path) -> None:
    file = tmp_path / "good"
    file.write_bytes(GOOD)
    accepted = sum(run_driver("mutate", "b", file, seed, 10_000)[0] for seed in range(3))
    assert accepted > 0, "some damage must get past the header, or the test looks at too little"
