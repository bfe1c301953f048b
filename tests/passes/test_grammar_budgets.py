"""Grammars that are small to write and large to compile are refused before the work is done, or compiled in no time."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap

import pytest

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import NODES, WORK, Budget, Grammar, Literal, Repeat
from chimerac.passes.grammar_fst import GrammarFst

_MEGABYTES = 256
_CPU_SECONDS = 60  #: of all together, on a machine that does something else, too

_BOMBS = """
import resource, sys
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import Call, Concat, Grammar, Literal, Repeat, byte_set, choice, optional, sequence
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.regex import regex_grammar
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.passes.grammar_fst import GrammarFst

a, ab = Literal(b"a"), byte_set(b"ab")
doubled = {f"r{i}": Concat((Call(f"r{i + 1}"), Call(f"r{i + 1}"))) for i in range(30)} | {"r30": a}
powers = a
for _ in range(12):
    powers = Repeat(powers, 1, 4)
names = [Literal(b"%d" % i) for i in range(2000)]
optionals = sequence(*(optional(name) for name in names))
bombs = {
    "literal": {"start": Literal(b"ab" * 500_000)},
    "doubled": {"start": Call("r0"), **doubled},
    "powers": {"start": powers},
    "subsets": {"start": Concat((Repeat(ab, 0, None), a, Repeat(ab, 17, 17)))},
    "stars": {"start": Concat((Repeat(Repeat(ab, 0, None), 0, None),) * 5000)},
    "optionals": {"start": optionals},
    "repeated optionals": {"start": Repeat(optionals, 0, None)},
    "counted twice": {"start": Concat((Repeat(ab, 1, 9000), Repeat(ab, 1, 9000), a))},
}
names = {f"property_{i}": {"type": "integer"} for i in range(2000)}
left_out = {"type": "object", "properties": names, "additionalProperties": False}
words = [f"value {i:05d} of many" for i in range(10_000)]
turns = "start: (x x x)+ T\\nx: x (T x)? | [T ((x | T T) x T | x x x)]\\nT: \\"b\\""
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, rules in bombs.items():
    bombs[name] = lambda name=name, rules=rules: Grammar(name, rules)
bombs["names left out"] = lambda: schema_grammar(left_out)
bombs["names required"] = lambda: schema_grammar({**left_out, "required": list(names)})
bombs["words"] = lambda: schema_grammar({"enum": words})
bombs["numbers"] = lambda: schema_grammar({"enum": list(range(10_000))})
bombs["turns"] = lambda: lark_grammar(turns)
for name, make in bombs.items():
    try:
        GrammarFst(minimise=False).compile(make())
        print("compiled", name)
    except UserError as error:
        print(error.code, name)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


#: How each of them ends.
_ENDS = {
    **dict.fromkeys(("literal", "doubled", "powers", "subsets", "optionals", "repeated optionals"), "CHM282"),
    **dict.fromkeys(("counted twice", "turns"), "CHM282"),
    **dict.fromkeys(("stars", "names left out", "names required", "words", "numbers"), "compiled"),
}


@pytest.mark.slow
def test_bombs_are_refused_within_bounds_of_time_and_memory() -> None:
    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))

    command = [sys.executable, "-c", textwrap.dedent(_BOMBS)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limits, check=False)
    assert done.returncode == 0, done.stderr
    *lines, megabytes = done.stdout.splitlines()
    assert {name: how for how, name in (line.split(" ", 1) for line in lines)} == _ENDS
    assert int(megabytes) < _MEGABYTES


def test_a_budget_names_what_is_used_up() -> None:
    budget = Budget("g", nodes=3, work=10)
    budget.use(NODES, 3)
    budget.use(WORK, 10)
    for what, limit in ((NODES, "3 nodes"), (WORK, "10 steps of work")):
        with pytest.raises(UserError, match=f"the grammar g is too large: over {limit}") as caught:
            budget.use(what, 1)
        assert caught.value.code == "CHM282"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"start": Literal(b"ab" * 100_000)}, "over 150,000 nodes"),
        ({"start": Literal(b"ab" * 25_000)}, "more than 40,000 states"),
    ],
)
def test_limits_are_named(rules: dict[str, object], says: str) -> None:
    grammar = Grammar("g", {**rules, "r": Repeat(Literal(b"x"), 1, 3)})  # type: ignore[dict-item]
    with pytest.raises(UserError, match=says) as caught:
        GrammarFst().compile(grammar)
    assert caught.value.code == "CHM282"
