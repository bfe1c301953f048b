"""The tensors of a call, checked before anything runs, and given back as PyTorch has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.arguments import kind, nearest, shown
from chimerac.runtime.bundle_format import AXIS, Entry, Port
from chimerac.runtime.errors import BundleError


def entry_of(entries: Sequence[Entry], name: str | None) -> Entry:
    """The entry of a name, the first where None; raises BundleError CHM421 if there are none, CHM420 for the name."""
    if not entries:
        hint = "run tokens: generate, prefill"
        raise BundleError("CHM421", "the bundle holds a language model, which takes no tensors", hint=hint)
    if name is None:
        return entries[0]
    for entry in entries:
        if entry.name == name:
            return entry
    raise BundleError("CHM420", f"there is no entry {shown(name)}", hint=f"it has {_listed([e.name for e in entries])}")


def checked_inputs(entry: Entry, given: object) -> tuple[list[NDArray[Any]], int]:
    """The inputs of an entry as it computes with them (float32 or int32, in its order), and the extent of the axis that
    varies.

    Floats are float32, whatever PyTorch's type was; integers have PyTorch's type, or another one of integers, and the
    values that the entry takes; truth values are bool. Python's own numbers and lists become what is asked for.

    Raises BundleError CHM420 for names, types, shapes and values.
    """
    if not isinstance(given, Mapping):
        raise BundleError("CHM420", f"the inputs are {kind(given)}, not a dict of arrays by name", hint=_wanted(entry))
    names = [port.name for port in entry.inputs]
    for name in given:
        if name not in names:
            near = nearest(name, names) if isinstance(name, str) else None
            hint = f"did you mean {near!r}? " if near else ""
            raise BundleError("CHM420", f"there is no input {shown(name)}", hint=hint + _wanted(entry))
    for name in names:
        if name not in given:
            raise BundleError("CHM420", f"the input {name} is missing", hint=_wanted(entry))
    arrays = [_array(port, given[port.name]) for port in entry.inputs]
    n = _extent(entry, arrays)
    for port, array in zip(entry.inputs, arrays, strict=True):
        if array.shape != port.extents(n):
            _refuse_shape(port, array, n)
    return [_computed(port, array) for port, array in zip(entry.inputs, arrays, strict=True)], n


def as_given_back(entry: Entry, results: Sequence[NDArray[Any]], n: int) -> dict[str, NDArray[Any]]:
    """Results by name, in PyTorch's shapes and types; floats are float32."""
    return {
        port.name: np.asarray(array).reshape(port.extents(n)).astype(_type(port), copy=False)
        for port, array in zip(entry.results, results, strict=True)
    }


def _type(port: Port) -> np.dtype[Any]:
    return np.dtype(np.float32 if port.is_float else port.dtype)


def _array(port: Port, given: object) -> NDArray[Any]:
    """An input as an array of a type that the port takes."""
    own = not isinstance(given, np.ndarray | np.generic)
    try:
        array: NDArray[Any] = np.asarray(given)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise BundleError("CHM420", f"the input {port.name} is {kind(given)}, no array of numbers")
    wanted, found = _type(port), array.dtype
    if own:
        fits = found.kind in {"f": "fiu", "b": "b"}.get(wanted.kind, "iu")
    else:
        fits = found == wanted or (wanted.kind in "iu" and found.kind in "iu")
    if not fits:
        hint = f"x.astype(np.{wanted.name})" if wanted.kind != "b" else "x != 0"
        raise BundleError("CHM420", f"the input {port.name} is of {found.name}, not {wanted.name}", hint=hint)
    return array


def _extent(entry: Entry, arrays: Sequence[NDArray[Any]]) -> int:
    """What the axis that varies has, by the first input that has it."""
    for port, array in zip(entry.inputs, arrays, strict=True):
        if AXIS in port.shape:
            if array.ndim != len(port.shape):
                _refuse_shape(port, array, None)
            n = array.shape[port.shape.index(AXIS)]
            if not 1 <= n <= entry.most:
                message = f"the input {port.name} has {n} elements along {AXIS}; 1 to {entry.most} are possible"
                raise BundleError("CHM420", message)
            return int(n)
    return 1


def _refuse_shape(port: Port, array: NDArray[Any], n: int | None) -> NoReturn:
    wanted = port.shape if n is None else port.extents(n)
    found = ",".join(map(str, array.shape))
    raise BundleError("CHM420", f"the input {port.name} is of shape [{found}], not [{','.join(map(str, wanted))}]")


def _computed(port: Port, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind in "iu" and not port.is_float and array.size:
        low, high = port.values or (-(1 << 31), (1 << 31) - 1)
        least, most = int(array.min()), int(array.max())
        if least < low or most > high:
            value = least if least < low else most
            message = f"the input {port.name} has the value {value}; {low} to {high} are possible"
            raise BundleError("CHM420", message)
    with np.errstate(over="ignore"):  # of Python's own numbers: infinity
        return np.ascontiguousarray(array, port.computed)


def _wanted(entry: Entry) -> str:
    return f"{entry.name} takes {_listed(list(map(str, entry.inputs)))}"


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts) or "nothing"
