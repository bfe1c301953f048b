"""Grammars compiled in JavaScript: the same texts as of the compiler in Python, or a refusal."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from grammar_tools import accepts, byte_engine, random_text
from random_grammars import SchemaMaker, random_regex
from same_texts import difference
from web_tools import Server, run_node

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.frontends.grammar.characters import category, of_pattern
from chimerac.frontends.grammar.formats import FORMATS
from chimerac.runtime import bundle_format as bf
from chimerac.runtime import load
from chimerac.runtime.bundle_format.container import parse_container
from chimerac.runtime.bundle_format.fstpack import Automaton, pack_of_container

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")

COMPILER = bf.WEB_DIRECTORY / "compiler.mjs"

#: Sources that are compiled, and what is refused, some of which Python compiles.
TABLE: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "compiled.json").read_text())
SAME = TABLE["same"]
REFUSED = [*TABLE["refused"], {"choices": [f"{number}" for number in range(10_001)]}]


def compiled(sources: list[dict[str, Any]], tmp_path: Path) -> list[Any]:
    """What the compiler in JavaScript makes of each source: an automaton, or the code and the message of an error."""
    (tmp_path / "sources.json").write_text(json.dumps(sources))
    program = f"""
    import {{ readFileSync }} from "node:fs";
    import {{ compileGrammar }} from "{COMPILER.as_uri()}";
    const made = async (source) => {{
      try {{
        return {{ pack: Buffer.from(await compileGrammar(source)).toString("base64") }};
      }} catch (error) {{
        return {{ error: [error.code, error.message ?? String(error)] }};
      }}
    }};
    const found = [];
    for (const source of JSON.parse(readFileSync("sources.json"))) found.push(await made(source));
    console.log(JSON.stringify(found));
    """
    command = ["node", "--input-type=module", "-e", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    return [
        grammar_of(base64.b64decode(one["pack"])) if "pack" in one else one["error"] for one in json.loads(done.stdout)
    ]


def grammar_of(pack: bytes) -> Automaton:
    return pack_of_container(parse_container(pack)).grammars[0]


def pythons(source: dict[str, Any]) -> Automaton | None:
    """Python's automaton; None for a source whose counters it cannot tell apart, written out or united here."""
    try:
        return grammar_of(compile_grammar(**source))
    except UserError as error:
        if error.code != "CHM283" or "a counted repetition" not in error.message:
            raise
        return None


def has_counted_expression(source: Any) -> bool:
    """Whether a string has an expression and a minLength: Python counts, here the ways to the end are known exactly."""
    inner = source.values() if isinstance(source, dict) else source if isinstance(source, list) else ()
    own = isinstance(source, dict) and "minLength" in source and not source.keys().isdisjoint({"pattern", "format"})
    return own or any(map(has_counted_expression, inner))


def check(sources: list[dict[str, Any]], made: list[Any], most: int) -> int:
    """Compare what was compiled; the number of sources that only Python compiles."""
    refused = 0
    for source, found in zip(sources, made, strict=True):
        if isinstance(found, Automaton):
            same = pythons(source)
            if same is None and "schema" in source:
                check_valid(found, source["schema"])
                continue
            if same is None:
                check_matches(found, source["regex"])
                continue
            wrong = difference(found, same, most, nearer=has_counted_expression(source))
            assert wrong is None, f"{source}: {wrong}"
        else:
            assert found[0] == "CHM433", (source, found)
            assert "not compiled in a page yet" in found[1]
            refused += 1
    return refused


def check_valid(found: Automaton, schema: Any) -> None:
    """Texts of an automaton are valid against a schema."""
    engine, generator = byte_engine(found), random.Random(1)
    validator = jsonschema.Draft202012Validator(schema)
    for length in range(60):
        text = random_text(engine, generator, length, b'"[{a01')
        assert accepts(engine, text)
        assert validator.is_valid(json.loads(text)), (schema, text)


def check_matches(found: Automaton, expression: str) -> None:
    """Texts that an automaton takes match, and those that it does not take do not."""
    engine, generator = byte_engine(found), random.Random(1)
    for length in range(60):
        text = random_text(engine, generator, length, b"ab01")
        for other in (text, text[:-1], text + text[:1]):
            try:
                matches = re.fullmatch(expression, other.decode("utf-8")) is not None
            except UnicodeDecodeError:  # cut within a character
                matches = False
            assert accepts(engine, other) == matches, (expression, other)


def test_the_same_texts_as_in_python(tmp_path: Path) -> None:
    assert check(SAME, compiled(SAME, tmp_path), 250) == 0


def test_drawn_sources(tmp_path: Path) -> None:
    """Schemas and expressions as the tests of Python's compiler draw them."""
    sources: list[dict[str, Any]] = []
    for number in range(50):
        sources += [{"schema": SchemaMaker(number).made()[0]}, {"regex": random_regex(random.Random(number))}]
    assert check(sources, compiled(sources, tmp_path), 100) < len(sources) / 2


@pytest.mark.slow
def test_many_drawn_sources(tmp_path: Path) -> None:
    sources: list[dict[str, Any]] = []
    for number in range(1000, 1250):
        sources += [{"schema": SchemaMaker(number).made()[0]}, {"regex": random_regex(random.Random(number))}]
    assert check(sources, compiled(sources, tmp_path), 400) < len(sources) / 2


def test_everything_else_is_refused_with_one_code(tmp_path: Path) -> None:
    made = compiled(REFUSED, tmp_path)
    for source, found in zip(REFUSED, made, strict=True):
        assert not isinstance(found, Automaton), source
        assert found[0] == "CHM433", (source, found)
        assert "not compiled in a page yet; compile it with chimerac.compile_grammar(" in found[1]
    assert made[1][1].startswith("schema at /type: ")


def test_formats_and_classes_are_pythons(server: Server) -> None:
    program = f"""
    import {{ FORMATS }} from "{(bf.WEB_DIRECTORY / "compiler-formats.mjs").as_uri()}";
    import {{ PYTHON_DIGITS, PYTHON_WORD }} from "{(bf.WEB_DIRECTORY / "compiler-classes.mjs").as_uri()}";
    result([FORMATS, PYTHON_DIGITS, PYTHON_WORD]);
    """
    formats, digits, word = run_node(server, program)
    assert formats == FORMATS
    for found, own in ((digits, category("Nd")), (word, of_pattern(r"\w"))):
        points = {point for first, last in found for point in range(first, last + 1)}
        here = {point for first, last in own for point in range(first, last + 1)}
        assert points <= here, "characters keep what they are"
        if unicodedata.unidata_version.startswith("14."):
            assert points == here


#: A schema of so many states that no machine compiles it within a slice.
LONG = """
    const kinds = Array.from({ length: 150 }, (_, kind) => ({
      type: "object", properties: { kind: { const: `kind-${kind}` }, value: { type: "integer", minimum: kind } },
      required: ["kind"], additionalProperties: false,
    }));
    const long = { anyOf: kinds };
"""


def test_compiling_goes_in_slices(server: Server) -> None:
    program = f"""
    import {{ compileGrammar }} from "{COMPILER.as_uri()}";
    {LONG}
    let [turns, ended] = [0, false];
    const turn = () => {{ turns += 1; if (!ended) setImmediate(turn); }};
    turn();
    const plain = Buffer.from(await compileGrammar({{ schema: long }}));
    ended = true;
    const stop = new AbortController();
    setImmediate(() => stop.abort(new Error("enough")));
    const failures = [
      await failure(compileGrammar({{ schema: long }}, {{ signal: stop.signal }})),
      await failure(compileGrammar({{ schema: true }}, {{ signal: AbortSignal.abort(new Error("before")) }})),
      await failure(compileGrammar({{ schema: long }}, {{ timeout: 0 }})),
      await failure(compileGrammar({{ schema: long }}, {{ timeout: -1 }})),
      await failure(compileGrammar({{ schema: long }}, {{ budget: 1 }})),
    ];
    result([turns, failures, plain.equals(Buffer.from(await compileGrammar({{ schema: long }})))]);
    """
    turns, failures, same = run_node(server, program)
    assert turns > 3
    assert [message for _, message in failures[:2]] == ["enough", "before"]
    assert [code for code, _ in failures[2:]] == ["CHM433", "CHM420", "CHM420"]
    assert failures[2][1].startswith("a schema that takes more than 0 ms to compile: not compiled in a page yet")
    assert same


def test_a_generation_is_stopped_while_its_schema_is_compiled(server: Server) -> None:
    """In a worker and in the caller's thread; the model answers afterwards, and knows no half of a grammar."""
    program = f"""
    {LONG}
    const circle = {{ type: "array" }};
    circle.items = circle;
    const made = [];
    for (const worker of [false, true]) {{
      const model = await Chimera.load(url, {{ worker }});
      const stop = new AbortController();
      const begun = model.generate("go", {{ schema: long, signal: stop.signal }}).next();
      setTimeout(() => stop.abort(new Error("enough")), 1);
      const [, why] = await failure(begun);
      const [code, message] = await failure(model.generate("go", {{ schema: circle }}).next());
      const generation = model.generate("go", {{ schema: {{ const: "yes" }}, maxTokens: 9 }});
      for await (const piece of generation);
      const disposed = failure(model.generate("go", {{ schema: long }}).next());
      await model.dispose();
      made.push([why, code, message.split(":")[0], (await generation.result).text.trim(), (await disposed)[0]]);
    }}
    result(made);
    """
    for one in run_node(server, program):
        assert one == ["enough", "CHM420", "schema is no JSON", '"yes"', "CHM421"]


def test_generations_follow_sources(server: Server, toy: Any) -> None:
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 2}
    sources: dict[str, Any] = {
        "schema": {"type": "object", "properties": {"a": numbers}, "required": ["a"]},
        "regex": r"[A-Z]{3}-\d{4}",
        "choices": ["left", "right", "straight on"],
    }
    wrong = [
        *({"schema": "a"}, {"choices": []}, {"choices": ["a", ""]}, {"regex": 5}, {"regex": "a", "grammar": "none"}),
        {"regex": "a("},
    ]
    options: dict[str, Any] = {"temperature": 1.3, "seed": 5}
    with load(toy.folder) as session:
        expected = [
            "".join(
                map(str, session.generate("go", grammar=compile_grammar(**{name: source}), max_tokens=60, **options))
            )
            for name, source in sources.items()
        ]
    found = run_node(
        server,
        f"""
        const sources = {json.dumps(sources)};
        const given = {json.dumps(wrong)};
        const texts = async (options) => {{
          const model = await Chimera.load(url, options);
          const made = [];
          for (const name of [...Object.keys(sources), ...Object.keys(sources)]) {{
            const settings = {{ maxTokens: 60, temperature: 1.3, seed: 5 }};
            const generation = model.generate("go", {{ [name]: sources[name], ...settings }});
            for await (const piece of generation);
            made.push((await generation.result).text);
          }}
          const wrong = [];
          for (const one of given) wrong.push(await failure(model.generate("go", {{ ...one, maxTokens: 9 }}).next()));
          await model.dispose();
          return {{ made, wrong }};
        }};
        result([await texts({{ worker: false }}), await texts({{}})]);
        """,
    )
    for one in found:
        assert one["made"] == [*expected, *expected]
        assert [code for code, _ in one["wrong"]] == ["CHM420"] * 5 + ["CHM433"]
        assert one["wrong"][4][1] == "grammar and regex exclude each other"
