"""Grammars made to be large: refused or read in little time and memory, to which the system holds the process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from limited import MEMORY, answer, outcomes

from chimerac.compiler.errors import UserError


def wide(count: int, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"property_{i}": {"type": "integer"} for i in range(count)}, **more}


def doubled(times: int) -> Any:
    """A schema of few objects that has 2 to the power of ``times`` paths."""
    schema: Any = {"type": "string"}
    for _ in range(times):
        schema = {"anyOf": [schema, schema]}
    return schema


def chain(count: int, link: Callable[[str], Any]) -> dict[str, Any]:
    return {"$ref": "#/$defs/0", "$defs": {str(i): link(f"#/$defs/{i + 1}") for i in range(count)} | {str(count): {}}}


SCHEMAS: dict[str, Callable[[], Any]] = {
    "itself": lambda: {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    "itself in all": lambda: {"allOf": [{"$ref": "#"}, {"type": "null"}]},
    "itself in each": lambda: {"anyOf": [{"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}, True]}]},
    "2,000 optional": lambda: wide(2000),
    "25,000 properties": lambda: wide(25_000),
    "12 x anyOf": lambda: {"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(12)]},
    "30 x anyOf": lambda: {"allOf": [{"anyOf": [{"minimum": i}, {"maximum": -i}]} for i in range(30)]},
    "30 x if": lambda: {"allOf": [{"if": {"required": [f"a{i}"]}, "then": {"required": [f"b{i}"]}} for i in range(30)]},
    "contradiction at last": lambda: {
        "type": "object",
        "properties": {"z": {"const": 1}},
        "required": ["z"],
        "allOf": [{"anyOf": [{"properties": {f"a{i}": {}}}, {"properties": {f"b{i}": {}}}]} for i in range(30)]
        + [{"anyOf": [{"properties": {"z": {"const": 2}}}, {"properties": {"z": {"const": 3}}}]}],
    },
    "no property": lambda: {"if": {"properties": {f"a{i}": {"const": 1} for i in range(20_000)}}, "then": False},
    "dependent": lambda: {"type": "object", "dependentSchemas": {f"a{i}": {} for i in range(20_000)}},
    "paths": lambda: doubled(60),
    "oneOf": lambda: {"oneOf": [{"minimum": i, "maximum": i + 0.5, "type": "number"} for i in range(300)]},
    "references": lambda: chain(3000, lambda name: {"$ref": name}),
    "properties in a row": lambda: chain(3000, lambda name: {"properties": {"x": {"$ref": name}}}),
    "values": lambda: {"enum": list(range(10_000)), "anyOf": [{"minimum": i} for i in range(1000)]},
    "objects": lambda: {"enum": [{"a": i, "b": [i] * 5} for i in range(5000)]},
    "pattern": lambda: {"type": "string", "pattern": "(a|b)*a(a|b){20}", "maxLength": 50},
    "patterns": lambda: {"patternProperties": {f"^a{{{i}}}$": {} for i in range(300)}},
    "tuple": lambda: {"prefixItems": [{"type": "integer"}] * 20_000},
    "long number": lambda: '{"maximum":' + "9" * 900_000 + "}",
    "brackets": lambda: "[" * 500_000,
    "braces": lambda: '{"items":' * 100_000,
    "numbers": lambda: "[" + "1," * 500_000 + "1]",
    "quotes": lambda: '"' + '\\"' * 500_000,
    "keys": lambda: "{" + '"a":1,' * 100_000 + '"b":1}',
    "too long": lambda: " " * (1 << 21),
}
EXPRESSIONS: dict[str, Callable[[], str]] = {
    "letters": lambda: "a" * 1_000_000,
    "stars": lambda: ".*" * 500_000,
    "short stars": lambda: ".*" * 30_000,
    "optional": lambda: "(?:a?){1000}" * 20,
    "repetitions": lambda: "(?:" * 255 + "a" + "){1,9}" * 255,
    "brackets": lambda: "(" * 60_000,
    "classes": lambda: r"[\w]" * 8000,
    "other classes": lambda: "".join(f"[\\w{chr(0x4E00 + i)}]" for i in range(8000)),
    "options": lambda: "|".join("a" * i for i in range(300)),
    "look-ahead": lambda: "(?!.*a.{15}b)[ab]*",
    "empty": lambda: "(?:" * 60 + "a?b?" + "){9}" * 60,
    "bounds": lambda: "a{" + "9" * 60_000 + "}",
}
LARKS: dict[str, Callable[[], str]] = {
    "choices": lambda: "start: " + '("a"|"b") ' * 20,
    "repetitions": lambda: 'start: ("a"|"b")~1..40',
    "options": lambda: "start: " + '["a"] ' * 18,
    "templates": lambda: 'start: a{"x"}\na{x}: a{b{x}} | x\nb{x}: x x',
    "many templates": lambda: (
        'start: a0{"x"}\na20{x}: x\n'
        + "".join(f"a{i}{{x}}: a{i + 1}{{x}} a{i + 1}{{b{{x}}}}\n" for i in range(20))
        + "b{x}: x x"
    ),
    "terminals": lambda: "start: A0\n" + "".join(f"A{i}: A{i + 1} A{i + 1}\n" for i in range(40)) + 'A40: "a"',
    "brackets": lambda: "start: " + "(" * 30_000,
    "long": lambda: "start: A\nA: /" + "a" * 60_000 + "/",
    "itself": lambda: "start: start",
}


def read(kind: str, name: str, compiled: bool = False) -> str:
    """Read one source, and compile it; the code of the error that refuses it, or ""."""
    from chimerac.frontends.grammar.lark_files import lark_grammar
    from chimerac.frontends.grammar.regex import regex_grammar
    from chimerac.frontends.grammar.schema import schema_grammar
    from chimerac.passes.grammar_fst import GrammarFst

    try:
        if kind == "schema":
            grammar = schema_grammar(SCHEMAS[name]())
        elif kind == "regex":
            grammar = regex_grammar(EXPRESSIONS[name]())
        else:
            grammar = lark_grammar(LARKS[name]())
        if compiled:
            GrammarFst().compile(grammar)
    except UserError as error:
        return error.code
    return ""


def child(compiled: bool) -> None:
    """Read the sources that the test asks for."""
    for kind, name in (("schema", "itself"), ("regex", "empty"), ("lark", "itself")):
        read(kind, name, True)  # imports
    answer(lambda kind, name: read(kind, name, compiled), 2 * MEMORY if compiled else MEMORY)


#: What is small after all, and read.
ACCEPTED = {
    *(("schema", name) for name in ("itself", "itself in each", "objects", "tuple", "2,000 optional")),
    *(("regex", name) for name in ("optional", "repetitions", "classes", "empty")),
    ("lark", "itself"),
}
#: What of that is refused when it is compiled: too large, of two readings, without an end.
TOO_LARGE = {
    *(("schema", name) for name in ("objects", "tuple")),
    *(("regex", name) for name in ("optional", "repetitions", "classes", "empty")),
    ("lark", "itself"),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_nothing_takes_much_time_or_memory() -> None:
    sources = [("schema", name) for name in SCHEMAS]
    sources += [("regex", name) for name in EXPRESSIONS] + [("lark", name) for name in LARKS]
    found = outcomes(__file__, sources)
    assert {case for case, code in found.items() if not code} == ACCEPTED
    assert set(found.values()) == {"", "CHM280", "CHM281", "CHM282"}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_what_can_be_read_compiles_or_is_refused() -> None:
    found = outcomes(__file__, sorted(ACCEPTED), "compiled")
    assert {case for case, code in found.items() if code} == TOO_LARGE
    assert {found[case] for case in TOO_LARGE} <= {"CHM282", "CHM283", "CHM284"}


if __name__ == "__main__":
    child("compiled" in sys.argv)
