"""Random schemas with values that they allow, random regular expressions, random grammars in Lark's notation."""

from __future__ import annotations

import random
from typing import Any

#: Patterns, each with strings that it matches.
_PATTERNS = {
    "^[a-z]+$": ["a", "abc", "zzzzzzzzzz"],
    "^(abc)*$": ["", "abc", "abcabc", "abcabcabc"],
    "^[^\\n]*$": ["", "x", "é – 漢字", "long enough for most"],
    "^[A-Z]{2}-[0-9]{1,4}$": ["AB-1", "XY-1234"],
    "b": ["b", "abc", "bbb", "aaaaaaaab"],
    "^(a|bb)+c?$": ["a", "bb", "abbac", "aaaaa"],
    "^(x|yz)(é|漢)*$": ["x", "yz", "xé", "yzé漢é"],
    "^.{3,}z$": ["abcz", "zzzz", "éééééz"],
}
_FORMATS = {
    "date": ["2024-02-29", "1999-12-31"],
    "ipv4": ["127.0.0.1", "255.255.255.255"],
    "email": ["a@b.de", "first.last@example.org"],
    "uuid": ["12345678-1234-1234-1234-123456789abc"],
    "uri": ["http://a.b/c", "mailto:x", "urn:a:b"],
}
_NAMES = ["a", "b", "ab", "name", "named", "x y", "é", "key0", "key1", "_"]
_WORDS = ["", "a", "b", "yes", "no", "déjà", 'q"q', "\\", "\n"]

Made = tuple[Any, Any]  #: a schema and a value that it allows


class SchemaMaker:
    """Makes schemas of keywords that are supported; a value is made with each, so that none contradicts itself."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)

    def made(self) -> Made:
        """A schema and a value."""
        if self.random.random() < 0.15:
            return self._recursive()
        return self._value(self.random.randint(1, 3))

    def _recursive(self) -> Made:
        r = self.random
        inner, value = self._value(1)
        least = r.randint(0, 2)
        children: dict[str, Any] = {
            "type": "array",
            "items": {"$ref": "#/$defs/n"},
            "maxItems": least + r.randint(0, 3),
        }
        if r.random() < 0.5:
            children["minItems"] = least
            node: dict[str, Any] = {"anyOf": [{"$ref": "#/$defs/leaf"}, children]}
            leaf = {"type": "object", "properties": {"v": inner}, "required": ["v"], "additionalProperties": False}
            tree: Any = {"v": value}
            for _ in range(r.randint(0, 2)):
                tree = [tree] * max(1, least) if children["maxItems"] else tree
            return {"$ref": "#/$defs/n", "$defs": {"n": node, "leaf": leaf}}, tree
        node = {
            "type": "object",
            "properties": {"v": inner, "c": children},
            "required": ["v"],
            "additionalProperties": False,
        }
        tree = {"v": value}
        if children["maxItems"]:
            tree = {"v": value, "c": [tree]}
        return {"$ref": "#/$defs/n", "$defs": {"n": node}}, tree

    def _value(self, depth: int) -> Made:
        r = self.random
        simple = [self._string, self._string, self._integer, self._number, self._fixed, self._any]
        deep = [self._array, self._array, self._object, self._object, self._tuple, self._either]
        if depth and r.random() < 0.75:
            return r.choice(deep)(depth - 1)
        return r.choice(simple)()

    def _string(self) -> Made:
        r = self.random
        schema: dict[str, Any] = {"type": "string"}
        value = r.choice(_WORDS)
        kind = r.random()
        if kind < 0.35:
            schema["pattern"] = r.choice(list(_PATTERNS))
            value = r.choice(_PATTERNS[schema["pattern"]])
        elif kind < 0.5:
            schema["format"] = r.choice(list(_FORMATS))
            value = r.choice(_FORMATS[schema["format"]])
        if r.random() < 0.4:
            schema["minLength"] = r.randint(0, len(value))
        if r.random() < 0.4:
            schema["maxLength"] = len(value) + r.choice([0, 0, 1, 2, 5, 40, 300, 3000])
        return schema, value

    def _integer(self) -> Made:
        r = self.random
        value = r.choice([0, 1, -1, 7, 12, -305, 10**6, 99_999])
        schema: dict[str, Any] = {"type": "integer"}
        if r.random() < 0.5:
            schema["minimum"] = value - r.choice([0, 1, 10, 12345])
        if r.random() < 0.5:
            schema["maximum"] = value + r.choice([0, 1, 10, 12345])
        if r.random() < 0.2 and value:
            schema["multipleOf"] = r.choice([d for d in (1, 2, 3, 5, 7, 10) if value % d == 0])
        return schema, value

    def _number(self) -> Made:
        r = self.random
        value = r.choice([0.5, 1.25, -3.75, 2.0, 100.0])
        schema: dict[str, Any] = {"type": "number"}
        if r.random() < 0.3:
            schema["minimum"] = value - r.choice([0, 0.5, 7])
        if r.random() < 0.3:
            schema["exclusiveMaximum"] = value + r.choice([0.25, 1, 50])
        return schema, value

    def _fixed(self) -> Made:
        r = self.random
        values = r.sample([*_WORDS, 1, -2, 2.5, None, True, [1, "x"], {"a": None}], r.randint(1, 4))
        if len(values) == 1:
            return {"const": values[0]}, values[0]
        return {"enum": values}, r.choice(values)

    def _any(self) -> Made:
        return self.random.choice(
            [({"type": "boolean"}, True), ({"type": "null"}, None), ({}, {"k": [1]}), (True, "s")]
        )

    def _bounds(self, schema: dict[str, Any], size: int, least: str, most: str) -> None:
        r = self.random
        if r.random() < 0.7:
            schema[least] = r.randint(0, size)
        if r.random() < 0.6:
            schema[most] = size + r.choice([0, 0, 1, 3, 50, 900])

    def _array(self, depth: int) -> Made:
        schema, value = self._value(depth)
        size = self.random.choice([0, 1, 2, 2, 3, 3, 5])
        made: dict[str, Any] = {"type": "array", "items": schema}
        self._bounds(made, size, "minItems", "maxItems")
        return made, [value] * size

    def _tuple(self, depth: int) -> Made:
        r = self.random
        items = [self._value(depth) for _ in range(r.randint(1, 3))]
        made: dict[str, Any] = {"type": "array", "prefixItems": [schema for schema, _ in items]}
        value = [v for _, v in items]
        if r.random() < 0.5:
            made["items"] = False
        else:
            made["items"], more = self._value(0)
            value += [more] * r.randint(0, 3)
        self._bounds(made, len(value), "minItems", "maxItems")
        return made, value

    def _object(self, depth: int) -> Made:
        r = self.random
        names = r.sample(_NAMES, r.randint(0, 4))
        made = {name: self._value(depth) for name in names}
        schema: dict[str, Any] = {"type": "object", "properties": {name: s for name, (s, _) in made.items()}}
        required = [name for name in names if r.random() < 0.5]
        value = {name: v for name, (_, v) in made.items() if name in required or r.random() < 0.5}
        if required:
            schema["required"] = required
        if r.random() < 0.6:
            schema["additionalProperties"] = False
        elif r.random() < 0.5:
            schema["additionalProperties"], more = self._value(0)
            value["zz"] = more
        return schema, value

    def _either(self, depth: int) -> Made:
        made = [self._value(depth) for _ in range(self.random.randint(2, 3))]
        return {"anyOf": [schema for schema, _ in made]}, self.random.choice(made)[1]


def random_regex(generator: random.Random, depth: int = 3) -> str:
    """A regular expression of Python, with long repetitions now and then."""
    if not depth or generator.random() < 0.2:
        return generator.choice(["a", "b", "ab", "[ab]", "[^a]", "é", "[à-ü]", "\\d", "."])
    kind = generator.random()
    inner = [random_regex(generator, depth - 1) for _ in range(generator.randint(2, 3))]
    if kind < 0.4:
        return "".join(inner)
    if kind < 0.65:
        return f"(?:{'|'.join(inner)})"
    times = generator.choice(["*", "+", "?", "{3}", "{2,5}", "{40,}", "{1,300}", "{7,2000}"])
    return f"(?:{inner[0]}){times}"


def random_lark(generator: random.Random) -> str:
    """A grammar in Lark's notation whose rules call each other at will."""
    names = ["start", "x", "y", "z"][: generator.randint(1, 4)]

    def part(depth: int) -> str:
        kind = generator.random()
        if kind < 0.45 or not depth:
            return generator.choice(['"a"', '"b"', '"("', '")"', '","', '"ab"', "/[cd]/", "/e{1,90}/"])
        if kind < 0.75:
            return generator.choice(names)
        if kind < 0.85:
            return f"({part(depth - 1)} | {part(depth - 1)})"
        if kind < 0.92:
            return f'"(" {part(depth - 1)} ")"'
        return f"({part(depth - 1)}){generator.choice(['*', '+', '?', '~3..40'])}"

    rules = []
    for name in names:
        options = [" ".join(part(2) for _ in range(generator.randint(1, 3))) for _ in range(generator.randint(1, 3))]
        options.append(generator.choice(['"f"', '"g"', '"(" ")"']))
        rules.append(f"{name}: {' | '.join(options)}")
    return "\n".join([*rules, *(['%ignore " "'] if generator.random() < 0.2 else [])])
