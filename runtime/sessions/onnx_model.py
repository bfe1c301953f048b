"""The model of an ONNX bundle in ONNX Runtime, and what its metadata says of how to call it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimerac.runtime.bundle_format import Entry
from chimerac.runtime.errors import BundleError

#: Target of bundles whose model need not give the bits of the other targets.
ONNX_FUSED = "onnx-fused"
#: Key of the model's metadata with block, loops and copies of states, as JSON.
INTERFACE = "chimerac.interface"


@dataclass(frozen=True)
class Interface:
    """The model's metadata: tokens per call, (default, maximum) loop iterations, copies of states, axes of rows."""

    block: int
    loops: tuple[int, int]
    chooses_loops: bool
    copies: dict[str, int] = field(default_factory=dict)
    fewest_loops: int = 1
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CallForm:
    """The same of a module of tensors: the model's names of inputs and results, in the order of the entry, and that of
    the number of calls before this one, where it asks for that.
    """

    inputs: tuple[str, ...]
    results: tuple[str, ...]
    position: str | None


@dataclass(frozen=True)
class HeldState:
    """A state of a model: its shape, numpy's name of its type, and that of containers."""

    shape: tuple[int, ...]
    type: str
    stored: str


#: Types of states, as ONNX Runtime names them.
_STATE_TYPES = {
    "tensor(float)": ("float32", "F32"),
    "tensor(float16)": ("float16", "F16"),
    "tensor(int32)": ("int32", "I32"),
    "tensor(int8)": ("int8", "I8"),
    "tensor(uint8)": ("uint8", "U8"),
}


def held_states(session: Any) -> dict[str, HeldState]:
    """The states of a model, in its order."""
    inputs = [i for i in session.get_inputs() if i.name.startswith("state.")]
    return {i.name.removeprefix("state."): HeldState(tuple(i.shape), *_STATE_TYPES[i.type]) for i in inputs}


def import_onnxruntime() -> Any:
    """The package; raises BundleError CHM414 if there is none."""
    try:
        import onnxruntime
    except ImportError as error:
        hint = "pip install onnxruntime"
        message = f"an ONNX bundle runs in ONNX Runtime, which Python cannot import: {error}"
        raise BundleError("CHM414", message, hint=hint) from None
    return onnxruntime


def open_model(runtime: Any, model: Path, threads: int, *, exact: bool) -> Any:
    """An exact model goes without ONNX Runtime's graph changes: they reorder sums, so that last bits would differ.

    Planning which buffers can share memory takes time quadratic in the number of nodes, and saves little here.
    """
    level = runtime.GraphOptimizationLevel
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level.ORT_DISABLE_ALL if exact else level.ORT_ENABLE_ALL
    options.enable_mem_reuse = False
    options.log_severity_level = 4  # errors come as exceptions
    try:
        return runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above: no common base
        hint = f"the bundle needs ONNX Runtime 1.31 or newer; this is {runtime.__version__}"
        raise BundleError(
            "CHM414", f"ONNX Runtime cannot load it: {first_line(error)}", path=model, hint=hint
        ) from None


def first_line(error: Exception) -> str:
    """Of its message."""
    return str(error).strip().partition("\n")[0][:300]


def read_interface(session: Any, model: Path) -> Interface:
    """Raises BundleError CHM414 for a model of somebody else."""
    try:
        row = json.loads(session.get_modelmeta().custom_metadata_map[INTERFACE])
        default, most = row["loops"]
        loops, chooses = (int(default), int(most)), bool(row["chooses_loops"])
        fewest, rows = int(row.get("fewest_loops", 1)), dict(row.get("rows", {}))
        return Interface(int(row["block"]), loops, chooses, dict(row["copies"]), fewest, rows)
    except (KeyError, ValueError, TypeError) as error:
        raise _no_interface(error, model) from None


def _no_interface(why: object, model: Path) -> BundleError:
    message = f"the model was not made by chimerac: its metadata has no valid {INTERFACE} ({why})"
    return BundleError("CHM414", message, path=model)


def read_call(session: Any, model: Path, entries: Sequence[Entry]) -> CallForm:
    """How to call a module of tensors; raises BundleError CHM414 for a model that does not fit the only entry."""
    try:
        row = json.loads(session.get_modelmeta().custom_metadata_map[INTERFACE])["call"]
        inputs, results = tuple(map(str, row["inputs"])), tuple(map(str, row["results"]))
        form = CallForm(inputs, results, None if row["position"] is None else str(row["position"]))
    except (KeyError, ValueError, TypeError) as error:
        raise _no_interface(error, model) from None
    counts = [(len(entry.inputs), len(entry.results)) for entry in entries]
    names = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
    known = names[0] >= {*inputs, *([form.position] if form.position else [])} and names[1] >= set(results)
    if counts != [(len(inputs), len(results))] or not known:
        raise _no_interface("other inputs or results than the manifest's", model)
    return form
