"""What may stand in slots of grammars: runs of words of the request, and names of lists; as ``chm_grammar_words.c``."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chimerac.runtime.bundle_format.fstpack import SLOT_BYTES
from chimerac.runtime.bundle_format.hashing import hash_words
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.unicode_classes import MARK, NUMBER, OTHER, SPACE, class_table

MOST_RUN: Final = 512  #: bytes of a run
MOST_NAME: Final = 255
MOST_ENTRIES: Final = 16_384
MOST_BYTES: Final = 1 << 20
_JOINTS: Final = frozenset("!\"'(),-./:;?[]`{}")  #: signs that no run begins or ends with
_SINGLE: Final = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_WORD, _ONE, _JOINT, _EDGE, _GAP, _BARRIER = range(6)


@dataclass(frozen=True)
class Entry:
    """A text that may stand in a slot, and the lengths at which it may end; the last is all of it."""

    text: bytes
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Words:
    """Entries in the order of their bytes; ``text`` is what they were made of, as it is generated."""

    entries: tuple[Entry, ...]
    text: bytes

    @property
    def hash(self) -> int:
        """What a place in a grammar is tied to."""
        return hash_words(self.text)

    def step(self, entry: int, said: int, byte: int) -> int | None:
        """The first entry that begins with what was said of one, and a byte; None without one."""
        if not self.entries:
            return None
        wanted = self.entries[entry].text[:said] + bytes([byte])
        found = bisect.bisect_left(self.entries, wanted, key=lambda one: one.text)
        return found if found < len(self.entries) and self.entries[found].text.startswith(wanted) else None

    def closing(self, entry: int, said: int) -> int:
        """Fewest bytes to a place where an entry may end."""
        begun = self.entries[entry].text[:said]
        same = [one for one in self.entries if one.text.startswith(begun)]
        return min(end - said for one in same for end in one.ends if end >= said)


def of_request(text: bytes, *, json: bool) -> Words:
    """The runs of words of a text; raises BundleError CHM420 for one that is too long."""
    if len(text) > MOST_BYTES:
        message = f"a request of {len(text)} bytes is too long for its words to be copied"
        raise BundleError("CHM420", message)
    made, marks = _marked(text, json)
    entries = []
    for begin, (begins, _, _) in enumerate(marks):
        if begins and (ends := _ends(marks, begin)):
            entries.append((made[begin : begin + ends[-1]], begin, ends))
    if len(entries) > MOST_ENTRIES:
        message = f"a request of {len(entries)} words is too long for them to be copied; {MOST_ENTRIES} are possible"
        raise BundleError("CHM420", message)
    if min((ends[0] for _, _, ends in entries), default=SLOT_BYTES + 1) > SLOT_BYTES:
        entries = []
    return Words(tuple(Entry(one, ends) for one, _, ends in sorted(entries)), made)


def _ends(marks: list[tuple[bool, bool, bool]], begin: int) -> tuple[int, ...]:
    """Lengths at which a run may end."""
    found = []
    for at in range(begin + 1, min(len(marks) - 1, begin + MOST_RUN) + 1):
        _, stops, breaks = marks[at]
        found += [at - begin] if stops else []
        if breaks:
            break
    return tuple(found)


def _marked(text: bytes, json: bool) -> tuple[bytes, list[tuple[bool, bool, bool]]]:
    """The text as it is generated, and for each place whether a run may begin, may end, and does not go on there."""
    made, marks = bytearray(), [[False, False, False]]
    for written, kind, joined in _signs(text, json):
        here = marks[-1]
        if joined:  # to the word or the character before
            here[0] = here[1] = False
        elif kind == _BARRIER:
            here[2] = True
        elif kind in (_WORD, _ONE, _EDGE):
            here[0] = True
        made += written
        marks += [[False, False, False] for _ in written]
        marks[-1][1] = kind in (_WORD, _ONE, _EDGE)
        marks[-1][2] = kind == _BARRIER
    return bytes(made), [(begins, ends, breaks) for begins, ends, breaks in marks]


def _signs(text: bytes, json: bool) -> Iterator[tuple[bytes, int, bool]]:
    """Each character as it is generated, what it is, and whether it belongs to what is before it."""
    characters = text.decode("utf-8", "surrogateescape")
    kinds = [(_kind(one), int(class_table()[ord(one)])) for one in characters] + [(_BARRIER, OTHER)]
    before, last = OTHER, _BARRIER
    for place, one in enumerate(characters):
        (kind, class_), (next_kind, after) = kinds[place], kinds[place + 1]
        joined = False
        if last == _WORD and next_kind == _WORD and _joins(one, before, after):
            kind, joined = _WORD, True
        elif class_ == MARK and last in (_WORD, _ONE):
            kind, joined = last, True
        elif kind == _WORD and last == _WORD:
            joined = True
        written = "\\" + one if json and one in '"\\' else one
        yield written.encode("utf-8", "surrogateescape"), kind, joined
        before, last = class_, kind


def _joins(sign: str, before: int, after: int) -> bool:
    """Whether a sign between two characters of words is inside of one: an apostrophe, or a point among digits."""
    if sign == "'":
        return before != OTHER and after != OTHER
    return sign in ".,:" and before == after == NUMBER


def goes_on(sign: str) -> bool:
    """Whether a character belongs to the word of one before it."""
    return _kind(sign) == _WORD


def _kind(one: str) -> int:
    code = ord(one)
    if code < 0x20 or code == 0x7F or 0xDC80 <= code <= 0xDCFF:
        return _BARRIER
    class_ = class_table()[code]
    if class_ == SPACE:
        return _GAP
    if class_ != OTHER or one == "_":
        return _ONE if any(first <= code <= last for first, last in _SINGLE) else _WORD
    return _JOINT if one in _JOINTS else _EDGE


def of_list(text: bytes, *, json: bool) -> Words:
    """The names of a list, one a line, without others after tabs; BundleError CHM420 for what is none."""
    lines = text.split(b"\n")[: -1 if text.endswith(b"\n") else None] if text else []
    if len(text) > MOST_BYTES or text.count(b"\n") > MOST_ENTRIES:
        raise _not_a_list("too many")
    for name in (name for line in lines for name in line.split(b"\t")):
        if any(byte < 0x20 or byte == 0x7F for byte in name):
            raise _not_a_list("a control character in a name")
        try:
            name.decode()
        except UnicodeDecodeError:
            raise _not_a_list("a name is not UTF-8") from None
        if not name or name.startswith(b" "):
            raise _not_a_list("a name is empty, or begins with a space")
        if len(name) > MOST_NAME:
            raise _not_a_list("a name has over 255 bytes")
    own = [line.split(b"\t")[0] for line in lines]
    written = [name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') if json else name for name in own]
    if written and min(map(len, written)) > SLOT_BYTES:
        raise _not_a_list("every name has over 64 bytes")
    made = b"".join(name + b"\n" for name in written)
    return Words(tuple(Entry(name, (len(name),)) for name in sorted(written)), made)


def _not_a_list(why: str) -> BundleError:
    return BundleError("CHM420", f"the list of names: {why}")
