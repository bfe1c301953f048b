"""Everything that determines a training run, as one JSON document: the model's family and shape, the phases, how to
compute."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from chimerac.compiler.errors import UserError, did_you_mean
from chimerac.compiler.texts import MOST_TEXT, json_of, read_text
from chimerac.frontends.families.phases import BESIDE, Phase, Precision
from chimerac.frontends.families.protocol import Shape
from chimerac.frontends.families.registry import DEFAULT, find_family
from chimerac.frontends.training.files import write_whole

_T = TypeVar("_T")


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        shape: of the family's ``shape_type``.
        family: name of the model's family.
        ternary: False trains the float model of the same shape, to compare with.
        precision: bfloat16 computes matrix products under autocast; tensorfloat32 shortens the factors of float32
            products on GPUs that can.
        compile: torch.compile for each block.
        fused: elementwise chains between products as one kernel each, see frontends/layers/fusing.py.
        graphs: on a GPU, micro-batches as CUDA graphs where nothing forbids it; see docs/training.md.
        checkpointing: recompute a block's inside in the backward pass in place of keeping it.
        parallel: how several processes share the work: ddp copies the model, fsdp shards it.
        log_interval, save_interval: steps.
    """

    shape: Shape
    phases: tuple[Phase, ...]
    family: str = DEFAULT
    seed: int = 0
    ternary: bool = True
    sparse_gradient: bool = False
    precision: Precision = "float32"
    compile: bool = False
    fused: bool = False
    graphs: bool = True
    checkpointing: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    log_interval: int = 20
    save_interval: int = 500

    def digest(self) -> str:
        """Identifies what a resumed run must have in common with the run it goes on with."""
        document = dataclasses.asdict(self)
        for name in ("log_interval", "save_interval", "compile", "fused", "graphs", "checkpointing", "parallel"):
            del document[name]
        if self.family == DEFAULT:  # plans were of this family before they named any
            del document["family"]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def check_plan(plan: Plan) -> None:
    """Raise UserError CHM250 listing every number that no run can have."""
    rules = [
        (bool(plan.phases), "there are no phases"),
        (plan.seed >= 0, "seed must not be negative"),
        (
            len(plan.phases) == 1 or not any(phase.kind in BESIDE for phase in plan.phases),
            "a router or draft head is trained by a plan of its own, when the other phases are done",
        ),
        (min(plan.log_interval, plan.save_interval) >= 1, "log_interval and save_interval must be positive"),
    ]
    for phase in plan.phases:
        never_negative = (phase.steps, phase.epochs, phase.seconds, phase.learning_rate, phase.warmup_steps)
        rules += [
            (min(*never_negative, phase.weight_decay, phase.bias_rate) >= 0, f"{phase.name}: a number is negative"),
            (phase.sequence_length >= 2, f"{phase.name}: sequence_length must be 2 or more"),
            (phase.batch >= 1, f"{phase.name}: batch must be positive"),
            (phase.gain >= 0, f"{phase.name}: gain must not be negative"),
            (phase.micro_tokens is None or phase.micro_tokens >= 1, f"{phase.name}: micro_tokens must be positive"),
            (min(phase.clip, phase.epsilon) > 0, f"{phase.name}: clip and epsilon must be above zero"),
            (0 <= phase.final_rate <= 1, f"{phase.name}: final_rate must be between 0 and 1"),
            (
                max(phase.beta1, phase.beta2) < 1 and min(phase.beta1, phase.beta2) >= 0,
                f"{phase.name}: beta1 and beta2 must be 0 or more and under 1",
            ),
            (
                list(phase.ends) == sorted(set(phase.ends)) and all(1 < e <= phase.sequence_length for e in phase.ends),
                f"{phase.name}: ends must rise, up to sequence_length",
            ),
        ]
    broken = [text for holds, text in rules if not holds]
    if broken:
        raise UserError("CHM250", "this plan can't be trained: " + "; ".join(broken))


def write_plan(plan: Plan, path: Path) -> None:
    """Write ``plan`` as JSON."""
    write_whole(path, (json.dumps(dataclasses.asdict(plan), indent=1) + "\n").encode())


def read_plan(path: Path, described: tuple[str, Shape] | None = None) -> Plan:
    """Read what ``write_plan`` wrote; a file without a shape is of the family and the shape ``described``.

    Raises:
        UserError CHM117: there is no such family. CHM250: it is no plan; the message names the place.
    """
    try:
        document = json_of(read_text(path, "the plan", "CHM250", MOST_TEXT))
    except (OSError, ValueError) as error:
        raise UserError("CHM250", f"can't read the plan {path}: {error}") from error
    if described is not None and isinstance(document, dict) and "shape" not in document:
        family, shape = described
        document |= {"family": family, "shape": _plain(shape)}
    named = document.get("family") if isinstance(document, dict) else None
    shape_type = find_family(named if isinstance(named, str) else DEFAULT).shape_type
    try:
        return _build(Plan, document, "plan", {"shape": shape_type})
    except (TypeError, ValueError) as error:
        raise UserError("CHM250", f"{path} is no training plan: {error}") from error


def _plain(shape: Shape) -> dict[str, Any]:
    """The fields of a shape, which is a dataclass, as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(cast(Any, shape))))
    return plain


def _build(kind: type[_T], value: object, place: str, narrowed: Mapping[str, type] | None = None) -> _T:
    """``value`` as the dataclass ``kind``; TypeError names what doesn't fit. ``narrowed``: types of some fields."""
    if not isinstance(value, dict):
        raise TypeError(f"{place} must be an object")
    hints = typing.get_type_hints(kind) | dict(narrowed or {})
    for name in value:
        if name not in hints:
            raise TypeError(f"{place} has no {name!r}; {did_you_mean(name, hints) or 'known: ' + ', '.join(hints)}")
    return kind(**{name: _convert(hints[name], item, f"{place}.{name}") for name, item in value.items()})


def _convert(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, place)
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"{place} is {value!r}; possible: {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{place} must be a list")
        return tuple(_convert(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, place)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"{place} must be of type {hint.__name__}")
    return value
