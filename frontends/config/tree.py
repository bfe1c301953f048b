"""The parsed form of a config: a JSON tree in which every key and value knows its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from chimerac.compiler.errors import Span


@dataclass(frozen=True)
class Scalar:
    """A string, number, boolean or null. ``literal`` is how it was written."""

    value: str | int | float | bool | None
    span: Span
    literal: str = ""


@dataclass(frozen=True)
class Array:
    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True)
class Entry:
    """One ``key: value`` of an object; ``span`` is the place of the key."""

    span: Span
    node: Node


@dataclass(frozen=True)
class Object:
    entries: Mapping[str, Entry]
    span: Span

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None

    def without(self, *keys: str) -> Object:
        return Object({key: entry for key, entry in self.entries.items() if key not in keys}, self.span)


Node: TypeAlias = Scalar | Array | Object


def merge(base: Node, over: Node) -> Node:
    """``over`` on top of ``base``: objects merge key by key, everything else is replaced."""
    if not (isinstance(base, Object) and isinstance(over, Object)):
        return over
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        entries[key] = Entry(entry.span, merge(below.node, entry.node)) if below else entry
    return Object(entries, over.span)


def leaves(node: Node, path: str = "") -> Iterator[str]:
    """The dotted paths of everything in a tree that is not an object."""
    if isinstance(node, Object):
        for key, entry in node.entries.items():
            yield from leaves(entry.node, f"{path}.{key}" if path else key)
    else:
        yield path


def kind(node: Node) -> str:
    """What a node is, in words for an error message."""
    if isinstance(node, Object):
        return "an object"
    if isinstance(node, Array):
        return "a list"
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return "true or false"
    return "a string" if isinstance(node.value, str) else f"the number {node.literal or node.value}"
