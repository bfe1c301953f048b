"""Regular expressions as trees over characters, and as expressions over bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chimerac.compiler.errors import Span, UserError
from chimerac.compiler.ir import grammar as ir
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.characters import CharSet

#: Parts of a sequence that may all be empty, up to which it is taken apart where it is repeated.
_MOST_PARTS: Final = 32


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    chars: CharSet


@dataclass(frozen=True, slots=True)
class Join:
    """One after the other."""

    parts: tuple[Regex, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Any of the options; the first that leads to a match is preferred."""

    options: tuple[Regex, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """``minimum`` to ``maximum`` times; None: without end. As often as possible is preferred, as seldom if ``lazy``."""

    item: Regex
    minimum: int
    maximum: int | None
    lazy: bool = False


@dataclass(frozen=True, slots=True)
class Anchor:
    """The begin (``^``) or the end (``$``) of the text, or the end with a newline before it or not (``n``)."""

    sign: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Look:
    """What follows begins with ``item``, or doesn't if ``negative``; takes no characters."""

    item: Regex
    negative: bool
    span: Span | None = field(default=None, compare=False, repr=False)


Regex: TypeAlias = Chars | Join | Either | Times | Anchor | Look

ANYTHING: Final = Times(Chars(ch.ALL), 0, None)


def anchored(tree: Regex) -> Regex:
    """The tree for matching the whole text: anchors at its ends go, others are refused (UserError CHM280)."""
    return _settled(tree, search=False)


def searched(tree: Regex) -> Regex:
    """The tree of all texts in which the expression is found: anything around it, but at its anchors."""
    return _settled(tree, search=True)


def _settled(tree: Regex, *, search: bool) -> Regex:
    found = stripped(tree, search=search)
    wrong = special(found)
    if wrong is None:
        return found
    what = "look-around is not supported" if isinstance(wrong, Look) else "^ and $ are supported at the ends only"
    raise UserError("CHM280", f"regular expression: {what}", span=wrong.span, hint="say what the text is as a whole")


def stripped(tree: Regex, *, search: bool) -> Regex:
    """The tree without anchors at the ends, and with anything where there are none if it is searched for."""
    if isinstance(tree, Either):
        return Either(tuple(stripped(option, search=search) for option in tree.options))
    parts = list(tree.parts) if isinstance(tree, Join) else [tree]
    if len(parts) == 1 and isinstance(parts[0], Either | Join) and parts[0] is not tree:
        return stripped(parts[0], search=search)
    begins, ends = not search, not search
    while parts and isinstance(parts[0], Anchor) and parts[0].sign == "^":
        parts.pop(0)
        begins = True
    # where the whole text is matched nothing is left for the newline before the end
    while parts and isinstance(parts[-1], Anchor) and parts[-1].sign in ("$" if search else "$n"):
        parts.pop()
        ends = True
    return Join((*(() if begins else (ANYTHING,)), *parts, *(() if ends else (ANYTHING,))))


def special(tree: Regex) -> Anchor | Look | None:
    """An anchor or a look-ahead in a tree; None if there is none."""
    stack = [tree]
    while stack:
        match stack.pop():
            case Anchor() | Look() as found:
                return found
            case Join(parts) | Either(parts):
                stack += reversed(parts)
            case Times(item):
                stack.append(item)
    return None


def nullable(tree: Regex) -> bool:
    """Whether a tree may match without taking a character."""
    match tree:
        case Anchor() | Look():
            return True
        case Join(parts):
            return all(map(nullable, parts))
        case Either(options):
            return any(map(nullable, options))
        case Times(item, minimum, _):
            return minimum == 0 or nullable(item)
    return False


def without_empty(tree: Regex) -> Regex:
    """The texts of a tree but the empty one; the tree itself where it is too large to say it."""
    match tree:
        case Join(parts) if nullable(tree) and len(parts) <= _MOST_PARTS:
            return Either(tuple(Join((without_empty(part), *parts[i + 1 :])) for i, part in enumerate(parts)))
        case Either(options):
            return Either(tuple(without_empty(option) for option in options))
        case Times(item, _, maximum) if nullable(tree):
            return Times(without_empty(item), 1, maximum) if maximum != 0 else Either(())
    return tree


def repeated(tree: Times) -> Times:
    """The same texts by repeating what is never empty: then every repetition takes a character."""
    if tree.maximum in (0, 1) or not nullable(tree.item):
        return tree
    return Times(without_empty(tree.item), 0, tree.maximum, tree.lazy)


def to_expression(tree: Regex, encode: Callable[[CharSet], ir.Expression] = ch.utf8) -> ir.Expression:
    """The expression over bytes of a tree without anchors."""
    match tree:
        case Chars(chars):
            return encode(chars)
        case Join(parts):
            return ir.sequence(*(to_expression(part, encode) for part in parts))
        case Either(options):
            return ir.choice([to_expression(option, encode) for option in options])
        case Times():
            times = repeated(tree)
            return ir.Repeat(to_expression(times.item, encode), times.minimum, times.maximum)
    raise AssertionError(tree)
