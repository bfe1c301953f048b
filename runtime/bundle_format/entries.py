"""What a module that is no language model is called with, as its manifest says it: entries, their tensors, their test.

docs/bundle.md is the contract; ``web/tensors.mjs`` reads the same.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.checked import UNPRINTABLE, count_of, list_of, need, object_of, text_of

#: In a shape, the axis that varies.
AXIS: Final = "T"
FLOATS: Final = ("float32", "float16", "bfloat16", "float64")
#: PyTorch's types of integers → their least and greatest value; None: all that fit 32 bits.
INTEGERS: Final[dict[str, tuple[int, int] | None]] = {
    "int32": None,
    "int64": None,
    "bool": (0, 1),
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int16": (-(1 << 15), (1 << 15) - 1),
}
#: Values that a test draws of integers without a range.
_DRAWN: Final = (0, 7)
#: Elements of a result that a test keeps beside its hash.
_SAMPLES: Final = 8
_LARGEST: Final = 2**128  #: above all float32
_NAN: Final = np.uint32(0x7FC00000)
_NAME = re.compile(r".{1,128}")
_ENTRY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class Port:
    """An input or a result.

    Attributes:
        name: of an argument of forward and what it is called within: ``x``, ``batch.mask``; of a result ``logits``,
            ``0``, ``hidden.0``, or ``output`` where it is the only one.
        shape: ``"T"`` for the axis that varies.
        dtype: PyTorch's: one of ``FLOATS`` or ``INTEGERS``. Computed are float32 and int32.
        values: least and greatest that an integer of an input may have; None: any.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    values: tuple[int, int] | None = None

    @property
    def is_float(self) -> bool:
        """Whether its elements are float32 where it is computed; the others are int32."""
        return self.dtype in FLOATS

    @property
    def computed(self) -> np.dtype[Any]:
        """The type of its elements where it is computed."""
        return np.dtype(np.float32 if self.is_float else np.int32)

    def extents(self, n: int) -> tuple[int, ...]:
        """Its shape where the axis that varies has ``n`` elements."""
        return tuple(n if extent == AXIS else int(extent) for extent in self.shape)

    def elements(self, n: int) -> int:
        """Number of its elements."""
        return math.prod(self.extents(n))

    def __str__(self) -> str:
        within = "" if self.values is None or self.dtype == "bool" else f" from {self.values[0]} to {self.values[1]}"
        return f"{self.name} {self.dtype}[{','.join(map(str, self.shape))}]{within}"


@dataclass(frozen=True)
class Entry:
    """What may be called.

    Attributes:
        most: greatest extent of the axis that varies; 1 where none does.
        inputs, results: in the order of forward's arguments, and of what it returns.
    """

    name: str
    most: int
    inputs: tuple[Port, ...]
    results: tuple[Port, ...]

    @property
    def varies(self) -> bool:
        """Whether an axis does."""
        return any(AXIS in port.shape for port in (*self.inputs, *self.results))


@dataclass(frozen=True)
class CallRecord:
    """A call of a test.

    Attributes:
        n: extent of the axis that varies.
        hashes: of each result, 16 hexadecimal digits.
        samples: some elements of each result, for runtimes that compute nearly the same; None for what is not finite.
    """

    n: int
    hashes: tuple[str, ...]
    samples: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class CallTest:
    """What a module computed when it was built: calls one after the other, from its initial state, and the state's hash
    at the end; "" where a state is not a number somewhere.
    """

    entry: str
    calls: tuple[CallRecord, ...]
    state_hash: str


def drawn(entry: Entry, call: int, n: int) -> list[NDArray[Any]]:
    """The inputs of a test's call, float32 or int32: numbers that only depend on the place of an element."""
    return [_drawn(port, 31 * call + index, n) for index, port in enumerate(entry.inputs)]


def _drawn(port: Port, key: int, n: int) -> NDArray[Any]:
    start = np.uint32((key * 0x85EBCA77 + 0x165667B1) & 0xFFFFFFFF)
    x = np.arange(port.elements(n), dtype=np.uint32) * np.uint32(0x9E3779B1) + start
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    shape = port.extents(n)
    if port.is_float:
        return ((x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)).reshape(shape)
    low, high = port.values or _DRAWN
    return (low + x.astype(np.int64) % (high - low + 1)).astype(np.int32).reshape(shape)


def comparable(result: NDArray[Any]) -> bytes:
    """The bytes of a result that a test hashes: zeros without a sign, the same bits for all that is not a number."""
    flat = np.ascontiguousarray(result).reshape(-1)
    if flat.dtype != np.float32:
        return flat.tobytes()
    return np.where(np.isnan(flat), _NAN, (flat + np.float32(0)).view(np.uint32)).tobytes()


def samples_of(result: NDArray[Any]) -> NDArray[np.float64]:
    """Some of the elements of a result, from the first to the last."""
    flat = result.reshape(-1)
    if not len(flat):
        return np.zeros(0)
    places = [i * (len(flat) - 1) // max(1, _SAMPLES - 1) for i in range(min(_SAMPLES, len(flat)))]
    return flat[places].astype(np.float64)


def is_port_name(name: str) -> bool:
    """Whether an input or a result may be called that."""
    return _NAME.fullmatch(name) is not None and UNPRINTABLE.search(name) is None


# ---- reading ----


def read_entries(value: object) -> tuple[Entry, ...]:
    """``entries`` of a manifest; raises InvalidError."""
    entries = tuple(_entry(row) for row in list_of(value, "entries"))
    need(len({entry.name for entry in entries}) == len(entries), "an entry is listed twice")
    return entries


def _entry(value: object) -> Entry:
    row = object_of(value, "an entry", {"name", "most", "inputs", "results"})
    name, most = text_of(row["name"], "the name of an entry", _ENTRY), count_of(row["most"], "the most of an entry")
    need(1 <= most < 1 << 31, f"the most of {name} is not a number in range")
    entry = Entry(name, most, _ports(row["inputs"], "input"), _ports(row["results"], "result"))
    need(most == 1 or entry.varies, f"no axis of {name} varies")
    return entry


def _ports(value: object, what: str) -> tuple[Port, ...]:
    ports = tuple(_port(row, what) for row in list_of(value, f"{what}s"))
    need(len(ports) <= c.MAX_TENSORS, f"more than {c.MAX_TENSORS} {what}s")
    need(len({port.name for port in ports}) == len(ports), f"one {what} is listed twice")
    return ports


def _port(value: object, what: str) -> Port:
    row = object_of(value, f"an {what}" if what == "input" else f"a {what}", {"name", "shape", "dtype"})
    name, dtype = text_of(row["name"], f"the name of a {what}", _NAME), text_of(row["dtype"], "a dtype")
    need(dtype in FLOATS or dtype in INTEGERS, f"the dtype {dtype!r} of {name} is unknown")
    shape = list_of(row["shape"], f"the shape of {name}")
    need(len(shape) <= c.MAX_DIMENSIONS, f"{name} has more than {c.MAX_DIMENSIONS} dimensions")
    extents = tuple(AXIS if extent == AXIS else count_of(extent, f"an extent of {name}") for extent in shape)
    need(math.prod(e for e in extents if isinstance(e, int)) < 1 << 31, f"{name} is too large")
    return Port(name, extents, dtype, _values(row.get("values"), name))


def _values(value: object, name: str) -> tuple[int, int] | None:
    if value is None:
        return None
    bounds = list_of(value, f"the values of {name}")
    need(len(bounds) == 2 and all(type(b) is int and -(1 << 31) <= b < 1 << 31 for b in bounds), f"values of {name}")
    low, high = (b for b in bounds if isinstance(b, int))
    need(low <= high, f"the values of {name} are in the wrong order")
    return low, high


def read_call_test(value: object, entries: tuple[Entry, ...], hashed: re.Pattern[str]) -> CallTest | None:
    """``call_test`` of a manifest, None where it has none; raises InvalidError."""
    if value is None:
        return None
    row = object_of(value, "call_test", {"entry", "calls", "state_hash"})
    name = text_of(row["entry"], "call_test.entry")
    entry = next((one for one in entries if one.name == name), None)
    need(entry is not None, f"call_test is of an entry {name!r} that is not there")
    assert entry is not None
    calls = tuple(_record(one, entry, hashed) for one in list_of(row["calls"], "call_test.calls"))
    need(bool(calls), "call_test has no calls")
    state_hash = text_of(row["state_hash"], "a hash")
    need(not state_hash or hashed.fullmatch(state_hash) is not None, "call_test.state_hash is not a hash")
    return CallTest(name, calls, state_hash)


def _record(value: object, entry: Entry, hashed: re.Pattern[str]) -> CallRecord:
    row = object_of(value, "a call of call_test", {"n", "hashes", "samples"})
    n = count_of(row["n"], "the n of a call")
    need(1 <= n <= entry.most, "the n of a call is not a number in range")
    hashes = tuple(text_of(one, "a hash", hashed) for one in list_of(row["hashes"], "hashes"))
    samples = tuple(_samples(one) for one in list_of(row["samples"], "samples"))
    need(len(hashes) == len(samples) == len(entry.results), "a call of call_test has not a hash for each result")
    wanted = [min(_SAMPLES, port.elements(n)) for port in entry.results]
    need([len(one) for one in samples] == wanted, "a call of call_test has not the samples of each result")
    return CallRecord(n, hashes, samples)


def _samples(value: object) -> tuple[float | None, ...]:
    found = list_of(value, "samples")
    numbers = (one for one in found if one is not None)
    fits = (isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= _LARGEST for n in numbers)
    need(all(fits), "a sample is not a number in range")
    return tuple(None if one is None else float(one) for one in found if one is None or isinstance(one, int | float))
