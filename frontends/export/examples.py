"""Examples of the arguments of a call: what tells a module that is no language model from one, and its shapes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format import AXIS

#: Element types of examples that are written as texts.
TYPES: Mapping[str, str] = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "i32": "int32",
    "i64": "int64",
    "bool": "bool",
}
#: Elements of the axis that varies in an example, where as many are possible; PyTorch takes 0 and 1 for constants.
_EXTENT = 7
Given = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """The arguments of a call.

    Attributes:
        arguments: by place or by name.
        dynamic: which axis varies, as ``torch.export.export`` takes it; None: none does.
    """

    arguments: tuple[Any, ...] | dict[str, Any]
    dynamic: Any = None


def example_of(module: nn.Module, given: Given | None, dynamic: Any, block: int) -> Example | None:
    """The example of a module; None of a language model, which needs none.

    Args:
        given: arguments as tensors, or as texts (``example_tensor``), where ``T`` stands for the axis that varies.
            None: what the module's methods ``example()`` and, if it has one, ``dynamic_shapes()`` return; a module
            whose forward takes nothing needs neither.
        dynamic: as ``torch.export.export`` takes it, where no text says which axis varies.
        block: most elements of that axis.

    Raises:
        UserError: CHM219 for an example that cannot be used, and for what is no module.
    """
    _check_module(module)
    if given is None:
        if callable(getattr(module, "example", None)):
            given = _asked(module, "example")
            if dynamic is None and callable(getattr(module, "dynamic_shapes", None)):
                dynamic = _asked(module, "dynamic_shapes")
        elif not inspect.signature(module.forward).parameters:
            given = ()
        else:
            return None
    if isinstance(given, Tensor | str) or not isinstance(given, Mapping | Sequence):
        raise UserError("CHM219", "an example is no list of arguments", hint="example=(x,), or example={'x': x}")
    axis = _Axis(block)
    if isinstance(given, Mapping):
        arguments: tuple[Any, ...] | dict[str, Any] = {name: axis.tensor(value) for name, value in given.items()}
        places: Any = {name: axis.places(value) for name, value in given.items()}
    else:
        arguments, places = tuple(map(axis.tensor, given)), tuple(map(axis.places, given))
    return Example(arguments, _by_name(module, places, len(given)) if axis.used else dynamic)


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        what = (
            f"{module.__name__} is a class" if isinstance(module, type) else f"this is of type {type(module).__name__}"
        )
        hint = f"{module.__name__}(…) makes one" if isinstance(module, type) else "give an instance of torch.nn.Module"
        raise UserError("CHM219", f"a module is compiled, and {what}", hint=hint)
    if inspect.getattr_static(module, "forward") is nn.Module.forward:
        raise UserError("CHM219", f"{type(module).__name__} has no forward", hint="what a call computes is its forward")


def _by_name(module: nn.Module, places: Any, count: int) -> Any:
    """By the names of forward's arguments, as ``torch.export`` wants it where these have names."""
    if isinstance(places, dict):
        return places
    parameters = list(inspect.signature(module.forward).parameters.values())
    if any(p.kind == p.VAR_POSITIONAL for p in parameters) or count > len(parameters):
        return places
    return {p.name: place for p, place in zip(parameters, places, strict=False)}


def _asked(module: nn.Module, method: str) -> Any:
    try:
        return getattr(module, method)()
    except Exception as error:
        message = f"{type(module).__name__}.{method} raises {type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError("CHM219", message) from None


class _Axis:
    """Texts of examples to tensors, and to the places of the axis that varies."""

    def __init__(self, block: int) -> None:
        self.block, self.used = block, False
        self.dimension = torch.export.Dim(AXIS, min=1, max=block) if block > 1 else None

    def tensor(self, value: Any) -> Any:
        """A tensor in place of a text."""
        return example_tensor(value, min(self.block, _EXTENT)) if isinstance(value, str) else value

    def places(self, value: Any) -> dict[int, Any] | None:
        """Where a text has the axis that varies."""
        if not isinstance(value, str):
            return None
        found = [i for i, extent in enumerate(value.partition(":")[0].split(",")) if extent == AXIS]
        if not found:
            return None
        if self.dimension is None:
            raise UserError("CHM219", f"the axis {AXIS} of {value!r} has 1 element", hint="give a larger block")
        self.used = True
        return dict.fromkeys(found, self.dimension)


def example_tensor(text: str, extent: int = _EXTENT) -> Tensor:
    """Zeros of a shape and type: ``1,16:f32``; ``:i32`` is one number; in ``T,16:f32`` the first axis varies.

    Raises:
        UserError: CHM219 for another form.
    """
    found = re.fullmatch(r"((?:(?:\d+|T)(?:,(?:\d+|T))*)?):(\w+)", text)
    if found is None or found[2] not in TYPES:
        hint = f"its sizes and its type, such as 1,16:f32; types are {', '.join(TYPES)}"
        raise UserError("CHM219", f"{text!r} is no example of a tensor", hint=hint)
    return torch.zeros(list(_sizes(found[1], extent)), dtype=getattr(torch, TYPES[found[2]]))


def _sizes(text: str, extent: int) -> Iterator[int]:
    for size in text.split(",") if text else ():
        yield extent if size == AXIS else int(size)
