"""Which names of lists a request says, so that an answer cannot name another thing; as ``chm_heard.c``.

A name is heard where it, or another name of it, stands in the request as whole words, whatever case, and no longer one
of the same list around it; or where what is said is like it: has two of its runs of three characters, and half of them.
Runs in names that are said count neither way: who says a longer name with an ending does not mean the one in it.
Lists may have hundreds of thousands of names: what stands between the ends of words is looked up among them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from chimerac.runtime.bundle_format.fstpack import SLOT_KINDS
from chimerac.runtime.reference.slots import goes_on
from chimerac.runtime.reference.unicode_classes import MARK, class_table

MOST_SAID: Final = 2048  #: characters of a request in which names are looked for
MOST_NAME: Final = 255  #: characters of a name
MOST_HINTED: Final = 8  #: names of a list in a hint
_NOT, _LIKE, _SAID = range(3)
_MARKS: Final = ((b"", _SAID), (b"~", _LIKE))
#: First and last capital, and how far its small letter is.
_FOLDED: Final = (
    *((0x41, 0x5A, 32), (0xC0, 0xD6, 32), (0xD8, 0xDE, 32), (0x178, 0x178, -121), (0x386, 0x386, 38)),
    *((0x388, 0x38A, 37), (0x38C, 0x38C, 64), (0x38E, 0x38F, 63), (0x391, 0x3A1, 32), (0x3A3, 0x3AB, 32)),
    *((0x400, 0x40F, 80), (0x410, 0x42F, 32), (0x3C2, 0x3C2, 1)),
)
#: Where a capital is an even code, or an odd one, and its small letter the next.
_EVEN: Final = (
    *((0x100, 0x12F), (0x132, 0x137), (0x14A, 0x177), (0x460, 0x481), (0x48A, 0x4BF), (0x4D0, 0x52F)),
    *((0x1E00, 0x1E95), (0x1EA0, 0x1EFF)),
)
_ODD: Final = ((0x139, 0x148), (0x179, 0x17E), (0x4C1, 0x4CE))

Match = tuple[int, int]


def folded(sign: str) -> str:
    """A letter of Latin, Greek or Cyrillic without its case."""
    code = ord(sign)
    for first, last, step in _FOLDED:
        if first <= code <= last:
            return chr(code + step)
    pairs = _ODD if code % 2 else _EVEN
    return chr(code + 1) if any(first <= code <= last for first, last in pairs) else sign


_SMALL: Final = str.maketrans({sign: small for sign in map(chr, range(0x1F00)) if (small := folded(sign)) != sign})


def heard(request: bytes, lists: Mapping[str, bytes]) -> dict[str, bytes]:
    """The lines of each list whose names the request says; all lines of a list where it says none of its names.

    Args:
        request: as the tokenizer has it.
        lists: names, one a line, each with other names after tabs.
    """
    return {
        kind: b"".join(line + b"\n" for line, how in found if how) or lists[kind]
        for kind, found in _listened(request, lists).items()
    }


def hint(request: bytes, lists: Mapping[str, bytes]) -> bytes:
    """What a model is told of the names that a request says, after the special token of the role ``heard``.

    The first names of each line, at most MOST_HINTED of each list, those that stand in the request before those that
    something in it is like, which have ``~`` before them: ``Kettle,~Kitchen Lamp;Kitchen;``.
    """
    found = _listened(request, lists)
    parts = []
    for kind in SLOT_KINDS[1:]:
        heard_of = found.get(kind, [])
        called = [mark + line.split(b"\t")[0] for mark, way in _MARKS for line, how in heard_of if how == way]
        parts.append(b",".join(called[:MOST_HINTED]))
    return b";".join(parts)


def _listened(request: bytes, lists: Mapping[str, bytes]) -> dict[str, list[tuple[bytes, int]]]:
    """Each line of the lists, and whether a name of it is said, or only something like it, or nothing of it."""
    said = request.decode("utf-8", "surrogateescape")
    lines = {kind: text.split(b"\n")[:-1] for kind, text in lists.items()}
    if len(said) > MOST_SAID:
        return {kind: [(line, _NOT) for line in own] for kind, own in lines.items()}
    codes, places = said.translate(_SMALL), _places(said)
    names = {kind: [_names(line) for line in own] for kind, own in lines.items()}
    found = {kind: _matches(codes, places, {name for row in rows for name in row}) for kind, rows in names.items()}
    inside, others = _runs(codes, {match for matches in found.values() for match in matches})
    listened = {}
    for kind, own in lines.items():
        longest = {codes[first:end] for first, end in _outermost(found[kind])}
        hows = []
        for row in names[kind]:
            is_said = not longest.isdisjoint(row)
            hows.append(_SAID if is_said else _LIKE if any(_is_like(inside, others, name) for name in row) else _NOT)
        listened[kind] = list(zip(own, hows, strict=True))
    return listened


@functools.lru_cache(1 << 14)
def _names(line: bytes) -> tuple[str, ...]:
    return tuple(line.decode().translate(_SMALL).split("\t"))


def _places(said: str) -> list[int]:
    """Places of a text that are not in a word, and its end: where words begin, and where they end."""
    found, word = [], False
    for place, sign in enumerate(said):
        is_mark = int(class_table()[ord(sign)]) == MARK
        if not is_mark and not (word and goes_on(sign)):
            found.append(place)
        word = word if is_mark else goes_on(sign)
    return [*found, len(said)]


def _matches(codes: str, places: Sequence[int], names: set[str]) -> set[Match]:
    """Where names stand as whole words."""
    found = set()
    for number, first in enumerate(places):
        for end in places[number + 1 :]:
            if end - first > MOST_NAME:
                break
            if codes[first:end] in names:
                found.add((first, end))
    return found


def _outermost(matches: set[Match]) -> Iterator[Match]:
    """Those that are in no other one."""
    last = 0  # the end of those that begin before, or here and are longer
    for first, end in sorted(matches, key=lambda match: (match[0], -match[1])):
        if end > last:
            yield first, end
        last = max(last, end)


def _runs(codes: str, names: set[Match]) -> tuple[set[str], set[str]]:
    """Runs of three characters of what is said: those inside of names, and the others."""
    inside = {k for first, end in names for k in range(first, end - 2)}
    places = range(len(codes) - 2)
    return {codes[k : k + 3] for k in inside}, {codes[k : k + 3] for k in places if k not in inside}


def _is_like(inside: set[str], others: set[str], name: str) -> bool:
    own = [run for k in range(len(name) - 2) if (run := name[k : k + 3]) not in inside]
    count = sum(map(others.__contains__, own))
    return count > 1 and 2 * count >= len(own)
