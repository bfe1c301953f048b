"""Numbers and strings of a schema."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction

from chimerac.compiler.ir.grammar import NOTHING, Call, Expression, Literal, optional, sequence, slot
from chimerac.frontends.grammar import json_text as jt
from chimerac.frontends.grammar.budget import shown
from chimerac.frontends.grammar.character_dfa import CharacterDfa, both, graph_of
from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.number_ranges import MAX_MULTIPLE, MAX_SCALE, Bounds, common, number_dfa, step_of
from chimerac.frontends.grammar.regex_language import automaton
from chimerac.frontends.grammar.regex_tree import to_expression
from chimerac.frontends.grammar.schema_arrays import counts
from chimerac.frontends.grammar.schema_facts import Document, divisor
from chimerac.frontends.grammar.schema_parts import Part
from chimerac.frontends.grammar.schema_texts import text_languages


def number(parts: Sequence[Part], *, integer: bool) -> Expression:
    """Numbers for which all parts hold."""
    bounds = Bounds()
    multiple: Fraction | None = None
    for part in parts:
        for low in (True, False):
            for value, out in part.bounds(low=low):
                bounds = bounds.tightened(value, low=low, out=out)
        if "multipleOf" in part.schema:
            own = divisor(part.schema["multipleOf"])
            multiple = own if multiple is None else common(multiple, own)
            _check_multiple(common(multiple, Fraction(1)) if integer else multiple, part)
    if bounds == Bounds() and multiple is None:
        return sequence(jt.INTEGER, optional(Literal(b".0"))) if integer else jt.NUMBER
    return graph_of(number_dfa(bounds, integer=integer, multiple=multiple))


def _check_multiple(value: Fraction, part: Part) -> None:
    if step_of(value) is None:
        message = f"multiples of {shown(float(value))} are over the limit of {MAX_MULTIPLE:,} steps"
        hint = f"at most {MAX_MULTIPLE:,}, and {MAX_SCALE} digits after the point, are supported"
        raise UnsupportedKeyword(part.pointer + "/multipleOf", message, hint)


def string(document: Document, parts: Sequence[Part]) -> Expression:
    """Strings of a length, matching patterns and formats, or what ``x-copy`` names."""
    copied = [part for part in parts if "x-copy" in part.schema]
    if copied:
        return _copied(document, parts, copied[0])
    minimum, maximum = counts(parts, "minLength", "maxLength")
    if maximum is not None and minimum > maximum:
        return NOTHING
    languages = text_languages(document, parts)
    bounded = minimum > 0 or maximum is not None
    if not languages:
        return jt.counted_string(minimum, maximum) if bounded else Call(jt.ANY_STRING)
    if len(languages) == 1 and not bounded and not isinstance(languages[0], CharacterDfa):
        body = to_expression(languages[0], jt.encode)
    else:
        joined = functools.reduce(both, map(automaton, languages))
        if joined.empty:
            return NOTHING
        body = graph_of(joined, jt.encode, minimum, maximum)
    return sequence(Literal(b'"'), body, Literal(b'"'))


def _copied(document: Document, parts: Sequence[Part], copied: Part) -> Expression:
    """A string that is copied: nothing else may be said of it."""
    kind = copied.schema["x-copy"]
    for part in parts:
        keys = [key for key in ("minLength", "maxLength", "pattern", "format", "not") if key in part.schema]
        keys += ["x-copy"] if part.schema.get("x-copy", kind) != kind else []
        if keys:
            message = f"{keys[0]} cannot be obeyed of what is copied"
            raise UnsupportedKeyword(f"{part.pointer}/{keys[0]}", message, "leave it out, or do not copy")
    document.copies.add(kind)
    return sequence(Literal(b'"'), slot(kind), Literal(b'"'))
