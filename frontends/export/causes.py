"""Why ``torch.export`` could not trace a module: the usual causes by what PyTorch says, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from chimerac.frontends.export.places import Place, first_argument, shown, users


@dataclass(frozen=True)
class Cause:
    """A usual cause.

    Attributes:
        name: in a few words.
        says: what PyTorch's message or the type of its error matches.
        advice: what to do.
    """

    name: str
    says: str
    advice: str


#: The first that matches holds.
CAUSES = (
    Cause(
        "a Python value is computed from data",
        r"GuardOnDataDependent|guard on data-dependent|data-dependent|DataDependentOutput|DynamicOutputShape",
        "use torch.where in place of if and while on values; .item(), .tolist(), bool(), int(), float() of a tensor "
        "and shapes that depend on values, have no meaning in a compiled graph",
    ),
    Cause(
        "the number of tokens became a constant",
        r"Constraints violated|ConstraintViolation|specializ|marked .* as dynamic but",
        "take sizes from the input (x.shape[0], reshape(-1, n)), not from the example or a number that is written "
        "down, and do not compare them",
    ),
    Cause(
        "NumPy or Python takes the numbers out of a tensor",
        r"\.numpy\(\)|numpy|tolist|\.item\(\)|__array__|convert .*to a (Python|number)|Boolean value of Tensor",
        "compute with torch alone; what needs no input belongs into __init__, as a buffer",
    ),
    Cause(
        "a parameter is changed in place",
        r"parameter.*(mutat|in-?place|modif|require)|(mutat|in-?place|modif).*parameter|leaf Variable|requires grad",
        "parameters are constants: register what changes as a buffer, self.register_buffer(name, value)",
    ),
    Cause(
        "an attribute of the module is set in forward",
        r"attribute.*(assigned|mutat|set|side effect)|mutating module attribute|leaked",
        "register it as a buffer and overwrite it with copy_",
    ),
    Cause(
        "shapes do not fit",
        r"shape|size|dimension|dims?\b|broadcast|not enough values to unpack|too many values to unpack|out of range",
        "forward gets tokens [T], and where it fails with them [1, T]; both failed. Give a module that wants other "
        "inputs an example of them",
    ),
    Cause(
        "Python that cannot be traced",
        r"Unsupported|torch\._dynamo|generator|TorchScript|not traceable|Proxy",
        "keep forward to tensors, numbers, lists, tuples and dicts",
    ),
)

#: Causes that only say that the number of axes of the example is wrong.
SHAPES = "shapes do not fit"


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it comes from."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def cause_of(error: BaseException) -> Cause | None:
    """The usual cause of a failure; None if it is none of them."""
    said = "\n".join(f"{type(one).__name__}: {one}" for one in chain(error))
    return next((cause for cause in CAUSES if re.search(cause.says, said, re.IGNORECASE)), None)


def line_of(error: BaseException, module: torch.nn.Module | None = None) -> Place | None:
    """The innermost line of the user's that an error came through, and the submodule of a module whose code it is."""
    paths = {} if module is None else {id(inner): name for name, inner in module.named_modules()}
    for one in chain(error):
        found, path, step = None, "", one.__traceback__
        below = False  # of what lies above the tracer nothing is meant
        while step is not None:
            frame = step.tb_frame
            if below:
                path = paths.get(id(first_argument(frame.f_code, frame)), path)
            if below and users(frame.f_code.co_filename):
                found = Place(path, shown(frame.f_code.co_filename), step.tb_lineno)
            below = below or not users(frame.f_code.co_filename)
            step = step.tb_next
        if found is not None:
            return found
    return None
