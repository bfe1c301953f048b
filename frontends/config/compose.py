"""``extends``, ``overrides`` and ``--set``: several trees to one."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.config.locate import SUFFIX, locate, read
from chimerac.frontends.config.parse import parse, parse_value
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.config.sections.directives import Directives
from chimerac.frontends.config.source import Source, make_source
from chimerac.frontends.config.structure import MAX_DEPTH
from chimerac.frontends.config.tree import Array, Entry, Node, Object, Scalar, kind, leaves, merge

MAX_EXTENDS = 16  #: longest chain of configs that extend each other

_PATH = re.compile(r"[^.\s=][^.=]*(?:\.[^.=]+)*")
_DIRECTIVES = ("extends", "overrides", "scale")


@dataclass(frozen=True)
class Composition:
    """A config put together, before it is scaled and read.

    ``fixed`` holds the dotted paths that outrank ``scale``: overrides of the file that states it or of a later one,
    and everything a later file writes.
    """

    tree: Object
    scale: Node | None
    fixed: frozenset[str]
    own: frozenset[str]  #: paths overridden by the last file
    fenced: bool


def compose(source: Source, folder: Path, chain: tuple[Path, ...] = ()) -> Composition:
    """A config and all it extends. ``folder`` is where relative paths start, ``chain`` the files that led here.

    Raises:
        UserError: CHM100 to CHM104 of any file, CHM114 for a cycle or too long a chain, CHM115 for a bad override.
    """
    return _composed(parse(source), source.fenced, folder, chain)


def _composed(tree: Object, fenced: bool, folder: Path, chain: tuple[Path, ...]) -> Composition:
    body = tree.without(*_DIRECTIVES)
    base: Composition | None = None
    if node := tree.get("extends"):
        base = _extended(node, folder, chain)
    result = Composition(
        tree=_merged(base.tree, body) if base else body,
        scale=base.scale if base else None,
        fixed=base.fixed | frozenset(leaves(body)) if base else frozenset(),
        own=frozenset(),
        fenced=fenced,
    )
    if scale := tree.get("scale"):
        result = replace(result, scale=scale, fixed=frozenset())
    overrides = tree.get("overrides")
    if isinstance(overrides, Object):
        for path, entry in overrides.entries.items():
            result = override(result, path, entry.node, entry.span)
    elif overrides is not None and not (isinstance(overrides, Scalar) and overrides.value is None):
        raise UserError("CHM112", f"'overrides' must be an object, not {kind(overrides)}", span=overrides.span)
    return result


def override(base: Composition, path: str, node: Node, span: Span) -> Composition:
    """One dotted key set to a value.

    Raises:
        UserError: CHM115 when the path is not one or leads through a value that holds no keys.
    """
    if not _PATH.fullmatch(path):
        raise UserError("CHM115", f"{path!r} is not a dotted key", span=span, hint="write backbone.moe.enabled")
    first, *rest = path.split(".")
    if len(rest) >= MAX_DEPTH:
        raise UserError("CHM115", f"a dotted key has {MAX_DEPTH} parts at most, and not {len(rest) + 1}", span=span)
    if first in ("extends", "overrides"):
        raise UserError("CHM115", f"{first!r} can't be overridden", span=span)
    if first == "scale":
        return replace(base, scale=_scale(base.scale, rest, node, span))
    tree = _set(base.tree, [first, *rest], node, span, path)
    assert isinstance(tree, Object)
    paths = frozenset(leaves(node, path))
    return replace(base, tree=tree, fixed=base.fixed | paths, own=base.own | paths)


def override_from(base: Composition, argument: str) -> Composition:
    """One ``a.b.c=value`` of the command line. A value that is no config value is taken as a string.

    Raises:
        UserError: CHM115 as ``override``; CHM102 for a list, object or quoted string with a mistake in it.
    """
    path, equals, text = argument.partition("=")
    here = Span("--set", 1, 1, max(1, len(path)), argument)
    if not equals or "\n" in argument:
        raise UserError("CHM115", f"{argument!r} is not an override", span=here, hint="write --set key=value")
    source = make_source(argument, "--set")
    start = len(path) + 1
    if not text.strip():
        raise UserError("CHM115", f"{path!r} is set to nothing", span=source.span(start), hint="null resets a key")
    blank = replace(source, text=" " * start + text)
    if re.fullmatch(r"\s*[A-Za-z_][\w./-]*\s*", text) and text.strip() not in ("true", "false", "null"):
        node: Node = Scalar(text.strip(), source.span(start, len(argument)), text.strip())
    else:
        node = parse_value(blank)
    return override(base, path.strip(), node, here)


def apply_command_line(base: Composition, scale: str | None, overrides: Sequence[str]) -> Composition:
    """``--scale`` and ``--set`` on top of a config."""
    if scale is not None:
        node = Scalar(scale, Span("--scale", 1, 1, max(1, len(scale)), scale), scale)
        base = replace(base, scale=node, fixed=base.own)
    for argument in overrides:
        base = override_from(base, argument)
    return base


def _extended(node: Node, folder: Path, chain: tuple[Path, ...]) -> Composition | None:
    reference = Reader().read_key(Directives, "extends", node)
    if reference is None:
        return None
    path = locate(reference, folder, node.span).resolve()
    if path in chain:
        around = " -> ".join(item.name for item in (*chain[chain.index(path) :], path))
        raise UserError("CHM114", f"configs extend each other in a circle: {around}", span=node.span)
    if len(chain) >= MAX_EXTENDS:
        message = f"more than {MAX_EXTENDS} configs extend each other"
        raise UserError("CHM114", message, span=node.span)
    with _unquoted(path, node.span):
        source = read(path, node.span)
        tree = parse(source)
    return _composed(tree, source.fenced, path.parent, (*chain, path))


@contextlib.contextmanager
def _unquoted(path: Path, span: Span) -> Iterator[None]:
    """A config may name any file: what is in one that turns out to be none, by its name too, is nobody's business."""
    try:
        yield
    except UserError as error:
        place = error.span
        if place is None or place == span or path.suffix == SUFFIX:
            raise
        message = f"{path} is not a config: it breaks off at line {place.line}, column {place.column}"
        hint = f"`chimerac check {shlex.quote(str(path))}` shows the place"
        raise UserError(error.code, message, span=span, hint=hint) from None


def _merged(base: Object, body: Object) -> Object:
    merged = merge(base, body)
    assert isinstance(merged, Object)
    return merged


def _scale(scale: Node | None, rest: list[str], node: Node, span: Span) -> Node:
    if not rest:
        return node
    if isinstance(scale, Scalar) and isinstance(scale.value, str):
        scale = Object({"preset": Entry(scale.span, scale)}, scale.span)
    return _set(scale, rest, node, span, ".".join(["scale", *rest]))


def _set(tree: Node | None, parts: list[str], node: Node, span: Span, path: str) -> Node:
    """``tree`` with the value at ``parts`` replaced, or merged where both are objects."""
    if not parts:
        return merge(tree, node) if tree else node
    head, *rest = parts
    if tree is None or (isinstance(tree, Scalar) and tree.value is None):
        tree = Object({}, span)
    if isinstance(tree, Object):
        below = tree.get(head)
        return Object({**tree.entries, head: Entry(span, _set(below, rest, node, span, path))}, tree.span)
    if isinstance(tree, Array):
        if head.isascii() and head.isdigit() and len(head) < 8 and int(head) < len(tree.items):
            items = list(tree.items)
            items[int(head)] = _set(items[int(head)], rest, node, span, path)
            return Array(tuple(items), tree.span)
        message = f"{head!r} in {path!r} is not one of the {len(tree.items)} items of a list, counted from 0"
        raise UserError("CHM115", message, span=span)
    raise UserError("CHM115", f"{path!r} leads through {kind(tree)}, which has no {head!r}", span=span)
