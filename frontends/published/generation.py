"""generation_config.json: how its makers want tokens of a model to be chosen."""

from __future__ import annotations

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.tree import Object, Scalar, kind
from chimerac.frontends.published.reading import Source
from chimerac.frontends.sources.folder import ModelFolder
from chimerac.runtime.bundle_format import Generation

#: Least and greatest value of what is taken.
_RANGES = {"temperature": (0.0, 100.0), "top_p": (0.0, 1.0), "repetition_penalty": (0.1, 10.0)}


def generation_of(source: Source) -> Generation | None:
    """What a generation takes where its caller says nothing; None leaves it to the runtime. Other keys are not used.

    Raises:
        UserError: CHM112, CHM113, a value of another type or out of range.
    """
    if not isinstance(source, ModelFolder) or source.generation is None:
        return None
    tree = source.generation
    sampled = _value(tree, "do_sample")
    if sampled is not None and not isinstance(sampled, bool):
        raise _wrong(tree, "do_sample", "true or false")
    temperature, top_p, penalty = (_number(tree, name) for name in _RANGES)
    if not sampled:
        temperature, top_p = 0.0, None
    found = Generation(temperature=temperature, top_p=top_p, repetition_penalty=None if penalty == 1 else penalty)
    return None if found == Generation(temperature=0.0) else found


def _number(tree: Object, name: str) -> float | None:
    value = _value(tree, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(tree, name, "a number")
    low, high = _RANGES[name]
    if not low <= value <= high:
        message = f"{name!r} is {value:g}, not {low:g} to {high:g}"
        raise UserError("CHM113", message, span=tree.entries[name].span)
    return float(value)


def _value(tree: Object, name: str) -> object:
    node = tree.get(name)
    return node.value if isinstance(node, Scalar) else node


def _wrong(tree: Object, name: str, wanted: str) -> UserError:
    entry = tree.entries[name]
    return UserError("CHM112", f"{name!r} must be {wanted}, not {kind(entry.node)}", span=entry.span)
