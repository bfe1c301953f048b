"""JSON Schemas taken apart: references followed, keywords checked, what holds for one value gathered in order."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.budget import Budget, shown
from chimerac.frontends.grammar.json_source import InvalidSchema, UnsupportedKeyword, escape
from chimerac.frontends.grammar.schema_cases import CONDITIONS, cases
from chimerac.frontends.grammar.schema_keywords import (
    ANNOTATIONS,
    KEYWORDS,
    TYPES,
    UNEVALUATED,
    is_number,
    problem,
    unknown_keyword,
)
from chimerac.frontends.grammar.schema_not import check_not, ruled_out
from chimerac.frontends.grammar.schema_parts import Part, decimal
from chimerac.frontends.grammar.schema_references import References

#: References and joined schemas that follow each other before a value has said anything.
_LONGEST_CHAIN: Final = 256
#: Drafts in which whatever stands beside a reference means nothing.
_OLD_DRAFTS: Final = re.compile(r"^https?://json-schema\.org/draft-0[3467]/")


@dataclass(frozen=True)
class Group:
    """Alternatives for a value: one of them holds (``anyOf``), or exactly one (``exclusive``: ``oneOf``).

    ``within`` are the places of the schemas that brought it, for the same value.
    """

    pointer: str
    options: tuple[Part, ...]
    exclusive: bool
    within: frozenset[str] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Flat:
    """What holds for one value, in order of appearance, without references; ``never`` for false.

    ``referenced`` tells that a reference was followed, so that the value may contain itself.
    """

    items: tuple[Part | Group, ...]
    never: bool
    referenced: bool

    @property
    def plain(self) -> tuple[Part, ...]:
        """The schemas whose own keywords hold."""
        return tuple(item for item in self.items if isinstance(item, Part))

    @property
    def groups(self) -> tuple[Group, ...]:
        """The alternatives of which one has to be taken each."""
        return tuple(item for item in self.items if isinstance(item, Group))


class Endless(Exception):
    """A schema that refers to itself for the same value; ``pointer`` is of the reference."""

    def __init__(self, pointer: str) -> None:
        super().__init__(pointer)
        self.pointer = pointer


class Document:
    """A schema document: finds what references mean, and checks every keyword it comes across.

    ``notes`` says of what was ignored that it was, and where; ``budget`` is spent by whoever works on it; ``old`` and
    ``newest`` tell of the draft that it names.
    """

    def __init__(self, schema: Any, budget: Budget) -> None:
        self.root = Part(schema, "")
        self.budget = budget
        self.notes: dict[str, str] = {}
        self.copies: set[str] = set()  #: what ``x-copy`` names
        root = schema if isinstance(schema, dict) else {}
        dialect = root.get("$schema", "")
        self.old = isinstance(dialect, str) and _OLD_DRAFTS.match(dialect) is not None
        self.newest = isinstance(dialect, str) and "/2020-12/" in dialect
        self.references = References(self.root, budget, old=self.old)
        self._checked: set[str] = set()
        self._fixed: dict[str, frozenset[Hashable]] = {}

    def note(self, pointer: str, text: str) -> None:
        """Remember what was ignored."""
        self.notes[pointer] = text

    # -- one value

    def flat(self, parts: Sequence[Part]) -> Flat:
        """What some schemas say together; raises UnsupportedKeyword where one refers to itself for the same value."""
        try:
            return self._flat(parts, frozenset(), ())
        except Endless as error:
            raise UnsupportedKeyword(
                error.pointer, "the schema refers to itself for the same value, without end", "take the reference out"
            ) from None

    def choose(self, flat: Flat, group: Group, option: Part) -> Flat:
        """What is left with one alternative of a group taken; raises Endless if that leads back to the group."""
        self.budget.spend(len(flat.items) // 64)
        chosen = self._flat((option,), group.within | {group.pointer}, [i for i in flat.items if i is not group])
        index = flat.items.index(group)
        items = (*flat.items[:index], *chosen.items, *flat.items[index + 1 :])
        return Flat(items, flat.never or chosen.never, flat.referenced or chosen.referenced)

    def _flat(self, parts: Sequence[Part], within: frozenset[str], known: Sequence[Part | Group]) -> Flat:
        gathering = _Gathering(self, known)
        for part in parts:
            gathering.visit(part, within)
        return Flat(tuple(gathering.items), gathering.never, gathering.referenced)

    def order(self, part: Part) -> list[str]:
        """The keywords that bring schemas for the same value, in order of appearance; "" for the part's own ones."""
        schema = part.schema
        if self.old and "$ref" in schema:
            beside = sorted(schema.keys() & KEYWORDS - {"$ref", "$id"})
            if beside:
                self.note(part.pointer, f"in this draft {', '.join(beside)} beside $ref mean nothing")
            return ["$ref"]
        joining = ("$ref", "allOf", "anyOf", "oneOf")
        order = ["" if key in ("properties", "required") else key for key in schema]
        order = [key for key in order if key in ("", *joining)]
        last = [key for key in CONDITIONS if key in schema]
        return list(dict.fromkeys([*order, "", *last]))

    # -- keywords

    def fixed(self, part: Part) -> frozenset[Hashable] | None:
        """The values that a schema's ``enum`` and ``const`` leave, ``comparable``; None if it has neither."""
        if not part.schema.keys() & {"enum", "const"}:
            return None
        found = self._fixed.get(part.pointer)
        if found is None:
            enum, const = part.schema.get("enum"), part.schema.get("const")
            self.budget.spend(len(enum or ()))
            found = frozenset(map(comparable, enum if enum is not None else [const]))
            if enum is not None and "const" in part.schema:
                found &= {comparable(const)}
            self._fixed[part.pointer] = found
        return found

    def check(self, part: Part) -> None:
        """Raise InvalidSchema or UnsupportedKeyword for a schema's own keywords."""
        if part.pointer in self._checked:
            return
        self._checked.add(part.pointer)
        schema = part.schema
        if not isinstance(schema, dict):
            raise InvalidSchema(part.pointer, "a schema is an object, true or false")
        self.budget.spend(len(schema))
        for key, value in schema.items():
            pointer = f"{part.pointer}/{escape(key)}"
            if key not in KEYWORDS and key not in ANNOTATIONS:
                self.note(pointer, unknown_keyword(key, pointer))
            elif wrong := problem(key, value):
                raise InvalidSchema(pointer, wrong)
            self._check_draft(key, value, pointer)
            if key == "$schema" and (not isinstance(value, str) or "//json-schema.org/" not in value):
                raise UnsupportedKeyword(pointer, f"the dialect {shown(value)} is not supported", "leave $schema out")
            elif key == "not":
                check_not(value, pointer)
            elif key == "x-copy" and schema.keys() & {"enum", "const"}:
                raise UnsupportedKeyword(
                    pointer, "what is copied is not one of fixed values", "leave enum and const out"
                )

    def _check_draft(self, key: str, value: Any, pointer: str) -> None:
        """Raise InvalidSchema or UnsupportedKeyword for what means nothing in the draft that the document names."""
        if key == "items" and isinstance(value, list) and self.newest:
            raise InvalidSchema(pointer, "items is one schema in this draft; a list of them is called prefixItems")
        if key == "dependencies" and self.newest:
            hint = "write dependentRequired or dependentSchemas"
            raise UnsupportedKeyword(pointer, "dependencies mean nothing in this draft", hint)
        if key in UNEVALUATED and self.old:
            raise UnsupportedKeyword(pointer, f"{key} means nothing in this draft", "leave it out")


class _Gathering:
    """Walks through what holds for one value, each schema once."""

    def __init__(self, document: Document, known: Sequence[Part | Group]) -> None:
        self.document = document
        self.seen = {item.pointer: item.within for item in known}
        #: the schemas that say something of the rest, each with its keyword
        self.open = {
            item.pointer: key for item in known if isinstance(item, Part) for key in item.schema.keys() & UNEVALUATED
        }
        self.items: list[Part | Group] = []
        self.never = self.referenced = False

    def visit(self, part: Part, within: frozenset[str]) -> None:
        """Add a schema and what it refers to; ``within`` are the places on the way to it."""
        self.document.budget.spend()
        if part.pointer in within:
            raise Endless(part.pointer)
        if part.pointer in self.seen:
            for pointer in sorted((within & self.open.keys()) - self.seen[part.pointer]):
                key = self.open[pointer]
                message = f"{part.pointer or '/'} is referred to by it and beside it"
                raise UnsupportedKeyword(f"{pointer}/{key}", message, "refer to it once for a value")
            return
        self.seen[part.pointer] = within
        if len(within) > _LONGEST_CHAIN:
            raise UserError("CHM282", f"the schema joins more than {_LONGEST_CHAIN} references in a row")
        if isinstance(part.schema, bool):
            self.never |= not part.schema
            return
        self.document.check(part)
        inside = within | {part.pointer}
        for key in sorted(part.schema.keys() & UNEVALUATED):
            self.open[part.pointer] = key
        for key in self.document.order(part):
            self._follow(part, key, inside)
        for other in part.joined:
            self.visit(other, inside)

    def _follow(self, part: Part, key: str, inside: frozenset[str]) -> None:
        if key == "":
            self.items.append(replace(part, within=inside))
        elif key == "$ref":
            self.referenced = True
            self.visit(self.document.references.target(part.schema[key], part.pointer + "/$ref"), inside)
        elif key == "allOf":
            for index in range(len(part.schema[key])):
                self.visit(part.at(key, index), inside)
        elif key in CONDITIONS:
            self.items += [Group(place, options, False, inside) for place, options in cases(part, key)]
        else:
            group = part.at(key)
            options = tuple(group.at(index) for index in range(len(group.schema)))
            self.items.append(Group(group.pointer, options, key == "oneOf", inside))


def divisor(value: int | float) -> Fraction:
    """The value of a ``multipleOf``, exactly as it is written."""
    return Fraction(decimal(value))


def comparable(value: Any) -> Hashable:
    """Equal for values that JSON Schema takes for equal: 1 and 1.0 are, 1 and true aren't, order of keys is nothing."""
    if isinstance(value, list):
        return ("list", *map(comparable, value))
    if isinstance(value, dict):
        return ("object", frozenset((key, comparable(inner)) for key, inner in value.items()))
    return (is_number(value), isinstance(value, bool), value)


def type_names(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types a schema's own ``type`` allows."""
    value = schema.get("type")
    names = set(TYPES) if value is None else {value} if isinstance(value, str) else set(value)
    return frozenset(names | ({"integer"} if "number" in names else set())) - ruled_out(schema)[0]


def type_of(value: Any) -> str:
    """The type of a JSON value; whole numbers are integers."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if is_number(value):
        return "integer" if value == int(value) else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
