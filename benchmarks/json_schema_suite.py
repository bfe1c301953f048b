"""The official JSON Schema test suite against compiled schemas: ``python benchmarks/json_schema_suite.py SDIST``.

SDIST is the source package of jsonschema (``pip download --no-deps --no-binary :all: jsonschema``).
Prints a row for each file: values judged as the suite does, values judged otherwise, and refused schemas.
"""

from __future__ import annotations

import itertools
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine

BYTES = [bytes([byte]) for byte in range(256)]
VOCABULARY = vocabulary_of(BYTES)
FOLDER = "json/tests/draft2020-12/"
MOST_ORDERS = 200


def orders(value: Any) -> Iterator[Any]:
    """A value with the properties of its objects in every order: a grammar wants the schema's."""
    if isinstance(value, dict):
        for keys in itertools.permutations(value):
            for items in itertools.product(*(list(itertools.islice(orders(value[key]), 24)) for key in keys)):
                yield dict(zip(keys, items, strict=True))
    elif isinstance(value, list):
        yield from map(list, itertools.product(*(list(itertools.islice(orders(item), 24)) for item in value)))
    else:
        yield value


def accepted(engine: GrammarEngine, value: Any) -> bool:
    """Whether the grammar has a value in some order of its properties."""
    for order in itertools.islice(orders(value), MOST_ORDERS):
        text = json.dumps(order, ensure_ascii=False).encode("utf-8", "surrogatepass")
        at = engine.feed(engine.start(), text)
        if at is not None and engine.complete(at):
            return True
    return False


def judge(cases: list[dict[str, Any]], name: str) -> Counter[str]:
    """Counts for one file of the suite; what differs goes to standard error."""
    counts: Counter[str] = Counter()
    for case in cases:
        try:
            automaton = GrammarFst(minimise=False).compile(schema_grammar(case["schema"]))
        except UserError as error:
            # CHM284: no value is valid, which is right if the suite has none
            right = error.code == "CHM284" and not any(test["valid"] for test in case["tests"])
            counts["agrees" if right else "refused"] += len(case["tests"]) if right else 1
            continue
        engine = GrammarEngine(automaton, VOCABULARY, BYTES)
        for test in case["tests"]:
            agrees = accepted(engine, test["data"]) == test["valid"]
            counts["agrees" if agrees else "differs"] += 1
            if not agrees:
                print(f"{name}: {case['description']}: {test['description']}", file=sys.stderr)
    return counts


def main(path: str) -> None:
    """Judge every file of the suite in a source package."""
    print(f"{'file':24}{'agrees':>8}{'differs':>8}{'refused':>8}")
    total: Counter[str] = Counter()
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            _, _, name = member.name.partition(FOLDER)
            if not name.endswith(".json") or "/" in name:
                continue
            file = archive.extractfile(member)
            assert file is not None
            counts = judge(json.load(file), name)
            total += counts
            print(f"{name[:-5]:24}{counts['agrees']:8}{counts['differs']:8}{counts['refused']:8}")
    print(f"{'all':24}{total['agrees']:8}{total['differs']:8}{total['refused']:8}")


if __name__ == "__main__":
    main(sys.argv[1])
