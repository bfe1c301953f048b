"""JSON Schema → a grammar of the texts of valid values; what can't be obeyed is an error that names its place."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import (
    DEFAULT_SPACE_CAP,
    MAX_CHOICES,
    MAX_RULES,
    NOTHING,
    Call,
    Expression,
    Grammar,
    Literal,
    choice,
    deep_recursion,
    sequence,
)
from chimerac.frontends.grammar import json_text as jt
from chimerac.frontends.grammar.budget import Budget
from chimerac.frontends.grammar.json_source import InvalidSchema, UnsupportedKeyword, check_json, read_json
from chimerac.frontends.grammar.schema_arrays import array, counts
from chimerac.frontends.grammar.schema_contradictions import contradictory
from chimerac.frontends.grammar.schema_disjoint import overlapping
from chimerac.frontends.grammar.schema_facts import Document, Endless, Flat, Group, comparable, type_names
from chimerac.frontends.grammar.schema_keywords import ANNOTATIONS, TYPES
from chimerac.frontends.grammar.schema_not import check_values, ruled_out
from chimerac.frontends.grammar.schema_objects import Objects
from chimerac.frontends.grammar.schema_parts import Part
from chimerac.frontends.grammar.schema_scalars import number, string
from chimerac.frontends.grammar.schema_unevaluated import check_choice, said_of_the_rest
from chimerac.frontends.grammar.schema_unique import MOST_SETS, different, sets
from chimerac.frontends.grammar.schema_values import valid
from chimerac.runtime.bundle_format.fstpack import FLAG_JSON_SLOTS, FLAG_SLOTS

_MOST_ALTERNATIVES: Final = 2000
#: Ways to take one of each of several alternatives that hold together for one value.
_MOST_COMBINATIONS: Final = 1000


def schema_grammar(schema: Any, name: str = "schema", *, space_cap: int = DEFAULT_SPACE_CAP) -> Grammar:
    """The grammar of JSON texts that are valid against a schema (the keywords of docs/grammar.md).

    Named properties come in the order of the schema, others after them. ``schema`` is a parsed schema, or its text. The
    grammar's notes say what was ignored. Raises UserError CHM280 for what is no schema, CHM281 (UnsupportedKeyword) for
    what can't be obeyed, CHM282 for a limit.
    """
    budget = Budget("the schema")
    source = schema if isinstance(schema, str) else ""
    if isinstance(schema, str):
        schema = read_json(schema, budget)
    check_json(schema, budget)
    if not isinstance(schema, dict | bool):
        raise InvalidSchema("", "a schema is an object, true or false")
    if not source:
        source = json.dumps(schema)
        budget.source(source)
    compiler = _Compiler(Document(schema, budget))
    with deep_recursion():
        rules = compiler.compile()
    notes = tuple(f"schema at {pointer or '/'}: {text}" for pointer, text in compiler.document.notes.items())
    return Grammar(
        name,
        rules,
        shared=compiler.called,
        source=source,
        space_cap=space_cap,
        flags=_slots(compiler.document),
        kinds=dict(jt.KINDS),
        notes=notes,
    )


def _slots(document: Document) -> int:
    return sum(FLAG_SLOTS[kind] for kind in document.copies) | (FLAG_JSON_SLOTS if document.copies else 0)


class _Compiler:
    """Makes a rule for each combination of schemas that a reference leads to; these wait in a queue."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.rules: dict[str, Expression] = {}
        self._values: dict[Hashable, str] = {}
        self._waiting: deque[tuple[str, Flat]] = deque()
        self._count = 0
        self._objects = Objects(document, self.rules, self.name, self.value)

    def compile(self) -> dict[str, Expression]:
        """All rules of the document."""
        start = sequence(jt.SPACES, self.value((self.document.root,)), jt.SPACES)
        while self._waiting:
            name, flat = self._waiting.popleft()
            self.rules[name] = self._alternatives(flat, [0])
        return {**jt.LIBRARY, jt.REST: jt.STRING_REST, jt.WIDE: jt.WIDE_REST, **self.rules, "start": start}

    @property
    def called(self) -> frozenset[str]:
        """The rules that have a frame of their own."""
        return frozenset(jt.LIBRARY) | self._objects.called

    def name(self, what: str) -> str:
        """A new rule's name."""
        self._count += 1
        if len(self.rules) + len(self._waiting) > MAX_RULES:
            raise UserError("CHM282", f"the schema needs more than {MAX_RULES:,} rules", hint="make it smaller")
        return f"{what} {self._count}"

    def value(self, parts: Sequence[Part]) -> Expression:
        """The texts of values for which all parts hold."""
        flat = self.document.flat(parts)
        return self._referred(flat) if flat.referenced else self._alternatives(flat, [0])

    def _referred(self, flat: Flat) -> Expression:
        """The rule of what a reference led to: it may contain itself."""
        if flat.never:
            return NOTHING
        key = tuple((item.pointer, item.within if isinstance(item, Group) else None) for item in flat.items)
        name = self._values.get(key)
        if name is None:
            name = self._values[key] = self.name("value")
            self._waiting.append((name, flat))
        return Call(name)

    def _alternatives(self, flat: Flat, combinations: list[int]) -> Expression:
        """``anyOf`` and ``oneOf`` as a choice between what is left; ``combinations`` counts for the whole value."""
        if flat.never or not _types(flat):
            return NOTHING
        if not flat.groups:
            combinations[0] += 1
            if combinations[0] > _MOST_COMBINATIONS:
                message = f"schema at {flat.items[0].pointer or '/'}: over {_MOST_COMBINATIONS:,} combinations of anyOf"
                raise UserError("CHM282", message, hint="name the combinations that are meant in one anyOf")
            return self._leaf(flat.plain)
        group = flat.groups[0]
        if len(flat.groups) > _MOST_COMBINATIONS:
            message = f"schema at {flat.items[0].pointer or '/'}: over {_MOST_COMBINATIONS:,} choices for one value"
            raise UserError("CHM282", message, hint="name the combinations that are meant in one anyOf")
        if len(group.options) > _MOST_ALTERNATIVES:
            message = f"{len(group.options):,} alternatives are over the limit of {_MOST_ALTERNATIVES:,}"
            raise UserError("CHM282", f"schema at {group.pointer}: {message}")
        if group.exclusive and (wrong := overlapping(self.document, flat, group)):
            hint = "use anyOf, or give each a property with a const of its own"
            message = f"it may hold together with {wrong[1].pointer}, so oneOf cannot be obeyed"
            raise UnsupportedKeyword(wrong[0].pointer, message, hint)
        check_choice(flat.plain, group)
        options = []
        for option in group.options:
            try:
                chosen = self.document.choose(flat, group, option)
            except Endless as error:
                if group.exclusive:
                    message = "the alternative refers to itself for the same value, without end"
                    raise UnsupportedKeyword(error.pointer, message) from None
                continue  # it holds for what another alternative holds for
            if contradictory(self.document, chosen.plain):
                continue
            new = chosen.referenced and not flat.referenced
            options.append(self._referred(chosen) if new else self._alternatives(chosen, combinations))
        return choice([option for option in options if option != NOTHING])

    def _leaf(self, parts: Sequence[Part]) -> Expression:
        """Values for which plain schemas hold: their own keywords, joined."""
        fixed = [part.at(key) for part in parts for key in ("enum", "const") if key in part.schema]
        if fixed:
            return self._enumeration(parts, fixed)
        parts = [*parts, *said_of_the_rest(parts)]
        types = frozenset(TYPES).intersection(*(type_names(part.schema) for part in parts))
        out = [value for part in parts for value in ruled_out(part.schema)[1]]
        if out:
            place = next(part.pointer for part in parts if ruled_out(part.schema)[1])
            check_values(out, types, place + "/not")
        options: list[Expression] = []
        if "object" in types:
            options.append(self._objects.object(parts))
        if "array" in types:
            options.append(self._array(parts))
        if "string" in types:
            options.append(string(self.document, parts))
        if types & {"number", "integer"}:
            options.append(number(parts, integer="number" not in types))
        if "boolean" in types:
            flags = [Literal(text) for flag, text in ((True, b"true"), (False, b"false")) if not _among(flag, out)]
            options.append(choice(flags))
        if "null" in types:
            options.append(jt.NULL)
        return choice([option for option in options if option != NOTHING])

    def _array(self, parts: Sequence[Part]) -> Expression:
        """Arrays, of items that differ where that is said."""
        minimum, maximum = counts(parts, "minItems", "maxItems")
        unique = next((part for part in parts if part.schema.get("uniqueItems")), None)
        if unique is None or (maximum is not None and maximum <= 1):
            return array(parts, self.value)
        pointer = unique.pointer + "/uniqueItems"
        hint = "leave it out, and check the answer"
        if any(part.listed_items for part in parts):
            raise UnsupportedKeyword(pointer, "uniqueItems is not supported beside prefixItems", hint)
        values = self._few(self.document.flat([part.other_items for part in parts if part.other_items is not None]))
        if values is None:
            raise UnsupportedKeyword(pointer, "uniqueItems is supported of items with fixed values only", hint)
        most = len(values) if maximum is None else maximum
        if sets(len(values), most) > MOST_SETS:
            message = f"there are over {MOST_SETS} sets of up to {most} of these {len(values)} values"
            raise UnsupportedKeyword(pointer, message, "give maxItems, or " + hint)
        items = [choice(jt.value_spellings(value)) for value in values]
        return different(items, minimum, most, self.rules, self.name("different items"))

    def _few(self, flat: Flat) -> list[Any] | None:
        """The values that schemas leave, if they name them and are no alternatives."""
        if flat.groups:
            return None
        parts = flat.plain
        types = _types(flat)
        fixed = [part.at(key) for part in parts for key in ("enum", "const") if key in part.schema]
        if flat.never or not types:
            return []
        if fixed:
            values = fixed[0].schema if fixed[0].pointer.endswith("/enum") else [fixed[0].schema]
        elif types <= {"boolean", "null"}:
            values = [True, False, None]
        else:
            return None
        kept = [value for value in values if all(valid(self.document, value, part) for part in parts)]
        return list({comparable(value): value for value in kept}.values())

    def _enumeration(self, parts: Sequence[Part], fixed: Sequence[Part]) -> Expression:
        """The values of an ``enum`` or ``const`` for which everything else holds too."""
        lists = [[one.schema] if one.pointer.endswith("/const") else one.schema for one in fixed]
        for one, values in zip(fixed, lists, strict=True):
            if len(values) > MAX_CHOICES:
                message = f"{len(values):,} values are over the limit of {MAX_CHOICES:,}"
                raise UserError("CHM282", f"schema at {one.pointer}: {message}")
        values = min(lists, key=len)
        if len(parts) == 1 and _plain_strings(parts[0], values):
            return choice([jt.string_literal(v) for v in dict.fromkeys(values)])
        kept = [v for v in values if all(valid(self.document, v, part) for part in parts)]
        return choice([option for v in kept for option in jt.value_spellings(v)])


def _among(flag: bool, values: Sequence[Any]) -> bool:
    return any(value is flag for value in values)


def _types(flat: Flat) -> frozenset[str]:
    """The types that all plain schemas allow."""
    return frozenset(TYPES).intersection(*(type_names(part.schema) for part in flat.plain))


def _plain_strings(part: Part, values: Sequence[Any]) -> bool:
    """Whether a schema says no more than which strings there are: then none of them need be judged."""
    keywords = part.schema.keys() - ANNOTATIONS - {"type"}
    return (
        len(keywords) == 1
        and keywords <= {"enum", "const"}
        and "string" in type_names(part.schema)
        and all(isinstance(value, str) for value in values)
    )
