"""Terminals of Lark as expressions over bytes: each alone, and with what ``%ignore`` takes between them.

Lark's dynamic lexer looks for terminals with Python's ``re``, so a terminal means the texts that ``re`` prefers
(``of_matches``). An ignored one takes as much as it can: ``#[^\\n]*`` never ends before the end of its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir import grammar as ir
from chimerac.compiler.ir.grammar import Expression
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.budget import shown
from chimerac.frontends.grammar.character_dfa import CharacterDfa, graph_of, of_matches, of_regex, starting
from chimerac.frontends.grammar.characters import CharSet
from chimerac.frontends.grammar.regex_tree import Regex, to_expression

_WHITESPACE: Final = ch.single(" \t\r\n\f\v")


@dataclass(frozen=True)
class Terminal:
    """A terminal: the automaton of its texts, and their expression."""

    name: str
    dfa: CharacterDfa
    expression: Expression

    @property
    def first(self) -> CharSet:
        """The characters that it may begin with."""
        return ch.char_set((first, last) for first, last, _ in self.dfa.moves[0])

    @property
    def further(self) -> CharSet:
        """The characters with which a text of it may go on."""
        ends = [row for row, final in zip(self.dfa.moves, self.dfa.final, strict=True) if final]
        return ch.char_set((first, last) for row in ends for first, last, _ in row)

    @property
    def alphabet(self) -> CharSet:
        """The characters in it."""
        return ch.char_set((first, last) for row in self.dfa.moves for first, last, _ in row)

    @property
    def by_sign(self) -> bool:
        """Whether the next character alone tells that a text of it goes on, and all that go on so are texts of it."""
        rows = [row for row, final in zip(self.dfa.moves, self.dfa.final, strict=True) if final]
        sets = {ch.char_set((first, last) for first, last, _ in row) for row in rows}
        return len(sets) <= 1 and all(self.dfa.final[target] for row in rows for _, _, target in row)

    def skips(self, chars: CharSet) -> bool:
        """Whether it means the same with some of these characters before it or without."""
        return all(
            target == 0 for first, last, target in self.dfa.moves[0] if ch.intersection(((first, last),), chars)
        ) and not ch.difference(chars, self.first)


def terminal(name: str, tree: Regex) -> Terminal:
    """The terminal of an expression without anchors."""
    matches = of_matches(tree)
    if matches is None:
        return Terminal(name, of_regex(tree), to_expression(tree))
    return Terminal(name, matches, graph_of(matches))


@dataclass(frozen=True)
class Ignored:
    """What ``%ignore`` means: what may stand ``between`` terminals, their expressions, and what may end a text."""

    between: Expression
    terminals: Mapping[str, Expression]
    end: Expression


def ignored(known: Mapping[str, Terminal], names: Sequence[str], used: Set[str]) -> Ignored:
    """What ignoring the terminals of some names means where those of ``used`` are meant.

    Raises UserError CHM280 where more than the next character tells how much is ignored.
    """
    plain = {name: terminal.expression for name, terminal in known.items()}
    if not names:
        return Ignored(ir.EMPTY, plain, ir.EMPTY)
    taken = [known[name] for name in dict.fromkeys(names)]
    meant = [terminal for name, terminal in known.items() if name in used]
    greedy = [one for one in taken if _greed_matters(one, meant, taken)]
    chunks = [_space(one) for one in taken if one not in greedy]
    for one in greedy:
        _check(one, greedy)
        for other in taken:
            rest = None if other in greedy else _after(one, other)
            if rest is not None:
                chunks.append(ir.sequence(_space(one), _space(rest, needed=True)))
        for terminal in meant:
            rest = _after(one, terminal)
            if rest is not None:
                with_it = ir.sequence(_space(one), rest.expression)
                plain[terminal.name] = ir.choice([plain[terminal.name], with_it])
    end = ir.optional(ir.choice([_space(one) for one in greedy])) if greedy else ir.EMPTY
    return Ignored(ir.star(ir.choice(chunks)) if chunks else ir.EMPTY, plain, end)


def _greed_matters(one: Terminal, meant: Sequence[Terminal], taken: Sequence[Terminal]) -> bool:
    """Whether something else could begin with what an ignored terminal takes because it takes as much as it can."""
    if any(ch.intersection(terminal.first, one.further) for terminal in meant):
        return True
    # what two of the ignored make of a text is theirs as well if each takes as much as it can
    return not all(
        not ch.intersection(other.first, one.further)
        or (one.by_sign and (not ch.difference(other.alphabet, one.further) or other.skips(one.further)))
        for other in taken
    )


def _check(one: Terminal, greedy: Sequence[Terminal]) -> None:
    wrong = not one.by_sign or any(_after(one, other) is not None for other in greedy)
    if wrong:
        raise UserError(
            "CHM280",
            f"what %ignore {shown(one.name)[1:-1]} takes cannot be told from the next character",
            hint="end it with a sign of its own, such as the newline, or let nothing else begin with its characters",
        )


def _after(one: Terminal, other: Terminal) -> Terminal | None:
    """A terminal with the texts that can come after one that takes as much as it can; None if there are none."""
    if not ch.intersection(other.first, one.further):
        return other
    rest = starting(other.dfa, ch.inverted(one.further))
    return None if rest.empty else Terminal(other.name, rest, graph_of(rest))


def _space(terminal: Terminal, *, needed: bool = False) -> Expression:
    """An ignored terminal; whitespace that a text can do without counts towards the cap.

    Args:
        terminal: of whitespace alone, or it counts nothing.
        needed: that it has to come where it stands, so that the cap must let its first character pass.
    """
    if ch.difference(terminal.alphabet, _WHITESPACE):
        return terminal.expression
    # within a text that can't end yet the next character is needed, too: the newline after a carriage return
    wanted = [needed, *(not final for final in terminal.dfa.final[1:])]
    if not any(wanted):
        return ir.Space(terminal.expression)
    graph = graph_of(terminal.dfa)
    assert isinstance(graph, ir.Graph)
    steps = [
        listed if must else tuple((ir.Space(item), target) for item, target in listed)
        for listed, must in zip(graph.steps, wanted, strict=True)
    ]
    return ir.Graph(tuple(steps), graph.final)
