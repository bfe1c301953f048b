"""Files beside others that are the same compressed: servers send them in place of the others to who takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from chimerac.runtime.bundle_format.copies import BROTLI, GZIP, WORTH, brotli, gzipped

#: Roles of files that are compressed. Weights hardly shrink and are read in parts; documents are not part of a page.
COMPRESSED_ROLES: Final = frozenset({"code", "variant", "tokenizer", "grammar", "spans", "data", "runtime"})
LEAST: Final = 1024  #: bytes of a file that is compressed; a smaller one fits one packet of a network anyway


def compress_files(folder: Path, names: Iterable[str], jobs: int = 1) -> dict[str, int]:
    """Write ``NAME.gz`` beside each file that shrinks by a tenth, and ``NAME.br`` where brotli is installed.

    Returns:
        bytes that are sent of each file to who takes gzip.
    """
    packer = brotli()

    def one(name: str) -> tuple[str, int]:
        data = (folder / name).read_bytes()
        packed = gzipped(data) if len(data) >= LEAST else data
        if len(packed) > WORTH * len(data):
            return name, len(data)
        (folder / f"{name}{GZIP}").write_bytes(packed)
        if packer is not None:
            (folder / f"{name}{BROTLI}").write_bytes(packer.compress(data))
        return name, len(packed)

    with ThreadPoolExecutor(jobs) as pool:
        return dict(pool.map(one, names))


def compressed_roles(roles: Mapping[str, str]) -> list[str]:
    """The files that are compressed, of all of a bundle by their roles."""
    return [name for name, role in roles.items() if role in COMPRESSED_ROLES]
