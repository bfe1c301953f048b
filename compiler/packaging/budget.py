"""``--max-size``: what one device needs of a bundle, part by part, and whether that is too much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.units import decimal_size
from chimerac.runtime.bundle_format import Manifest, read_manifest
from chimerac.runtime.bundle_format.copies import GZIP

#: Role → part of a budget; documents are for people, and no device needs them.
PARTS: Final = {
    "code": "code",
    "variant": "code",
    "weights": "weights",
    "tokenizer": "tokenizer",
    "grammar": "grammars",
    "spans": "spans",
    "data": "data",
    "runtime": "loader, headers and page",
}


@dataclass(frozen=True)
class Part:
    """A part of a bundle: bytes, and bytes as a server sends them, compressed where that is worth it."""

    name: str
    bytes: int
    sent: int


def parts_of(folder: Path, manifest: Manifest) -> list[Part]:
    """The parts that one device needs, the largest first; of several modules it needs one, here the largest."""
    found: dict[str, list[tuple[int, int]]] = {}
    for entry in manifest.files:
        if entry.role in PARTS:
            packed = folder / f"{entry.name}{GZIP}"
            sent = packed.stat().st_size if packed.is_file() else entry.bytes
            found.setdefault(PARTS[entry.role], []).append((entry.bytes, sent))
    found["code"] = [max(found["code"])]
    parts = [
        Part(name, sum(size for size, _ in sizes), sum(sent for _, sent in sizes)) for name, sizes in found.items()
    ]
    return sorted(parts, key=lambda part: -part.bytes)


def check_budget(name: str, folder: Path, most: int) -> None:
    """Raise UserError CHM325 when what a device needs of the bundle in ``folder`` takes more than ``most`` bytes."""
    parts = parts_of(folder, read_manifest(folder))
    size = sum(part.bytes for part in parts)
    if size <= most:
        return
    message = f"{name} needs {size:,} bytes, over the {most:,} allowed"
    hint = f"{parts[0].name} takes most: {_advice(parts[0].name)}"
    raise UserError("CHM325", "\n".join([message, *_table(parts, size)]), hint=hint)


def _advice(name: str) -> str:
    if name == "weights":
        return "--trits t5, smaller formats of weights, or a smaller model"
    if name == "grammars":
        return "fewer modes, or a simpler schema"
    if name == "spans":
        return "a bank with fewer --entries, or none"
    return "raise --max-size"


def _table(parts: Iterable[Part], size: int) -> Iterable[str]:
    parts = list(parts)
    rows = [(p.name, p.bytes, p.sent) for p in parts] + [("all", size, sum(p.sent for p in parts))]
    compressed = any(p.sent < p.bytes for p in parts)
    for name, raw, sent in rows:
        yield f"  {name:<24}  {raw:>15,}" + (f"  {decimal_size(sent):>9} with gzip" if compressed else "")
