"""Objects of a schema: named properties in their order, then others."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import (
    EMPTY,
    MAX_RULES,
    NOTHING,
    Call,
    Expression,
    Literal,
    Ordered,
    Repeat,
    choice,
    optional,
    sequence,
)
from chimerac.frontends.grammar import json_text as jt
from chimerac.frontends.grammar.character_dfa import (
    CharacterDfa,
    both,
    complement,
    either,
    graph_of,
    of_texts,
    without,
)
from chimerac.frontends.grammar.json_source import UnsupportedKeyword
from chimerac.frontends.grammar.regex_language import automaton
from chimerac.frontends.grammar.schema_arrays import counts
from chimerac.frontends.grammar.schema_facts import Document, type_names
from chimerac.frontends.grammar.schema_keywords import TYPES
from chimerac.frontends.grammar.schema_parts import Part
from chimerac.frontends.grammar.schema_texts import pattern_dfa, text_languages
from chimerac.frontends.grammar.schema_values import valid

#: In an object of so many named properties values that are alike are one rule with a frame of its own.
_MANY: Final = 256
_OBJECT_WORDS: Final = frozenset(
    {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
     "maxProperties"}
)  # fmt: skip


@dataclass(frozen=True)
class _Keys:
    """What ``propertyNames`` leaves: names that are listed, or an automaton's of some lengths; None: any name."""

    listed: tuple[str, ...] | None = None
    dfa: CharacterDfa | None = None
    minimum: int = 0
    maximum: int | None = None

    def allows(self, name: str) -> bool:
        """Whether a property may have a name."""
        if self.listed is not None:
            return name in self.listed
        long_enough = self.minimum <= len(name) <= (len(name) if self.maximum is None else self.maximum)
        return long_enough and (self.dfa is None or self.dfa.accepts(name))


class Objects:
    """Makes the expressions of objects, with rules for their properties.

    Args:
        rules: where the rules go.
        name: makes the name of a new rule.
        value: makes the expression of a property's value.
    """

    def __init__(
        self,
        document: Document,
        rules: dict[str, Expression],
        name: Callable[[str], str],
        value: Callable[[Sequence[Part]], Expression],
    ) -> None:
        self.document, self.rules, self.name, self.value = document, rules, name, value
        self.called: set[str] = set()  #: rules that need a frame of their own

    def object(self, parts: Sequence[Part]) -> Expression:
        """Objects for which all parts hold."""
        if not any(part.schema.keys() & _OBJECT_WORDS for part in parts):
            return Call(jt.ANY_OBJECT)
        minimum, maximum = counts(parts, "minProperties", "maxProperties")
        if maximum is not None and minimum > maximum:
            return NOTHING
        names: dict[str, bool] = {}
        for part in parts:
            names |= dict.fromkeys(part.schema.get("properties", ()), False)
        for part in parts:
            names |= dict.fromkeys(part.schema.get("required", ()), True)
        keys = self._keys(parts)
        names |= {name: False for name in keys.listed or () if name not in names}
        if 2 * len(names) * _told(len(names), minimum, maximum) > MAX_RULES:
            place = parts[0].pointer or "/"
            raise UserError("CHM282", f"schema at {place}: {len(names):,} properties need over {MAX_RULES:,} rules")
        patterns = _patterns(parts)
        values = {name: self._named(parts, name, patterns, keys) for name in names}
        if any(values[name] == NOTHING for name, required in names.items() if required):
            return NOTHING
        if len(names) > _MANY:  # what is to be shared has one frame, not two
            values = {
                name: jt.LIBRARY.get(value.rule, value) if isinstance(value, Call) else value
                for name, value in values.items()
            }
        rests = {name: NOTHING if value == NOTHING else sequence(jt.COLON, value) for name, value in values.items()}
        if len(names) > _MANY:
            rests = self._shared(rests)
        kept = {name: required for name, required in names.items() if rests[name] != NOTHING}
        others = NOTHING if keys.listed is not None else self._others(parts, list(names), patterns, keys)
        if others != NOTHING and minimum > 1 + len(kept):
            place = next(p.pointer for p in parts if p.schema.get("minProperties", 0) == minimum)
            hint = "name the properties: names that are made up may be the same"
            raise UnsupportedKeyword(place + "/minProperties", f"{minimum} different names cannot be assured", hint)
        chain = _Chain(self.rules, self.name("property"), kept, rests, others, minimum, maximum)
        plain = not minimum and maximum is None and not keys.minimum and keys.maximum is None
        return chain.ordered() if plain and len(names) > _MANY else chain.object()

    def _shared(self, rests: Mapping[str, Expression]) -> dict[str, Expression]:
        """What comes after names, with a rule that has a frame of its own in place of what comes more than once."""
        rules: dict[Expression, Expression] = {}
        for rest, count in Counter(rests.values()).items():
            if count > 1 and rest != NOTHING:
                name = self.name("shared value")
                self.rules[name] = rest
                self.called.add(name)
                rules[rest] = Call(name)
        return {name: rules.get(rest, rest) for name, rest in rests.items()}

    # -- names

    def _keys(self, parts: Sequence[Part]) -> _Keys:
        """What all ``propertyNames`` say together."""
        held = [part.at("propertyNames") for part in parts if "propertyNames" in part.schema]
        if not held:
            return _Keys()
        flat = self.document.flat(held)
        if flat.groups:
            hint = "write the names as enum, or as one pattern"
            raise UnsupportedKeyword(flat.groups[0].pointer, "alternatives in propertyNames are not supported", hint)
        types = frozenset(TYPES).intersection(*(type_names(part.schema) for part in flat.plain))
        if flat.never or "string" not in types:
            return _Keys(listed=())
        for part in flat.plain:
            if "x-copy" in part.schema:
                hint = "write the names as enum, or as one pattern"
                raise UnsupportedKeyword(f"{part.pointer}/x-copy", "names of properties cannot be copied", hint)
        fixed = [part.schema.get("enum", [part.schema.get("const")]) for part in flat.plain
                 if part.schema.keys() & {"enum", "const"}]  # fmt: skip
        if fixed:
            fitting = [
                v for v in fixed[0] if isinstance(v, str) and all(valid(self.document, v, p) for p in flat.plain)
            ]
            return _Keys(listed=tuple(dict.fromkeys(fitting)))
        minimum, maximum = counts(flat.plain, "minLength", "maxLength")
        found = [automaton(one) for one in text_languages(self.document, flat.plain)]
        if not found and not minimum and maximum is None:
            return _Keys()
        dfa = functools.reduce(both, found) if found else complement(of_texts([]))
        return _Keys(None, dfa, minimum, maximum)

    def _named(self, parts: Sequence[Part], name: str, patterns: Mapping[str, CharacterDfa], keys: _Keys) -> Expression:
        """The value of a named property."""
        if not keys.allows(name):
            return NOTHING
        held: list[Part] = []
        for part in parts:
            own = [part.at("properties", name)] if name in part.schema.get("properties", ()) else []
            for pattern in part.schema.get("patternProperties", ()):
                place = part.at("patternProperties", pattern)
                if patterns[place.pointer].accepts(name):
                    own.append(place)
            if not own and "additionalProperties" in part.schema:
                own = [part.at("additionalProperties")]
            held += own
        return self.value(held) if held else jt.ANY

    # -- properties that are not named

    def _others(
        self, parts: Sequence[Part], names: Sequence[str], patterns: Mapping[str, CharacterDfa], keys: _Keys
    ) -> Expression:
        """A property that isn't named: key, colon, value."""
        places = [part.at("patternProperties", p) for part in parts for p in part.schema.get("patternProperties", ())]
        free = [part.at("additionalProperties") for part in parts if "additionalProperties" in part.schema]
        if not places and any(part.schema is False for part in free):
            return NOTHING
        if not places and keys.dfa is None and jt.simple_names(names):
            value = self.value(free) if free else jt.ANY
            name = jt.other_key(names) if names else Call(jt.ANY_STRING)
            return NOTHING if value == NOTHING else sequence(name, jt.COLON, value)
        named = of_texts(list(names)) if names else None
        self._check_apart(places, patterns, named)
        options: list[Expression] = []
        covered = named
        for place in places:
            held = [place]
            for part in parts:
                own = place.pointer.startswith(part.pointer + "/patternProperties/")
                if not own and "additionalProperties" in part.schema:
                    held.append(part.at("additionalProperties"))
            key = patterns[place.pointer]
            options.append(self._pair(key if named is None else without(key, named), keys, self.value(held)))
            covered = key if covered is None else either(covered, key)
        value = self.value(free) if free else jt.ANY
        options.append(self._pair(complement(covered or of_texts([])), keys, value))
        return choice([option for option in options if option != NOTHING])

    def _check_apart(
        self, places: Sequence[Part], patterns: Mapping[str, CharacterDfa], named: CharacterDfa | None
    ) -> None:
        """Raise UnsupportedKeyword for two patterns that match a name which isn't named."""
        for index, place in enumerate(places):
            own = patterns[place.pointer]
            for other in places[index + 1 :]:
                self.document.budget.spend(len(own.moves) + len(patterns[other.pointer].moves))
                overlap = both(own, patterns[other.pointer])
                if not (overlap if named is None else without(overlap, named)).empty:
                    raise UnsupportedKeyword(place.pointer, f"it can match the same names as {other.pointer}")

    def _pair(self, key: CharacterDfa, keys: _Keys, value: Expression) -> Expression:
        """A key of some language, colon, value."""
        key = key if keys.dfa is None else both(key, keys.dfa)
        if value == NOTHING or key.empty:
            return NOTHING
        quoted = sequence(Literal(b'"'), graph_of(key, jt.encode, keys.minimum, keys.maximum), Literal(b'"'))
        return sequence(quoted, jt.COLON, value)


def _patterns(parts: Sequence[Part]) -> dict[str, CharacterDfa]:
    """The names that each of ``patternProperties`` is about, by its place."""
    found: dict[str, CharacterDfa] = {}
    for part in parts:
        for pattern in part.schema.get("patternProperties", ()):
            pointer = part.at("patternProperties", pattern).pointer
            found[pointer] = pattern_dfa(pattern, pointer)
    return found


def _told(names: int, minimum: int, maximum: int | None) -> int:
    """Up to how many properties their number is told; 1 only says that a comma is needed."""
    return max(1, min(names, minimum if maximum is None else maximum))


@dataclass(frozen=True)
class _Rest:
    """What may come after some properties: ``more`` after a comma, NOTHING if none may; ``end`` if it may end there."""

    more: Expression
    end: bool

    def after(self) -> Expression:
        """The same after a property."""
        if self.more == NOTHING:
            return EMPTY if self.end else NOTHING
        following = sequence(jt.COMMA, self.more)
        return optional(following) if self.end else following


@dataclass(frozen=True)
class _Chain:
    """Properties one after the other, with the number of them so far where that matters.

    ``names`` tells of each, in order, whether it is required, ``rests`` what comes after its name; ``others`` is a
    property that isn't named.
    """

    rules: dict[str, Expression]
    prefix: str
    names: Mapping[str, bool]
    rests: Mapping[str, Expression]
    others: Expression
    minimum: int
    maximum: int | None

    def ordered(self) -> Expression:
        """The whole object, where the number of properties says nothing and no other name is counted."""
        other = NOTHING if self.others == NOTHING else sequence(self.others, jt.SPACES)
        entries = tuple((jt.text_of(name), sequence(self.rests[name], jt.SPACES)) for name in self.names)
        needed = tuple(self.names.values())
        inner: Expression = Ordered(entries, needed, other, jt.COMMA) if entries else self._tail(1).more
        if inner == NOTHING:
            inner = EMPTY
        elif not any(needed):
            inner = optional(inner)
        return sequence(Literal(b"{"), jt.SPACES, inner, Literal(b"}"))

    def object(self) -> Expression:
        """The whole object; NOTHING if there cannot be one."""
        rest = {count: self._tail(count) for count in range(self._told_from, self._most + 1)}
        for index, (name, required) in reversed(list(enumerate(self.names.items()))):
            rest = self._before(rest, index, name, required=required)
        begin = rest[self._told_from]
        if begin.more == NOTHING and not begin.end:
            return NOTHING
        inner = optional(begin.more) if begin.end and begin.more != NOTHING else EMPTY if begin.end else begin.more
        return sequence(Literal(b"{"), jt.SPACES, inner, Literal(b"}"))

    @property
    def _most(self) -> int:
        """Up to which number of properties so far is told."""
        return _told(len(self.names), self.minimum, self.maximum)

    @property
    def _told_from(self) -> int:
        """The number of properties so far with which an object begins: told apart from 1 only where that matters."""
        return 0 if self.minimum or self.maximum is not None else 1

    def _tail(self, count: int) -> _Rest:
        """What may come after ``count`` named properties; any number of others may all have one name."""
        least = self.minimum - count
        left = None if self.maximum is None else self.maximum - count
        if self.others == NOTHING or left == 0:
            return _Rest(NOTHING, least <= 0)
        if least > 1:
            return _Rest(NOTHING, False)
        other = sequence(self.others, jt.SPACES)
        rule = f"{self.prefix}.+"
        if left is None:
            self.rules[rule] = sequence(other, optional(sequence(jt.COMMA, Call(rule))))
            return _Rest(Call(rule), least <= 0)
        return _Rest(sequence(other, Repeat(sequence(jt.COMMA, other), 0, left - 1)), least <= 0)

    def _before(self, rest: Mapping[int, _Rest], index: int, name: str, *, required: bool) -> dict[int, _Rest]:
        """What may come from a named property on, for each number of properties before it."""
        most = self._most
        calls: dict[int, Expression] = {}
        text = sequence(jt.string_literal(name), self.rests[name], jt.SPACES)
        if most > 1:
            self.rules[f"{self.prefix}.{index}="] = text
            text = Call(f"{self.prefix}.{index}=")
        for count in range(1, most + 1):
            after = rest[count].after()
            if after != NOTHING:
                rule = f"{self.prefix}.{index}.{count}"
                self.rules[rule] = sequence(text, after)
                calls[count] = Call(rule)
        found: dict[int, _Rest] = {}
        for count, here in rest.items():
            full = self.maximum is not None and count >= self.maximum
            pair = NOTHING if full else calls.get(min(count + 1, most), NOTHING)
            options = [one for one in (pair, NOTHING if required else here.more) if one != NOTHING]
            if len(options) > 1:
                rule = f"{self.prefix}.{index}+{count}"
                self.rules[rule] = choice(options)
                options = [Call(rule)]
            found[count] = _Rest(options[0] if options else NOTHING, here.end and not required)
        return found
