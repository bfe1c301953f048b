"""What callers hand to a session, checked at its door: texts, tokens, names of options. JavaScript has the same."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.fstpack import SLOT_KINDS
from chimerac.runtime.bundle_format.regular import check_name
from chimerac.runtime.errors import BundleError

MOST_TEXT_BYTES: Final = 1 << 28  #: of a text that is encoded
MOST_NAME_BYTES: Final = 255  #: of a name that a grammar may copy
_MOST_SHOWN: Final = 40  #: characters of a caller's own text in a message


def checked_path(given: object, what: str) -> Path:
    """The path that somebody names; raises BundleError CHM420 for what is no path."""
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    try:
        if isinstance(path, str):
            check_name(path)
            return Path(path)
    except OSError:
        pass
    raise BundleError("CHM420", f"{what} is {kind(given) if path is None else shown(path)}, not a path")


def checked_text(text: object, what: str) -> bytes:
    """The bytes of a text; bytes are taken as they are, because tokens can hold any.

    Raises BundleError CHM420 for what is no text, a lone surrogate, and more than 256 MiB.
    """
    if isinstance(text, str):
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            message = f"{what} is not a valid text: there is a lone surrogate at character {error.start}"
            raise BundleError("CHM420", message) from None
    elif isinstance(text, bytes | bytearray | memoryview):
        data = bytes(text)
    else:
        raise BundleError("CHM420", f"{what} is {kind(text)}, neither a text nor its bytes")
    if len(data) > MOST_TEXT_BYTES:
        raise BundleError("CHM420", f"{what} is over 256 MiB")
    return data


def checked_tokens(tokens: Any, vocabulary: int, what: str = "the prompt") -> NDArray[np.int32]:
    """int32[n] of a list of tokens, an array or another collection with a length and an order.

    Raises BundleError CHM420 for what is none, and for a token that is no integer or not in the vocabulary.
    """
    if isinstance(tokens, str | bytes | Mapping | Set) or not (hasattr(tokens, "__len__") and _iterable(tokens)):
        raise BundleError("CHM420", f"{what} is {kind(tokens)}, neither a text, its bytes nor a list of tokens")
    return np.array([_token(token, vocabulary) for token in tokens], np.int32)


def _iterable(value: Any) -> bool:
    try:
        iter(value)
    except TypeError:  # arrays without dimensions have a length that cannot be asked for
        return False
    return True


def _token(value: Any, vocabulary: int) -> int:
    try:
        token = operator.index(value)
    except (TypeError, ValueError):  # ValueError: of arrays of more than one element
        raise BundleError("CHM420", f"{kind(value)} is not a token") from None
    if isinstance(value, bool):
        raise BundleError("CHM420", f"{kind(value)} is not a token")
    if not 0 <= token < vocabulary:
        raise BundleError("CHM420", f"token {shown(token)} is not in the vocabulary of {vocabulary}")
    return token


def checked_lists(lists: object) -> dict[str, tuple[str, ...]]:
    """Lists of names that a grammar may copy; raises BundleError CHM420 for what is none."""
    known = SLOT_KINDS[1:]
    if not isinstance(lists, Mapping):
        raise BundleError("CHM420", f"lists is {kind(lists)}, not a mapping of lists of names")
    checked_names(map(str, lists), known, "list")
    for what, names in lists.items():
        if not isinstance(names, Sequence) or isinstance(names, str | bytes):
            raise BundleError("CHM420", f"lists[{what!r}] is {kind(names)}, not a list of names")
        for name in names:
            if not isinstance(name, str) or not name.strip() or len(name.encode(errors="replace")) > MOST_NAME_BYTES:
                raise BundleError("CHM420", f"{kind(name)} in lists[{what!r}] is not a name of at most 255 bytes")
            checked_text(name, "a name")
            if any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in name) or name.startswith(" "):
                message = f"{shown(name)} in lists[{what!r}] has a control character, or a space before it"
                raise BundleError("CHM420", message)
    return {what: tuple(names) for what, names in lists.items()}


def checked_names(given: Iterable[str], known: Iterable[str], what: str = "option") -> None:
    """Raise BundleError CHM420 for the first name that is not known, with the nearest that is."""
    names = list(known)
    for name in given:
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
            raise BundleError("CHM420", f"there is no {what} {shown(name)}; {hint}")


def check_grammar_name(name: str, known: Sequence[str]) -> None:
    """Raise BundleError CHM431 unless the bundle has a grammar of this name."""
    if name not in known:
        near = nearest(name, known)
        why = f"did you mean {near!r}?" if near else f"the bundle has {', '.join(known) or 'none'}"
        raise BundleError("CHM431", f"there is no grammar {shown(name)}: {why}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that this one may be a slip of: at most a third of its letters differ, whatever their case."""
    plain = _plain(name)
    distances = [(_distance(plain, _plain(other)), other) for other in known]
    distance, best = min(distances, key=lambda found: found[0], default=(1, ""))
    return best if 3 * distance <= max(3, len(plain)) and len(plain) <= _MOST_SHOWN else None


def _plain(name: str) -> str:
    return name[: _MOST_SHOWN + 1].replace("_", "").replace("-", "").lower()


def _distance(a: str, b: str) -> int:
    """Letters to put in, leave out, change, or swap with the next one."""
    two_ago: list[int] = []
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], two_ago[j - 2] + 1)
        two_ago, before = before, row
    return before[-1]


def kind(value: object) -> str:
    """A value of the wrong type in a message: numbers and None as they are, of others the type."""
    if value is None or isinstance(value, bool | int | float):
        return shown(value)
    return f"a {type(value).__name__}"


def shown(value: object) -> str:
    """A caller's value in a message: escaped, and not too much of it."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of too many digits"
    text = ascii(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
