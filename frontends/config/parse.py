"""Config text to a tree with places, by Lark's LALR parser."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

from lark import Lark, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from chimerac.compiler.errors import UserError, UserErrors
from chimerac.frontends.config.mistakes import explain, not_finite
from chimerac.frontends.config.source import Source
from chimerac.frontends.config.structure import scan
from chimerac.frontends.config.tree import Array, Entry, Node, Object, Scalar

MAX_NUMBER_LENGTH = 64  #: longest accepted number, in characters


@functools.cache
def _grammar() -> Any:
    return Lark.open(
        "config.lark",
        rel_to=__file__,
        parser="lalr",
        start=["start", "value"],
        propagate_positions=True,
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def parse(source: Source, *, infinite: bool = False) -> Object:
    """A whole config.

    Args:
        infinite: it may have the number Infinity, as Python's json writes it.

    Raises:
        UserError: CHM101 (limits), CHM102 (syntax) or CHM103 (a key twice; all of them at once).
    """
    tree = _run(source, "start")
    children = tree.children
    builder = _Builder(source, infinite=infinite)
    if tree.data == "bare":
        node: Node = builder.object(children, 0)
    else:
        node = builder.build(children[0])
    builder.finish()
    assert isinstance(node, Object)
    return node


def parse_value(source: Source) -> Node:
    """A single value, as in ``--set key=value``. Raises like ``parse``."""
    builder = _Builder(source)
    node = builder.build(_run(source, "value"))
    builder.finish()
    return node


def _run(source: Source, start: str) -> Any:
    structural = scan(source)
    try:
        tree = _grammar().parse(source.text, start=start)
    except UnexpectedInput as error:
        offset, expected = _stopped_at(source, error)
        if structural and structural[0] <= offset:
            raise structural[1] from None
        raise explain(source, offset, expected) from None
    if structural:
        raise structural[1]
    return tree


def _stopped_at(source: Source, error: Any) -> tuple[int, frozenset[str]]:
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return len(source.text), frozenset(error.expected if isinstance(error, UnexpectedEOF) else error.accepts)
    if isinstance(error, UnexpectedCharacters):
        return int(error.pos_in_stream), frozenset(error.allowed or ())
    return int(error.token.start_pos), frozenset(error.accepts or error.expected)


class _Builder:
    """Lark tree to nodes; repeated keys are collected and reported together."""

    def __init__(self, source: Source, *, infinite: bool = False) -> None:
        self.source, self.infinite = source, infinite
        self.errors: list[UserError] = []

    def finish(self) -> None:
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise UserErrors(self.errors)

    def build(self, tree: Any) -> Node:
        kind = str(tree.data)
        start, end = int(tree.meta.start_pos), int(tree.meta.end_pos)
        if kind == "object":
            return self.object(tree.children[1:-1], start)
        if kind == "array":
            items = tuple(self.build(child) for child in tree.children if isinstance(child, Tree))
            return Array(items, self.source.span(start))
        span, literal = self.source.span(start, end), self.source.text[start:end]
        if kind == "string":
            return Scalar(self.string(literal, start), span, literal)
        if kind == "number":
            return Scalar(self.number(literal, start, end), span, literal)
        return Scalar({"true": True, "false": False, "null": None}[kind], span, literal)

    def object(self, children: list[Any], start: int) -> Object:
        entries: dict[str, Entry] = {}
        for pair in children:
            if not isinstance(pair, Tree):
                continue
            token, _, value = pair.children
            key = self.string(token, token.start_pos) if token.type == "STRING" else str(token)
            span = self.source.span(token.start_pos, token.end_pos)
            node = self.build(value)
            if key in entries:
                first = entries[key].span
                message = f"the key {key!r} is here twice; first in line {first.line}, column {first.column}"
                self.errors.append(UserError("CHM103", message, span=span, hint="remove one of the two"))
            entries.setdefault(key, Entry(span, node))
        return Object(entries, self.source.span(start))

    def string(self, literal: str, start: int) -> str:
        value = str(json.loads(literal))
        if any("\ud800" <= character <= "\udfff" for character in value):
            span = self.source.span(start, start + len(literal))
            hint = "write the two halves of a surrogate pair together, or the character itself"
            raise UserError("CHM102", "this string holds half of a surrogate pair", span=span, hint=hint)
        return value

    def number(self, literal: str, start: int, end: int) -> int | float:
        if len(literal) > MAX_NUMBER_LENGTH:
            message = f"this number has {len(literal)} characters; the limit is {MAX_NUMBER_LENGTH}"
            raise UserError("CHM102", message, span=self.source.span(start, end))
        if literal.endswith("Infinity"):
            if not self.infinite:
                raise not_finite(self.source, literal, start, end)
            return float(literal)
        if not any(mark in literal for mark in ".eE"):
            return int(literal)
        value = float(literal)
        if math.isinf(value):
            raise UserError("CHM102", f"the number {literal} is too large", span=self.source.span(start, end))
        return value
