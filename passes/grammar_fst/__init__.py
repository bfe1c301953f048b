"""grammar_fst: grammars over bytes → deterministic pushdown automata, and their token masks."""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import Budget, Grammar, deep_recursion
from chimerac.passes.grammar_fst.determinise import Conflict, Determiniser
from chimerac.passes.grammar_fst.nfa import UNROLLED_NODES, Nfa
from chimerac.passes.grammar_fst.proof import Stuck, stuck
from chimerac.passes.grammar_fst.recursion import prepare
from chimerac.passes.grammar_fst.slots import check_slots
from chimerac.passes.grammar_fst.tables import tables
from chimerac.runtime.bundle_format.fstpack import Automaton

#: What a conflict of counters is tried with: repetitions written out up to so many nodes.
_UNROLLED_AFTER_CONFLICT = 20_000
_MOST_SHOWN = 60  #: characters of an example


@dataclass(frozen=True)
class GrammarFst:
    """The pass; ``minimise`` merges equal states: worth it ahead of time, not for a schema that is used once."""

    minimise: bool = True

    @property
    def name(self) -> str:
        return "grammar_fst"

    def compile(self, grammar: Grammar) -> Automaton:
        """The automaton of a grammar.

        Raises UserError CHM280 for a part that can't be used, CHM282 for a limit, CHM283 for a conflict (with an
        example), CHM284 for left recursion that can't be removed or a grammar without a text.
        """
        return self.compile_with_notes(grammar)[0]

    def compile_with_notes(self, grammar: Grammar) -> tuple[Automaton, tuple[str, ...]]:
        """``compile``, and a sentence for each place where two readings exist and the longer construct was taken.

        There the automaton accepts less than the grammar, never more.
        """
        try:
            with deep_recursion():
                return self._compiled(grammar)
        except RecursionError:
            message = f"the grammar {grammar.name} has parts that are nested too deep, or too many in a row"
            raise UserError("CHM282", message, hint="make it shorter, or repeat one part") from None

    def _compiled(self, grammar: Grammar) -> tuple[Automaton, tuple[str, ...]]:
        budget = Budget(grammar.name)
        prepared, called, lengths = prepare(grammar, budget)
        ways = ""
        for unrolled in (UNROLLED_NODES, _UNROLLED_AFTER_CONFLICT):
            machine = Determiniser(Nfa(prepared, called, dict(lengths), budget, unrolled))
            try:
                start = machine.run()
            except Conflict as conflict:
                ways = _example(machine, conflict)
                if not conflict.counted:
                    break
            else:
                made = tables(prepared, machine.states, start, budget, minimise=self.minimise)
                check_slots(made)
                place = stuck(made)
                if place is not None:
                    raise _endless(grammar, machine, place)
                notes = [_example(machine, c) + "; the former is taken" for c in machine.preferences]
                return made, tuple(notes)
            del machine  # what it holds is not needed beside the next one
        message = f"the grammar {grammar.name} is ambiguous for one stack: {ways}"
        hint = "let the alternatives differ earlier, or write what they share as one rule"
        raise UserError("CHM283", message, hint=hint)


def _endless(grammar: Grammar, machine: Determiniser, place: Stuck) -> UserError:
    """The error for a grammar with texts that can be begun and not ended."""
    shown = place.example.decode("utf-8", "backslashreplace")
    after = repr(shown if len(shown) <= _MOST_SHOWN else "…" + shown[-_MOST_SHOWN:])
    message = f"the grammar {grammar.name} cannot be followed by one stack: after {after} no end can be reached"
    if machine.preferences:
        message += f"; {_example(machine, machine.preferences[0])}"
    return UserError("CHM283", message, hint="let what follows a construct begin otherwise than what can be in it")


def _example(machine: Determiniser, conflict: Conflict) -> str:
    prefix = machine.prefix(conflict.state)
    shown = prefix if len(prefix) <= _MOST_SHOWN else "…" + prefix[-_MOST_SHOWN:]
    byte = conflict.byte
    sign = repr(chr(byte)) if 0x20 <= byte < 0x7F else f"byte 0x{byte:02x}"
    return f"after {shown!r}, {sign} can be {conflict.ways}"
