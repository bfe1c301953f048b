"""The tokenizer of a bundle in Python: the same tokens as ``native/chm_tokenizer.c``, and its container's maker."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from chimerac.runtime.bundle_format import KIND_TOKENIZER, ROLES, Container, Section, read_container, write_container
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.strict_json import StrictJsonError, parse_strict, write_strict
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.merging import Merges, longest_first, merged
from chimerac.runtime.reference.normalization import nfc, tidy
from chimerac.runtime.reference.pretokenizer import pieces

STRIP_LEFT: Final = 1
STRIP_RIGHT: Final = 2
#: The property White_Space.
_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_PREFIXES: Final = frozenset((c.RULE_PREFIX, c.RULE_PREFIX_MISSING, c.RULE_PREFIX_FIRST))
_UNDERLINE: Final = "\u2581".encode()


@dataclass(frozen=True)
class Special:
    """A token that is not text: ``role`` is one of ROLES; ``strip`` tells on which sides of its name in a text white
    space belongs to it, STRIP_LEFT + STRIP_RIGHT.
    """

    name: str
    id: int
    role: str
    strip: int = 0


@dataclass(frozen=True)
class Tokenizer:
    """Byte pair encoding: ``tokens[id]`` are the bytes of a token, b"" for specials and holes.

    A text is changed by the rules, cut by the pattern into pieces whose ends no merge crosses, and in each piece parts
    side by side are merged, the lowest rank first, the leftmost of equals; or, by the rule ``longest``, the longest
    token that begins there is taken from the left, again and again. docs/tokenizers.md has the details.

    Attributes:
        pattern: one of PATTERNS.
        merges: which parts merge; None: any two that make a token, the rank is its id, and a piece that is a token is
            taken whole.
        byte_tokens: with merges, the tokens of 256 bytes that stand for nothing else; then parts are characters that
            are tokens to begin with, and of others the bytes.
        rules: some of RULES.

    Raises BundleError CHM430, CHM403 for a table that cannot be used.
    """

    tokens: tuple[bytes, ...]
    specials: tuple[Special, ...] = ()
    pattern: str = c.PATTERN_NONE
    merges: Merges | None = None
    byte_tokens: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    _ids: dict[bytes, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        only_bytes = frozenset(self.byte_tokens)
        texts = [(token, id) for id, token in enumerate(self.tokens) if token and id not in only_bytes]
        object.__setattr__(self, "_ids", dict(texts))
        if len(self.tokens) > c.MAX_VOCABULARY or len(self.specials) > c.MAX_SPECIALS:
            raise BundleError("CHM403", "too many tokens")
        if self.merges is not None and len(self.merges.tokens) > c.MAX_MERGES:
            raise BundleError("CHM403", "too many merges")
        problems = self._problems() | {"two tokens have the same bytes": len(self._ids) != len(texts)}
        for problem, present in problems.items():
            if present:
                raise BundleError("CHM430", f"tokenizer: {problem}")

    def _problems(self) -> dict[str, bool]:
        ids = [special.id for special in self.specials]
        count = len(self.tokens)
        problems = {
            "a token is longer than 255 bytes": any(len(token) > 255 for token in self.tokens),
            "two special tokens have the same id": len(set(ids)) != len(ids),
            "a special token's id is out of range": any(not 0 <= id < count for id in ids),
            "a special token has bytes": any(0 <= id < count and self.tokens[id] for id in ids),
            "a special token's role is unknown": any(special.role not in ROLES for special in self.specials),
            "a special token has no name": any(not special.name for special in self.specials),
            "a special token strips no such side": any(not 0 <= special.strip <= 3 for special in self.specials),
            "the pattern is not one that this runtime knows": self.pattern not in c.PATTERNS,
            "a rule is not one that this runtime knows": not set(self.rules) <= set(c.RULES),
            "a rule is there twice": len(set(self.rules)) != len(self.rules),
            "more than one rule for what is before a text": len(_PREFIXES & set(self.rules)) > 1,
            "a rule is for pieces, and nothing cuts the text into pieces": self.pattern == c.PATTERN_NONE
            and not {c.RULE_WHOLE, c.RULE_DROP}.isdisjoint(self.rules),
            "the longest token counts, and there are merges": c.RULE_LONGEST in self.rules and self.merges is not None,
            "tokens of single bytes without merges": bool(self.byte_tokens) and self.merges is None,
            "the tokens of single bytes are not 256": len(self.byte_tokens) not in (0, 256),
            "the token of a single byte is out of range": any(not 0 <= id < count for id in self.byte_tokens),
        }
        if any(problems.values()):
            return problems
        byte_tokens = self.byte_tokens or (-1,) * 256
        each = [(bytes([byte]), id) for byte, id in enumerate(byte_tokens)]
        problems = {
            "a token of a single byte has other bytes": any(id >= 0 and self.tokens[id] != byte for byte, id in each),
            "not every single byte is a token": c.RULE_DROP not in self.rules
            and any(id < 0 and byte not in self._ids for byte, id in each),
        }
        return problems | (self.merges.problems(self.tokens) if self.merges else {})

    def encode(self, text: str | bytes, *, specials: bool = False, begins: bool = True) -> list[int]:
        """Token ids of a text.

        None of them is special, whatever the text holds. With ``specials`` the names of special tokens in it become
        these tokens, the first, of several at a place the longest: only for text of your own, because a stranger's
        could end turns and speak as the system. ``begins``: the text begins a sequence, which the rule
        ``prefix-first`` asks.
        """
        data = text.encode() if isinstance(text, str) else text
        if not specials or not self.specials:
            return self._encode_ordinary(data, begins)
        result: list[int] = []
        for part in self.parted(data):
            if isinstance(part, int):
                result.append(part)
            else:
                result += self._encode_ordinary(part, begins)
            begins = False
        return result

    def parted(self, data: bytes) -> Iterator[bytes | int]:
        """Special tokens and the texts between them."""
        text = data.decode("utf-8", "surrogateescape")
        by_name = {special.name: special for special in reversed(self.specials)}
        longest_first = sorted(by_name, key=len, reverse=True)
        at = 0
        for found in re.finditer("|".join(map(re.escape, longest_first)), text):
            special, end = by_name[found.group()], found.start()
            if special.strip & STRIP_LEFT:
                end = at + len(text[at:end].rstrip(_SPACES))
            yield text[at:end].encode("utf-8", "surrogateescape")
            yield special.id
            at = found.end()
            if special.strip & STRIP_RIGHT:
                at = len(text) - len(text[at:].lstrip(_SPACES))
        yield text[at:].encode("utf-8", "surrogateescape")

    def _encode_ordinary(self, data: bytes, begins: bool) -> list[int]:
        data = self._changed(data, begins)
        if self.pattern == c.PATTERN_NONE:
            return self._merge(data)
        whole = self.merges is None or c.RULE_WHOLE in self.rules
        result: list[int] = []
        for piece in pieces(data, self.pattern):
            token = self._ids.get(piece) if whole else None
            result += self._merge(piece) if token is None else [token]
        return result

    def _changed(self, data: bytes, begins: bool) -> bytes:
        """The text as the rules have it."""
        data = self.tidied(data)
        if c.RULE_UNDERLINE in self.rules:
            data = data.replace(_UNDERLINE, b" ")
        if not data:
            return data
        missing = c.RULE_PREFIX_MISSING in self.rules or (c.RULE_PREFIX_FIRST in self.rules and begins)
        return b" " + data if c.RULE_PREFIX in self.rules or (missing and data[:1] != b" ") else data

    def tidied(self, data: bytes) -> bytes:
        """A text as the rules ``tidy`` and ``nfc`` have it, if they are among the tokenizer's."""
        if c.RULE_TIDY in self.rules:
            data = tidy(data)
        return nfc(data) if c.RULE_NFC in self.rules else data

    def _merge(self, data: bytes) -> list[int]:
        if c.RULE_DROP in self.rules and not self.byte_tokens:
            data = bytes(byte for byte in data if bytes([byte]) in self._ids)
        if c.RULE_LONGEST in self.rules:
            return list(longest_first(data, self._ids, self._longest))
        parts = merged(data, self._first_parts(data), self._rank)
        return [self._ids[part] if part in self._ids else self.byte_tokens[part[0]] for part in parts]

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._ids))

    def _first_parts(self, data: bytes) -> list[int]:
        """Bytes of the parts of a piece before anything merges."""
        if not self.byte_tokens:
            return [1] * len(data)
        sizes: list[int] = []
        for character in data.decode("utf-8", "surrogateescape"):
            encoded = character.encode("utf-8", "surrogateescape")
            sizes += [len(encoded)] if encoded in self._ids else [1] * len(encoded)
        return sizes

    def _rank(self, both: bytes, left: int) -> int | None:
        """Rank of the merge of two parts, the left one of so many bytes; None: they do not merge."""
        id = self._ids.get(both)
        if id is None or self.merges is None:
            return id
        return self._ranks.get(id << 8 | left, self._ranks.get(id << 8))

    @cached_property
    def _ranks(self) -> dict[int, int]:
        assert self.merges is not None
        return self.merges.ranks()

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
    sections = [
        Section(c.SECTION_TOKEN_LENGTHS, "U8", (len(lengths),), lengths),
        Section(c.SECTION_TOKEN_BYTES, "U8", (len(data),), data),
        _text_section(c.SECTION_SPECIALS, write_strict([_row(special) for special in tokenizer.specials])),
    ]
    if tokenizer.pattern != c.PATTERN_NONE:
        sections.append(_text_section(c.SECTION_PATTERN, tokenizer.pattern))
    if tokenizer.rules:
        sections.append(_text_section(c.SECTION_RULES, write_strict(list(tokenizer.rules))))
    if tokenizer.merges is not None:
        made = np.array(tokenizer.merges.tokens, np.uint32)
        sections.append(Section(c.SECTION_MERGES, "U32", made.shape, made))
        if tokenizer.merges.splits is not None:
            splits = np.array(tokenizer.merges.splits, np.uint8)
            sections.append(Section(c.SECTION_SPLITS, "U8", splits.shape, splits))
    if tokenizer.byte_tokens:
        sections.append(Section(c.SECTION_BYTES, "U32", (256,), np.array(tokenizer.byte_tokens, np.uint32)))
    return sections


def _text_section(name: str, text: str) -> Section:
    return Section(name, "U8", (len(text.encode()),), text.encode())


def _row(special: Special) -> dict[str, Any]:
    row: dict[str, Any] = {"name": special.name, "id": special.id, "role": special.role}
    if not (special.name.isascii() and special.name.isprintable()):
        row |= {"name": special.name.encode().hex(), "hex": 1}
    return row | ({"strip": special.strip} if special.strip else {})


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
    for name, size in _SECTIONS.items():
        optional = name not in (c.SECTION_TOKEN_LENGTHS, c.SECTION_TOKEN_BYTES, c.SECTION_SPECIALS)
        if optional and name not in container.sections:
            continue
        if name not in container.sections or c.DTYPES[container.sections[name].dtype] != size:
            raise BundleError("CHM430", f"tokenizer: section {name!r} is missing or has the wrong dtype")
    lengths = bytes(container.raw(c.SECTION_TOKEN_LENGTHS))
    data = bytes(container.raw(c.SECTION_TOKEN_BYTES))
    if len(lengths) > c.MAX_VOCABULARY:
        raise BundleError("CHM403", f"tokenizer: {len(lengths)} tokens are over the limit")
    if sum(lengths) != len(data):
        raise BundleError("CHM430", "tokenizer: the lengths do not add up to the bytes")
    ends = np.cumsum(np.frombuffer(lengths, np.uint8), dtype=np.int64).tolist()
    tokens = tuple(data[end - length : end] for end, length in zip(ends, lengths, strict=True))
    cuts = c.SECTION_PATTERN in container.sections
    return Tokenizer(
        tokens,
        _specials(bytes(container.raw(c.SECTION_SPECIALS))),
        bytes(container.raw(c.SECTION_PATTERN)).decode("latin-1") if cuts else c.PATTERN_NONE,
        _merges(container),
        _numbers(container, c.SECTION_BYTES, "<u4") or (),
        _rules(bytes(container.raw(c.SECTION_RULES))) if c.SECTION_RULES in container.sections else (),
    )


#: Sections and the bytes of their elements.
_SECTIONS: Final = {
    c.SECTION_TOKEN_LENGTHS: 1,
    c.SECTION_TOKEN_BYTES: 1,
    c.SECTION_SPECIALS: 1,
    c.SECTION_PATTERN: 1,
    c.SECTION_RULES: 1,
    c.SECTION_MERGES: 4,
    c.SECTION_SPLITS: 1,
    c.SECTION_BYTES: 4,
}


def _numbers(container: Container, name: str, dtype: str) -> tuple[int, ...] | None:
    """The numbers of a section, None if there is none."""
    if name not in container.sections:
        return None
    return tuple(np.frombuffer(bytes(container.raw(name)), dtype).tolist())


def _merges(container: Container) -> Merges | None:
    tokens, splits = _numbers(container, c.SECTION_MERGES, "<u4"), _numbers(container, c.SECTION_SPLITS, "u1")
    if tokens is None:
        if splits is not None:
            raise BundleError("CHM430", "tokenizer: splits without merges")
        return None
    return Merges(tokens, splits)


def _rules(text: bytes) -> tuple[str, ...]:
    try:
        names = parse_strict(text.decode("latin-1"))
    except StrictJsonError as error:
        raise BundleError("CHM430", f"tokenizer: the list of rules is not valid: {error}") from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BundleError("CHM430", "tokenizer: the list of rules is not valid")
    return tuple(names)


def _specials(text: bytes) -> tuple[Special, ...]:
    try:
        rows = parse_strict(text.decode("latin-1"))
        if not isinstance(rows, list):
            raise StrictJsonError("not a list")
        return tuple(map(_special, rows))
    except StrictJsonError as error:
        raise BundleError("CHM430", f"tokenizer: the special tokens are not valid: {error}") from None


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise StrictJsonError("a name is not UTF-8") from None


def _special(row: Any) -> Special:
    if not isinstance(row, dict) or not {"name", "id", "role"} <= row.keys() <= {"name", "id", "role", "strip", "hex"}:
        raise StrictJsonError("not a list of {name, id, role}")
    name, strip, hex = row["name"], row.get("strip", 0), row.get("hex", 1)
    if not isinstance(name, str) or not isinstance(row["role"], str):
        raise StrictJsonError("a name or role is not a text")
    if any(type(number) is not int for number in (row["id"], strip, hex)) or hex != 1:
        raise StrictJsonError("an id, strip or hex is not a number that it may be")
    if "hex" in row:
        if not re.fullmatch("(?:[0-9a-f]{2})*", name):
            raise StrictJsonError("a name is not in hexadecimal digits")
        name = _decoded(bytes.fromhex(name))
    return Special(name, row["id"], row["role"], strip)
