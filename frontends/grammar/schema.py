"""JSON Schema → a grammar of the texts of valid values; what can't be obeyed is an error that names its place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import (
    DEFAULT_SPACE_CAP,
    EMPTY,
    MAX_CHOICES,
    MAX_NESTING,
    MAX_REPETITIONS,
    MAX_RULES,
    MAX_SOURCE_BYTES,
    NOTHING,
    Call,
    Counted,
    Expression,
    Grammar,
    Literal,
    Repeat,
    choice,
    deep_recursion,
    optional,
    sequence,
    star,
)
from chimerac.frontends.grammar import json_text as jt
from chimerac.frontends.grammar import regex
from chimerac.frontends.grammar.character_dfa import (
    CharacterDfa,
    both,
    complement,
    graph_of,
    of_regex,
    of_texts,
    without,
)
from chimerac.frontends.grammar.formats import FORMATS
from chimerac.frontends.grammar.number_ranges import MAX_MULTIPLE, Bounds, number_dfa
from chimerac.frontends.grammar.schema_facts import (
    TYPES,
    Document,
    Flat,
    InvalidSchema,
    Part,
    UnsupportedKeyword,
    decimal,
    type_names,
)
from chimerac.frontends.grammar.schema_values import disjoint, valid

_MOST_ALTERNATIVES: Final = 2000
_REST: Final = "rest of a string"
_WIDE: Final = "wide rest of a string"


def schema_grammar(schema: Any, name: str = "schema", *, space_cap: int = DEFAULT_SPACE_CAP) -> Grammar:
    """The grammar of JSON texts that are valid against a schema (draft 2020-12, the keywords of docs/grammar.md).

    Named properties come in the order of the schema, others after them. ``schema`` is a parsed schema, or its text.
    Raises UserError CHM280 for what is no schema, CHM281 (UnsupportedKeyword) for what can't be obeyed, CHM282 for a
    limit.
    """
    text = schema if isinstance(schema, str) else ""
    if isinstance(schema, str):
        schema = read_schema(schema)
    if not isinstance(schema, dict | bool):
        raise InvalidSchema("", "a schema is an object, true or false")
    _check_nesting(schema)
    compiler = _Compiler(Document(schema))
    with deep_recursion():
        start = sequence(jt.SPACES, compiler.value((compiler.document.root,)), jt.SPACES)
    source = text or json.dumps(schema, ensure_ascii=False)
    if len(source) > MAX_SOURCE_BYTES:
        raise UserError("CHM282", "the schema is over the limit of 1 MiB")
    rules = {**jt.LIBRARY, _REST: jt.STRING_REST, _WIDE: jt.WIDE_REST, **compiler.rules, "start": start}
    return Grammar(name, rules, shared=frozenset(jt.LIBRARY), source=source, space_cap=space_cap, kinds=dict(jt.KINDS))


def read_schema(text: str) -> Any:
    """The parsed text of a schema; raises UserError CHM280, CHM282."""
    if len(text) > MAX_SOURCE_BYTES:
        raise UserError("CHM282", "the schema is over the limit of 1 MiB")
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError("CHM282", f"the schema is nested more than {MAX_NESTING} deep") from None
    except ValueError as error:
        raise UserError("CHM280", f"the schema is not JSON: {error}") from None


def _check_nesting(schema: Any) -> None:
    level = [schema]
    for _ in range(MAX_NESTING):
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [item for items in inner for item in items]
        if not level:
            return
    raise UserError("CHM282", f"the schema is nested more than {MAX_NESTING} deep")


@dataclass
class _Compiler:
    document: Document
    rules: dict[str, Expression] = field(default_factory=dict)
    _values: dict[tuple[str, ...], str] = field(default_factory=dict)
    _count: int = 0

    def value(self, parts: Sequence[Part]) -> Expression:
        """The texts of values for which all parts hold."""
        flat = self.document.flat(parts)
        if flat.never:
            return NOTHING
        if not flat.referenced:
            return self.alternatives(flat)
        key = tuple(sorted(part.pointer for part in parts))
        name = self._values.get(key)
        if name is None:
            name = self._values[key] = self.name("value")
            if len(self._values) > MAX_RULES:
                raise UserError("CHM282", f"the schema refers to more than {MAX_RULES:,} combinations of parts")
            self.rules[name] = NOTHING
            self.rules[name] = self.alternatives(flat)
        return Call(name)

    def name(self, what: str) -> str:
        """A new rule's name."""
        self._count += 1
        return f"{what} {self._count}"

    def alternatives(self, flat: Flat) -> Expression:
        """``anyOf`` and ``oneOf`` as a choice between what is left."""
        if not flat.alternatives:
            return self.leaf(flat.plain)
        group, others = flat.alternatives[0], flat.alternatives[1:]
        if len(group) > _MOST_ALTERNATIVES:
            raise UserError("CHM282", f"{len(group):,} alternatives are over the limit of {_MOST_ALTERNATIVES:,}")
        # the parts that brought the alternatives are plain already: without them they don't bring them again
        base = tuple(
            Part({k: v for k, v in p.schema.items() if k not in _JOINING}, p.pointer + "#") for p in flat.plain
        )
        if "/oneOf" in group[0].pointer[-16:]:
            for index, one in enumerate(group):
                for other in group[index + 1 :]:
                    if not disjoint(self.document, (*base, one), (*base, other)):
                        hint = "use anyOf, or give each a property with a const of its own"
                        raise UnsupportedKeyword(
                            one.pointer, f"it may hold together with {other.pointer}, so oneOf cannot be obeyed", hint
                        )
        options = []
        for option in group:
            inner = self.document.flat((*base, option))
            if not inner.never:
                joined = Flat(inner.plain, inner.alternatives + others, False, inner.referenced)
                options.append(self._cycle_safe(joined, option))
        return choice(options)

    def _cycle_safe(self, flat: Flat, option: Part) -> Expression:
        if not flat.referenced:
            return self.alternatives(flat)
        key = (*sorted(part.pointer for part in flat.plain), option.pointer, *(g[0].pointer for g in flat.alternatives))
        name = self._values.get(key)
        if name is None:
            name = self._values[key] = self.name("value")
            self.rules[name] = NOTHING
            self.rules[name] = self.alternatives(flat)
        return Call(name)

    # -- one value

    def leaf(self, parts: Sequence[Part]) -> Expression:
        """Values for which plain schemas hold: their own keywords, joined."""
        fixed = [part.at(key) for part in parts for key in ("enum", "const") if key in part.schema]
        if fixed:
            return self.enumeration(parts, fixed[0])
        types = frozenset(TYPES)
        for part in parts:
            types &= type_names(part.schema)
        options: list[Expression] = []
        if "object" in types:
            options.append(self.object(parts))
        if "array" in types:
            options.append(self.array(parts))
        if "string" in types:
            options.append(self.string(parts))
        if types & {"number", "integer"}:
            options.append(self.number(parts, integer="number" not in types))
        if "boolean" in types:
            options.append(jt.BOOLEAN)
        if "null" in types:
            options.append(jt.NULL)
        return choice(options)

    def enumeration(self, parts: Sequence[Part], fixed: Part) -> Expression:
        """The values of an ``enum`` or ``const`` for which everything else holds too."""
        values = [fixed.schema] if fixed.pointer.endswith("/const") else fixed.schema
        if len(values) > MAX_CHOICES:
            raise UserError(
                "CHM282", f"schema at {fixed.pointer}: {len(values):,} values are over the limit of {MAX_CHOICES:,}"
            )
        simple = len(parts) == 1 and not parts[0].schema.keys() - {
            "enum",
            "type",
            "const",
            "title",
            "description",
            "default",
        }
        if (
            simple
            and all(isinstance(v, str) for v in values)
            and "string" in type_names(parts[0].schema)
            and len(parts[0].schema.keys() & {"enum", "const"}) == 1
        ):
            return choice([jt.string_literal(v) for v in dict.fromkeys(values)])
        return choice([jt.value_literal(v) for v in values if all(valid(self.document, v, part) for part in parts)])

    # -- numbers

    def number(self, parts: Sequence[Part], *, integer: bool) -> Expression:
        """Numbers within bounds."""
        bounds, multiple = Bounds(), 1
        for part in parts:
            schema = part.schema
            for key, low, open_ in (
                ("minimum", True, False),
                ("exclusiveMinimum", True, True),
                ("maximum", False, False),
                ("exclusiveMaximum", False, True),
            ):
                if key in schema:
                    bounds = _tightened(bounds, decimal(schema[key]), low=low, open_=open_)
            if "multipleOf" in schema:
                multiple = self.multiple(part, multiple)
                integer = True
        if bounds == Bounds() and multiple == 1:
            return sequence(jt.INTEGER, optional(Literal(b".0"))) if integer else jt.NUMBER
        dfa = number_dfa(bounds, integer=integer, multiple=multiple)
        return graph_of(dfa)

    @staticmethod
    def multiple(part: Part, before: int) -> int:
        """The least common multiple with a part's ``multipleOf``."""
        value = part.schema["multipleOf"]
        pointer = part.pointer + "/multipleOf"
        if value != int(value):
            raise UnsupportedKeyword(pointer, "multipleOf of fractions is not supported")
        joined = before * int(value) // _gcd(before, int(value))
        if joined > MAX_MULTIPLE:
            raise UnsupportedKeyword(pointer, f"multiples of {joined:,} are over the limit of {MAX_MULTIPLE:,}")
        return joined

    # -- strings

    def string(self, parts: Sequence[Part]) -> Expression:
        """Strings of a length, matching patterns and formats."""
        minimum, maximum = 0, None
        trees: list[regex.Regex] = []
        for part in parts:
            schema = part.schema
            minimum = max(minimum, int(schema.get("minLength", 0)))
            if "maxLength" in schema:
                maximum = min(int(schema["maxLength"]), 1 << 60 if maximum is None else maximum)
            if "pattern" in schema:
                trees.append(_pattern(schema["pattern"], part.pointer + "/pattern"))
            if "format" in schema:
                trees.append(_format(schema["format"], part.pointer + "/format"))
        if max(minimum, maximum or 0) > MAX_REPETITIONS:
            place = next(p.pointer for p in parts if p.schema.keys() & {"minLength", "maxLength"})
            if minimum > MAX_REPETITIONS:
                raise UserError("CHM282", f"schema at {place}: lengths are supported up to {MAX_REPETITIONS:,}")
            maximum = maximum if maximum is not None and maximum <= MAX_REPETITIONS else MAX_REPETITIONS
        if maximum is not None and minimum > maximum:
            return NOTHING
        bounded = minimum > 0 or maximum is not None
        if not trees:
            return jt.counted_string(minimum, maximum) if bounded else Call(jt.ANY_STRING)
        if len(trees) == 1 and not bounded:
            body = regex.to_expression(trees[0], jt.encode)
        else:
            dfa = of_regex(trees[0])
            for tree in trees[1:]:
                dfa = both(dfa, of_regex(tree))
            body = graph_of(dfa, jt.encode, minimum, maximum)
        return sequence(Literal(b'"'), body, Literal(b'"'))

    # -- arrays

    def array(self, parts: Sequence[Part]) -> Expression:  # noqa: C901  a case for each keyword
        """Arrays of some items."""
        minimum, maximum, known = 0, None, 0
        for part in parts:
            schema = part.schema
            minimum = max(minimum, int(schema.get("minItems", 0)))
            if "maxItems" in schema:
                maximum = min(int(schema["maxItems"]), 1 << 60 if maximum is None else maximum)
            known = max(known, len(schema.get("prefixItems", ())))
        if minimum > MAX_REPETITIONS:
            raise UserError("CHM282", f"minItems of {minimum:,} is over the limit of {MAX_REPETITIONS:,}")
        if maximum is not None and maximum > MAX_REPETITIONS:
            maximum = MAX_REPETITIONS
        if maximum is not None and minimum > maximum:
            return NOTHING
        if not known and not minimum and maximum is None and not any("items" in p.schema for p in parts):
            return Call(jt.ANY_ARRAY)
        opening, closing = sequence(Literal(b"["), jt.SPACES), Literal(b"]")
        known = known if maximum is None else min(known, maximum)
        rest = self.item(parts, known)
        free = rest != NOTHING and (maximum is None or maximum > known)
        if not free and minimum > known:
            return NOTHING
        if not known:
            if not free:
                return sequence(opening, closing)
            item = sequence(rest, jt.SPACES)
            if minimum or maximum is not None:
                return Counted(opening, item, jt.COMMA, closing, minimum, maximum)
            return sequence(opening, optional(sequence(item, star(sequence(jt.COMMA, item)))), closing)
        tail: Expression = EMPTY
        if free:
            more = sequence(jt.COMMA, rest, jt.SPACES)
            left = None if maximum is None else maximum - known
            tail = Repeat(more, max(0, minimum - known), left)
        for index in reversed(range(known)):
            item = sequence(self.item(parts, index), jt.SPACES, tail)
            if index:
                item = sequence(jt.COMMA, item)
            tail = item if index < minimum else optional(item)
        return sequence(opening, tail, closing)

    def item(self, parts: Sequence[Part], index: int) -> Expression:
        """What the item of an index is."""
        held: list[Part] = []
        for part in parts:
            listed = part.schema.get("prefixItems", ())
            if index < len(listed):
                held.append(part.at("prefixItems", index))
            elif "items" in part.schema:
                held.append(part.at("items"))
        return self.value(held) if held else jt.ANY

    # -- objects

    def object(self, parts: Sequence[Part]) -> Expression:
        """Objects: named properties in order, then others."""
        names: dict[str, bool] = {}
        for part in parts:
            names |= dict.fromkeys(part.schema.get("properties", ()), False)
        for part in parts:
            names |= dict.fromkeys(part.schema.get("required", ()), True)
        patterns = [part.at("patternProperties", p) for part in parts for p in part.schema.get("patternProperties", ())]
        if not names and not patterns and not any("additionalProperties" in part.schema for part in parts):
            return Call(jt.ANY_OBJECT)
        automata = {p.pointer: of_regex(_pattern(_last(p), p.pointer)) for p in patterns}
        others = self.others(parts, list(names), patterns, automata)
        repeated = sequence(others, jt.SPACES)
        after: Expression = star(sequence(jt.COMMA, repeated)) if others != NOTHING else EMPTY
        first: Expression = optional(sequence(repeated, after)) if others != NOTHING else EMPTY
        prefix = self.name("property")
        for index, (name, required) in reversed(list(enumerate(names.items()))):
            value = self.value(self.property(parts, name, automata))
            if value == NOTHING and not required:
                continue
            pair, later = f"{prefix}.{index}", f"{prefix}.{index}+"
            self.rules[pair] = sequence(jt.string_literal(name), jt.COLON, value, jt.SPACES, after)
            following = sequence(jt.COMMA, Call(pair))
            self.rules[later] = following if required else choice([following, after])
            after = Call(later)
            first = Call(pair) if required else choice([Call(pair), first])
        return sequence(Literal(b"{"), jt.SPACES, first, Literal(b"}"))

    def property(self, parts: Sequence[Part], name: str, automata: Mapping[str, CharacterDfa]) -> list[Part]:
        """What holds for the value of a named property."""
        held: list[Part] = []
        for part in parts:
            own = [part.at("properties", name)] if name in part.schema.get("properties", ()) else []
            for pattern in part.schema.get("patternProperties", ()):
                place = part.at("patternProperties", pattern)
                if automata[place.pointer].accepts(name):
                    own.append(place)
            if not own and "additionalProperties" in part.schema:
                own = [part.at("additionalProperties")]
            held += own
        return held

    def others(
        self,
        parts: Sequence[Part],
        names: Sequence[str],
        patterns: Sequence[Part],
        automata: Mapping[str, CharacterDfa],
    ) -> Expression:
        """A property that isn't named: key, colon, value."""
        free = [part.at("additionalProperties") for part in parts if "additionalProperties" in part.schema]
        options: list[Expression] = []
        named = of_texts(list(names)) if names else None
        covered: CharacterDfa | None = named
        for index, pattern in enumerate(patterns):
            for other in patterns[index + 1 :]:
                overlap = both(automata[pattern.pointer], automata[other.pointer])
                if named is not None:
                    overlap = without(overlap, named)
                if not overlap.empty:
                    raise UnsupportedKeyword(pattern.pointer, f"it can match the same names as {other.pointer}")
            held = [pattern]
            for part in parts:
                own = pattern.pointer.startswith(part.pointer + "/patternProperties/")
                if not own and "additionalProperties" in part.schema:
                    held.append(part.at("additionalProperties"))
            keys = automata[pattern.pointer]
            if named is not None:
                keys = without(keys, named)
            value = self.value(held)
            if value != NOTHING and not keys.empty:
                quoted = sequence(Literal(b'"'), graph_of(keys, jt.encode), Literal(b'"'))
                options.append(sequence(quoted, jt.COLON, value))
            covered = automata[pattern.pointer] if covered is None else _either(covered, automata[pattern.pointer])
        value = self.value(free) if free else jt.ANY
        if value != NOTHING:
            if covered is None:
                key: Expression = Call(jt.ANY_STRING)
            elif not patterns and jt.simple_names(names):
                key = jt.other_key(names, _REST, _WIDE)
            else:
                key = sequence(Literal(b'"'), graph_of(complement(covered), jt.encode), Literal(b'"'))
            options.append(sequence(key, jt.COLON, value))
        return choice(options)


#: Keywords that bring further parts.
_JOINING: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf"})


def _either(left: CharacterDfa, right: CharacterDfa) -> CharacterDfa:
    return complement(both(complement(left), complement(right)))


def _last(part: Part) -> str:
    return part.pointer.rsplit("/", 1)[1].replace("~1", "/").replace("~0", "~")


def _gcd(left: int, right: int) -> int:
    while right:
        left, right = right, left % right
    return left


def _tightened(bounds: Bounds, value: Any, *, low: bool, open_: bool) -> Bounds:
    if low:
        if bounds.low is None or value > bounds.low or (value == bounds.low and open_):
            return Bounds(value, bounds.high, open_, bounds.high_open)
    elif bounds.high is None or value < bounds.high or (value == bounds.high and open_):
        return Bounds(bounds.low, value, bounds.low_open, open_)
    return bounds


def _pattern(text: str, pointer: str) -> regex.Regex:
    try:
        return regex.searched(regex.parse(text, "ecma"))
    except UserError as error:
        raise UnsupportedKeyword(pointer, error.message, error.hint) from None


def _format(name: str, pointer: str) -> regex.Regex:
    if name not in FORMATS:
        raise UnsupportedKeyword(
            pointer, f"the format {name!r} is not supported", f"supported: {', '.join(sorted(FORMATS))}"
        )
    return regex.anchored(regex.parse(FORMATS[name], "ecma"))
