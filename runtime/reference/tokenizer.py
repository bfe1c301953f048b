"""The tokenizer of a bundle in Python: the same tokens as ``native/chm_tokenizer.c``, and its container's maker."""

from __future__ import annotations

import codecs
import heapq
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chimerac.runtime.bundle_format import KIND_TOKENIZER, ROLES, Container, Section, read_container, write_container
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.strict_json import StrictJsonError, parse_strict, write_strict
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.pretokenizer import pieces


@dataclass(frozen=True)
class Special:
    """A token that is not text: ``name`` is printable ASCII, ``role`` one of ROLES."""

    name: str
    id: int
    role: str


@dataclass(frozen=True)
class Tokenizer:
    """Byte-level byte pair encoding: ``tokens[id]`` are the bytes of a token, b"" for specials and holes.

    A token's id is its rank: of all neighbouring pairs that make a token, the one of the lowest id merges first, the
    leftmost of equals. ``pattern`` is one of PATTERNS: with ``o200k`` the text is first cut into pieces, no merge
    crosses their ends, and a piece that is a token is taken whole. Raises BundleError CHM430, CHM403 for a table that
    cannot be used.
    """

    tokens: tuple[bytes, ...]
    specials: tuple[Special, ...] = ()
    pattern: str = c.PATTERN_NONE
    _ids: dict[bytes, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {token: id for id, token in enumerate(self.tokens) if token}
        object.__setattr__(self, "_ids", ids)
        special_ids = [special.id for special in self.specials]
        if len(self.tokens) > c.MAX_VOCABULARY or len(self.specials) > c.MAX_SPECIALS:
            raise BundleError("CHM403", "too many tokens")
        problems = {
            "two tokens have the same bytes": len(ids) != sum(bool(token) for token in self.tokens),
            "a token is longer than 255 bytes": any(len(token) > 255 for token in self.tokens),
            "not every single byte is a token": any(bytes([byte]) not in ids for byte in range(256)),
            "two special tokens have the same id": len(set(special_ids)) != len(special_ids),
            "a special token's id is out of range": any(not 0 <= id < len(self.tokens) for id in special_ids),
            "a special token has bytes": any(0 <= id < len(self.tokens) and self.tokens[id] for id in special_ids),
            "a special token's role is unknown": any(special.role not in ROLES for special in self.specials),
            "a special token has no name": any(not special.name for special in self.specials),
            "the pattern is not one that this runtime knows": self.pattern not in c.PATTERNS,
        }
        for problem, present in problems.items():
            if present:
                raise BundleError("CHM430", f"tokenizer: {problem}")

    def encode(self, text: str | bytes, *, specials: bool = False) -> list[int]:
        """Token ids of a text.

        None of them is special, whatever the text holds. With ``specials`` the names of special tokens in it become
        these tokens, the first, of several at a place the longest: only for text of your own, because a stranger's
        could end turns and speak as the system.
        """
        data = text.encode() if isinstance(text, str) else text
        names = {special.name.encode(): special.id for special in reversed(self.specials)} if specials else {}
        if not names:
            return self._encode_ordinary(data)
        result: list[int] = []
        longest_first = sorted(names, key=len, reverse=True)
        for k, part in enumerate(re.split(b"(%s)" % b"|".join(map(re.escape, longest_first)), data)):
            result += [names[part]] if k % 2 else self._encode_ordinary(part)
        return result

    def _encode_ordinary(self, data: bytes) -> list[int]:
        if self.pattern == c.PATTERN_NONE:
            return self._merge(data)
        result: list[int] = []
        for piece in pieces(data):
            token = self._ids.get(piece)
            result += self._merge(piece) if token is None else [token]
        return result

    def _merge(self, data: bytes) -> list[int]:
        length = [1] * len(data)
        before = list(range(-1, len(data) - 1))
        queue: list[tuple[int, int, int]] = []

        def offer(left: int) -> None:
            right = left + length[left]
            if right < len(data):
                span = length[left] + length[right]
                rank = self._ids.get(data[left : left + span])
                if rank is not None:
                    heapq.heappush(queue, (rank, left, span))

        for left in range(len(data) - 1):
            offer(left)
        while queue:
            _, left, span = heapq.heappop(queue)
            right = left + length[left]
            if not length[left] or right >= len(data) or length[left] + length[right] != span:
                continue  # one of the two parts has merged with another since
            length[left], length[right] = span, 0
            if left + span < len(data):
                before[left + span] = left
            if left:
                offer(before[left])
            offer(left)
        result = []
        position = 0
        while position < len(data):
            result.append(self._ids[data[position : position + length[position]]])
            position += length[position]
        return result

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of tokens; specials, holes and unknown ids have none."""
        return b"".join(self.tokens[id] for id in ids if 0 <= id < len(self.tokens))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens, invalid UTF-8 replaced by U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def special_id(self, role: str) -> int | None:
        """The first special token of a role."""
        return next((special.id for special in self.specials if special.role == role), None)


class StreamDecoder:
    """Tokens one by one → text that is whole characters; the pieces and ``finish()`` together are ``decode`` of all."""

    def __init__(self, tokenizer: Tokenizer, held: bytes = b"") -> None:
        """``held``: the start of a character, to go on from."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder.setstate((held, 0))

    @property
    def held(self) -> bytes:
        """The start of a character that is not complete."""
        return self._decoder.getstate()[0]

    def push(self, id: int) -> str:
        """The text that becomes complete with a token."""
        return self._decoder.decode(self._tokenizer.decode_bytes([id]))

    def finish(self) -> str:
        """What is left at the end: U+FFFD for an incomplete character."""
        return self._decoder.decode(b"", final=True)


def byte_tokenizer(vocab_size: int, specials: Sequence[Special] = ()) -> Tokenizer:
    """One token for each byte, id = byte, then special tokens and holes up to ``vocab_size`` (at least 256)."""
    if vocab_size < 256:
        raise BundleError("CHM430", f"tokenizer: {vocab_size} tokens are too few for 256 bytes")
    tokens = tuple(bytes([id]) if id < 256 else b"" for id in range(vocab_size))
    return Tokenizer(tokens, tuple(specials))


def tokenizer_sections(tokenizer: Tokenizer) -> list[Section]:
    """The sections of the container of kind ``tokenizer``."""
    lengths = np.array([len(token) for token in tokenizer.tokens], np.uint8)
    data = b"".join(tokenizer.tokens)
    rows = [{"name": special.name, "id": special.id, "role": special.role} for special in tokenizer.specials]
    text, pattern = write_strict(rows).encode(), tokenizer.pattern.encode()
    sections = [
        Section(c.SECTION_TOKEN_LENGTHS, "U8", (len(lengths),), lengths),
        Section(c.SECTION_TOKEN_BYTES, "U8", (len(data),), data),
        Section(c.SECTION_SPECIALS, "U8", (len(text),), text),
    ]
    if tokenizer.pattern != c.PATTERN_NONE:
        sections.append(Section(c.SECTION_PATTERN, "U8", (len(pattern),), pattern))
    return sections


def write_tokenizer(path: str | Path, tokenizer: Tokenizer, *, config_sha256: str = "") -> None:
    """Write the container; raises BundleError CHM400."""
    write_container(path, KIND_TOKENIZER, tokenizer_sections(tokenizer), {c.KEY_CONFIG: config_sha256})


def read_tokenizer(path: str | Path) -> Tokenizer:
    """Read the container; raises BundleError CHM400 to CHM406, CHM430."""
    return tokenizer_of_container(read_container(path))


def tokenizer_of_container(container: Container) -> Tokenizer:
    """The tokenizer in an opened container; raises BundleError CHM405, CHM403, CHM430."""
    if container.kind != KIND_TOKENIZER:
        raise BundleError("CHM405", f"a container of kind {container.kind!r}, not {KIND_TOKENIZER!r}")
    cuts = c.SECTION_PATTERN in container.sections
    names = (c.SECTION_TOKEN_LENGTHS, c.SECTION_TOKEN_BYTES, c.SECTION_SPECIALS, *([c.SECTION_PATTERN] if cuts else []))
    for name in names:
        if name not in container.sections or c.DTYPES[container.sections[name].dtype] != 1:
            raise BundleError("CHM430", f"tokenizer: section {name!r} is missing or has the wrong dtype")
    lengths = bytes(container.raw(c.SECTION_TOKEN_LENGTHS))
    data = bytes(container.raw(c.SECTION_TOKEN_BYTES))
    if len(lengths) > c.MAX_VOCABULARY:
        raise BundleError("CHM403", f"tokenizer: {len(lengths)} tokens are over the limit")
    if sum(lengths) != len(data):
        raise BundleError("CHM430", "tokenizer: the lengths do not add up to the bytes")
    ends = np.cumsum(np.frombuffer(lengths, np.uint8), dtype=np.int64).tolist()
    tokens = tuple(data[end - length : end] for end, length in zip(ends, lengths, strict=True))
    pattern = bytes(container.raw(c.SECTION_PATTERN)).decode("latin-1") if cuts else c.PATTERN_NONE
    return Tokenizer(tokens, _specials(bytes(container.raw(c.SECTION_SPECIALS))), pattern)


def _specials(text: bytes) -> tuple[Special, ...]:
    try:
        rows = parse_strict(text.decode("latin-1"))
        if not isinstance(rows, list):
            raise StrictJsonError("not a list")
        for row in rows:
            if not isinstance(row, dict) or row.keys() != {"name", "id", "role"} or type(row["id"]) is not int:
                raise StrictJsonError("not a list of {name, id, role}")
            if not isinstance(row["name"], str) or not isinstance(row["role"], str):
                raise StrictJsonError("a name or role is not a text")
    except StrictJsonError as error:
        raise BundleError("CHM430", f"tokenizer: the special tokens are not valid: {error}") from None
    return tuple(Special(row["name"], row["id"], row["role"]) for row in rows)
