"""Parts of the descriptor in ``model.c``: texts, and what callers see of entries of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chimerac.runtime.bundle_format import AXIS, Entry, Port


def tensor_array(name: str, ports: Sequence[Port]) -> Iterator[str]:
    """The array that describes inputs or results."""
    if not ports:
        return
    yield f"static const chm_tensor_info {name}[] = {{"
    for port in ports:
        extents = ", ".join("-1" if extent == AXIS else str(extent) for extent in port.shape)
        shape = f"(const int32_t[]){{{extents}}}" if extents else "0"
        low, high = port.values or ("INT32_MIN", "INT32_MAX")
        element = "CHM_FLOAT32" if port.is_float else "CHM_INT32"
        yield f"  {{{c_string(port.name)}, {element}, {len(port.shape)}, {shape}, {low}, {high}}},"
    yield "};"


def described_entry(entry: Entry) -> str:
    """Numbers and arrays of an entry's inputs and results."""
    inputs, results = (
        f"{entry.name}_{kind}" if ports else "0"
        for kind, ports in (("inputs", entry.inputs), ("results", entry.results))
    )
    return f"{len(entry.inputs)}, {len(entry.results)}, {inputs}, {results}"


def c_string(text: str) -> str:
    """A C string literal of the UTF-8 bytes; what is not plain ASCII is escaped in octal."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"?\\' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(plain)}"'
