"""GGUF's keys and values, read without trusting a byte: every length is compared with the file before it is used."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, TypeVar, overload

import numpy as np

from chimerac.compiler.errors import UserError

MAX_KEYS: Final = 1 << 16
MAX_KEY_BYTES: Final = (1 << 16) - 1  #: the format's own limit
MAX_STRING_BYTES: Final = 1 << 24  #: of one string: a chat template has some thousands
MAX_STRINGS: Final = 1 << 22  #: in all arrays together: a vocabulary and its merges have half a million
MAX_ARRAY_BYTES: Final = 1 << 28  #: of numbers in all arrays together
SHOWN = 80  #: characters of a name that a message quotes

#: Number → (name, numpy's type); 8 is a string, 9 an array.
SCALARS: Mapping[int, tuple[str, str]] = {
    0: ("uint8", "u1"),
    1: ("int8", "i1"),
    2: ("uint16", "<u2"),
    3: ("int16", "<i2"),
    4: ("uint32", "<u4"),
    5: ("int32", "<i4"),
    6: ("float32", "<f4"),
    7: ("bool", "u1"),
    10: ("uint64", "<u8"),
    11: ("int64", "<i8"),
    12: ("float64", "<f8"),
}
BOOL, STRING, ARRAY = 7, 8, 9


class Strings(Sequence[str]):
    """Strings of an array, decoded when they are asked for."""

    def __init__(self, file: Path, key: str, buffer: memoryview, starts: array[int], lengths: array[int]) -> None:
        self._file, self._key, self._buffer, self._starts, self._lengths = file, key, buffer, starts, lengths

    def __len__(self) -> int:
        return len(self._starts)

    def raw(self, index: int) -> bytes:
        """The bytes of one."""
        start = self._starts[index]
        return bytes(self._buffer[start : start + self._lengths[index]])

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One or several; raises UserError CHM231 if one is not UTF-8."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        try:
            return self.raw(index).decode()
        except UnicodeDecodeError:
            raise UserError("CHM231", f"{self._file}: string {index} of {self._key} is not UTF-8") from None


Value = bool | int | float | str | np.ndarray | Strings
T = TypeVar("T", bool, int, float, str, np.ndarray, Strings)
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    np.ndarray: "an array of numbers",
    Strings: "an array of texts",
}


@dataclass(frozen=True)
class Metadata:
    """Values by key; the methods that take a type raise UserError CHM231 for a value of another."""

    file: Path
    values: Mapping[str, Value] = field(repr=False)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value of a key, which is of this type; None if there is no such key."""
        value = self.values.get(key)
        if value is None or type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return kind(value)
        raise UserError("CHM231", f"{self.file}: {key} is {_WORDS[type(value)]}, expected {_WORDS[kind]}")

    def need(self, key: str, kind: type[T]) -> T:
        """The value of a key that must be there."""
        value = self.get(key, kind)
        if value is None:
            raise UserError("CHM231", f"{self.file} has no {key}, {_WORDS[kind]}")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)


class Cursor:
    """A place in a file's bytes that moves on as they are read; what is not there is CHM231."""

    def __init__(self, file: Path, buffer: memoryview) -> None:
        self.file, self.buffer, self.at = file, buffer, 0
        self._strings = self._array_bytes = 0

    def fail(self, message: str, hint: str | None = None) -> NoReturn:
        raise UserError("CHM231", f"{self.file} is no valid GGUF file: {message}", hint=hint)

    def take(self, size: int, what: str) -> memoryview:
        """The next bytes."""
        left = len(self.buffer) - self.at
        if size > left:
            hint = "it may be cut short: download or copy it again"
            self.fail(f"{what} at byte {self.at} has {size} bytes, and {left} follow", hint)
        self.at += size
        return self.buffer[self.at - size : self.at]

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def string(self, what: str, most: int) -> str:
        """A length and so many bytes of UTF-8."""
        length = self.u64(f"the length of {what}")
        if length > most:
            self.fail(f"{what} at byte {self.at} has {length} bytes, the most is {most}")
        raw = bytes(self.take(length, what))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.fail(f"{what} at byte {self.at - length} is not UTF-8")

    def value(self, key: str) -> Value:
        """A type and a value of it."""
        kind = self.u32(f"the type of {key}")
        if kind == STRING:
            return self.string(key, MAX_STRING_BYTES)
        if kind == ARRAY:
            return self._array(key)
        numbers = self._numbers(key, kind, 1)
        value: bool | int | float = (self._truth(key, numbers) if kind == BOOL else numbers)[0].item()
        return value

    def _numbers(self, key: str, kind: int, count: int) -> np.ndarray:
        if kind not in SCALARS:
            self.fail(f"{key} is of type {kind}, which there is not")
        dtype = np.dtype(SCALARS[kind][1])
        return np.frombuffer(self.take(count * dtype.itemsize, key), dtype)

    def _truth(self, key: str, values: np.ndarray) -> np.ndarray:
        if values.size and values.max() > 1:
            self.fail(f"{key} is true or false, and {int(values.max())} is neither")
        return values.astype(np.bool_)

    def _array(self, key: str) -> Value:
        kind, count = self.u32(f"the type of {key}"), self.u64(f"the length of {key}")
        if kind == ARRAY:
            self.fail(f"{key} is an array of arrays", "no model needs one; chimerac reads arrays of numbers and texts")
        if kind == STRING:
            return self._array_of_strings(key, count)
        size = count * np.dtype(SCALARS[kind][1]).itemsize if kind in SCALARS else 0
        self._array_bytes += size
        if self._array_bytes > MAX_ARRAY_BYTES:
            self.fail(f"{key} has {count} numbers; all arrays together may have {MAX_ARRAY_BYTES} bytes")
        numbers = self._numbers(key, kind, count)
        return self._truth(key, numbers) if kind == BOOL else numbers

    def _array_of_strings(self, key: str, count: int) -> Strings:
        self._strings += count
        if self._strings > MAX_STRINGS:
            self.fail(f"{key} has {count} texts; all arrays together may have {MAX_STRINGS}")
        if count * 8 > len(self.buffer) - self.at:  # each has at least its length
            self.fail(f"{key} has {count} texts, and {len(self.buffer) - self.at} bytes follow")
        starts, lengths = array("q"), array("q")
        at, end, length_of = self.at, len(self.buffer), struct.Struct("<Q").unpack_from
        for index in range(count):
            if at + 8 > end:
                self.fail(f"{key} ends with the file, before its text {index}")
            (length,) = length_of(self.buffer, at)
            at += 8
            if length > end - at:
                self.fail(f"text {index} of {key} at byte {at} has {length} bytes, and {end - at} follow")
            starts.append(at)
            lengths.append(length)
            at += length
        self.at = at
        return Strings(self.file, key, self.buffer, starts, lengths)


def read_metadata(cursor: Cursor, count: int) -> Metadata:
    """``count`` keys with their values.

    Raises:
        UserError CHM231: anything that is not as the format says, a key twice, or more than a limit allows.
    """
    if count > MAX_KEYS:
        cursor.fail(f"it claims {count} keys, the most is {MAX_KEYS}")
    values: dict[str, Value] = {}
    for number in range(count):
        key = cursor.string(f"key {number}", MAX_KEY_BYTES)
        shown = key if len(key) <= SHOWN else key[:SHOWN] + "…"
        if key in values:
            cursor.fail(f"the key {shown} is there twice")
        value = cursor.value(shown)
        values[key] = value
    return Metadata(cursor.file, values)
