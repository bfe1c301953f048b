"""The language of a regular expression with look-ahead and with anchors inside: as an automaton over characters."""

from __future__ import annotations

import functools
import itertools
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.budget import Budget
from chimerac.frontends.grammar.character_dfa import CharacterDfa, both, complement, either, of_regex, of_texts
from chimerac.frontends.grammar.regex_tree import (
    ANYTHING,
    Anchor,
    Chars,
    Either,
    Join,
    Look,
    Regex,
    Times,
    nullable,
    special,
    stripped,
)

#: Repetitions that are written out where what is repeated looks ahead.
_MOST_COPIES: Final = 8
#: States of all automata that are made on the way to that of one expression.
_MOST_STATES: Final = 20_000


def language(tree: Regex, *, search: bool) -> Regex | CharacterDfa:
    """The texts that an expression matches as a whole, or in which it is found: a tree without anchors if that can be.

    Raises UserError CHM280 for an anchor or a look-ahead that is repeated, CHM282 for a limit.
    """
    plain = stripped(tree, search=search)
    if special(plain) is None:
        return plain
    budget = Budget("the regular expression with anchors or look-ahead inside", work=_MOST_STATES)
    if not search:
        return _before(tree, _nothing(), budget, begin=True)
    later = _before(tree, _anything(), budget, begin=False)
    # a match at the begin of the text, or after something
    return either(_before(tree, _anything(), budget, begin=True), of_regex(Times(Chars(ch.ALL), 1, None), later))


def automaton(found: Regex | CharacterDfa) -> CharacterDfa:
    """What ``language`` found as an automaton."""
    return found if isinstance(found, CharacterDfa) else of_regex(found)


@functools.cache
def _nothing() -> CharacterDfa:
    return of_texts([""])


@functools.cache
def _anything() -> CharacterDfa:
    return of_regex(ANYTHING)


def _before(tree: Regex, after: CharacterDfa, budget: Budget, *, begin: bool) -> CharacterDfa:
    """The texts that the tree begins and ``after`` goes on; ``begin`` tells that nothing stands before the tree."""
    budget.spend(len(after.moves))
    if special(tree) is None:
        return of_regex(tree, after)
    match tree:
        case Anchor("^"):
            return after if begin else complement(_anything())
        case Anchor(sign):
            return both(after, of_texts(["", "\n"] if sign == "n" else [""]))
        case Look(item, negative):
            inner = _before(item, _anything(), budget, begin=begin)
            return both(after, complement(inner) if negative else inner)
        case Join(parts):
            return _joined(parts, after, budget, begin=begin)
        case Either(options):
            return functools.reduce(either, [_before(option, after, budget, begin=begin) for option in options])
        case Times(item, minimum, maximum) if maximum is not None and maximum <= _MOST_COPIES:
            if maximum == 1 or not (begin and _begins(item)):
                last = after
                for count in range(maximum):
                    taken = _before(item, after, budget, begin=begin and maximum == 1)
                    after = taken if count >= maximum - minimum else either(taken, last)
                return after
    wrong = special(tree)
    assert wrong is not None
    raise UserError("CHM280", "regular expression: an anchor or a look-ahead is repeated", span=wrong.span)


def _joined(parts: tuple[Regex, ...], after: CharacterDfa, budget: Budget, *, begin: bool) -> CharacterDfa:
    # what stands between the special parts is one step, or each of its characters would cost all that follows
    parts = tuple(
        part
        for plain, group in itertools.groupby(parts, lambda part: special(part) is None)
        for part in ([Join(tuple(group))] if plain else group)
    )
    begins = []
    for index, part in enumerate(parts):
        begins.append(begin)
        empty = isinstance(part, Anchor | Look)
        later = next((other for other in parts[index + 1 :] if _begins(other)), None) if begin and not empty else None
        if later is not None and nullable(part):
            wrong = special(later)
            span = None if wrong is None else wrong.span
            raise UserError("CHM280", "regular expression: ^ comes after what may be empty", span=span)
        begin = begin and empty
    for part, first in zip(reversed(parts), reversed(begins), strict=True):
        after = _before(part, after, budget, begin=first)
    return after


def _begins(tree: Regex) -> bool:
    """Whether there is an anchor of the begin in a tree."""
    stack = [tree]
    while stack:
        match stack.pop():
            case Anchor("^"):
                return True
            case Join(parts) | Either(parts):
                stack += parts
            case Times(item) | Look(item):
                stack.append(item)
    return False
