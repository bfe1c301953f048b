"""Regular expressions: their text → a tree over characters → an expression over bytes.

Two dialects: "python" (``re``: ``\\d``, ``\\w``, ``\\s`` are Unicode) and "ecma" (JSON Schema; only ``\\s`` is).
Look-around, back-references and word boundaries are refused with their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from chimerac.compiler.errors import Span, UserError
from chimerac.compiler.ir import grammar as ir
from chimerac.compiler.ir.grammar import MAX_NESTING, MAX_REPETITIONS, MAX_SOURCE_BYTES, Expression
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.characters import CharSet

Dialect = Literal["python", "ecma"]


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
    """Any of the options."""

    options: tuple[Regex, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """``minimum`` to ``maximum`` times; None: without end."""

    item: Regex
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The begin (``^``) or the end (``$``) of the text."""

    sign: str


Regex: TypeAlias = Chars | Join | Either | Times | Anchor

NOTHING: Final = Join(())
ANYTHING: Final = Times(Chars(ch.ALL), 0, None)
_ASCII_DIGITS: Final[CharSet] = ((48, 57),)
_ASCII_WORD: Final[CharSet] = ((48, 57), (65, 90), (95, 95), (97, 122))
_CONTROLS: Final = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "0": 0}


def _is_space(c: str) -> bool:
    return c.isspace()


_ECMA_SPACE: Final = ch.char_set(
    [(9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
     (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]
)  # fmt: skip


def parse(text: str, dialect: Dialect = "python", flags: str = "", *, lazy: bool = True) -> Regex:
    """The tree of a regular expression.

    Args:
        flags: letters of Python's inline flags that hold from the start: i, s, x, a.
        lazy: whether ``*?`` and its like are allowed; where whole texts are matched they mean the same as ``*``.

    Raises UserError CHM280 for what isn't one or isn't supported, with the place, CHM282 for a limit.
    """
    if len(text) > MAX_SOURCE_BYTES:
        raise UserError("CHM282", f"a regular expression of {len(text):,} characters is over the limit of 1 MiB")
    with ir.deep_recursion():
        return _Parser(text, dialect, flags, lazy).whole()


@dataclass
class _Parser:
    text: str
    dialect: Dialect
    flags: str
    lazy: bool
    position: int = 0
    depth: int = 0

    def whole(self) -> Regex:
        found = self.either()
        if self.position < len(self.text):
            raise self.error("there is no '(' for this ')'")
        return found

    def error(self, message: str, at: int | None = None, hint: str | None = None) -> UserError:
        position = self.position if at is None else at
        line = self.text.count("\n", 0, position) + 1
        begin = self.text.rfind("\n", 0, position) + 1
        end = self.text.find("\n", position)
        shown = self.text[begin : len(self.text) if end < 0 else end]
        span = Span("<regular expression>", line, position - begin + 1, 1, shown)
        return UserError("CHM280", f"regular expression: {message}", span=span, hint=hint)

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.position):
            self.position += len(expected)
            return True
        return False

    def either(self) -> Regex:
        options = [self.join()]
        while self.take("|"):
            options.append(self.join())
        return options[0] if len(options) == 1 else Either(tuple(options))

    def join(self) -> Regex:
        parts: list[Regex] = []
        while (sign := self.peek()) and sign not in "|)":
            if "x" in self.flags and (sign.isspace() or sign == "#"):
                self.skip_comment()
                continue
            item = self.atom()
            if item is not None:
                parts.append(self.times(item))
        return parts[0] if len(parts) == 1 else Join(tuple(parts))

    def skip_comment(self) -> None:
        if self.peek() == "#":
            end = self.text.find("\n", self.position)
            self.position = len(self.text) if end < 0 else end
        else:
            self.position += 1

    def times(self, item: Regex) -> Regex:
        while True:
            at = self.position
            sign = self.peek()
            if sign == "*":
                bounds: tuple[int, int | None] = (0, None)
            elif sign == "+":
                bounds = (1, None)
            elif sign == "?":
                bounds = (0, 1)
            elif sign == "{" and (found := self.bounds()) is not None:
                bounds = found
            else:
                return item
            if sign != "{":
                self.position += 1
            if isinstance(item, Anchor):
                raise self.error("an anchor cannot be repeated", at)
            if self.peek() == "+" and self.dialect == "python":
                raise self.error("possessive repetition is not supported", hint="leave the last + out")
            if self.take("?") and not self.lazy:
                raise self.error(
                    "shortest matches are not supported", at, "say which characters may come, such as [^*]* for .*?"
                )
            item = Times(item, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        end = self.text.find("}", self.position)
        inner = self.text[self.position + 1 : end] if end >= 0 else ""
        low, comma, high = inner.partition(",")
        if not (low + high).isdigit() or not (low + high).isascii() or (not low and not comma):
            return None
        if not low and self.dialect == "ecma":
            return None
        minimum = int(low[:9] or "0")
        maximum = (int(high[:9]) if high else None) if comma else minimum
        if max(minimum, maximum or 0) > MAX_REPETITIONS:
            raise UserError("CHM282", f"a repetition of {inner} is over the limit of {MAX_REPETITIONS:,}")
        if maximum is not None and minimum > maximum:
            raise self.error("the bounds of a repetition are the wrong way round")
        self.position = end + 1
        return minimum, maximum

    def atom(self) -> Regex | None:
        sign = self.peek()
        if sign == "(":
            return self.group()
        if sign == "[":
            return Chars(self.fold(self.char_class()))
        if sign == "\\":
            return self.escape()
        if sign in "*+?":
            raise self.error("there is nothing to repeat")
        self.position += 1
        if sign == ".":
            return Chars(ch.ALL if "s" in self.flags else ch.inverted(self.line_ends()))
        if sign in "^$":
            if "m" in self.flags:
                raise self.error("anchors of lines are not supported", self.position - 1)
            return Anchor(sign)
        return Chars(self.fold(ch.single(sign)))

    def line_ends(self) -> CharSet:
        return ch.single("\n") if self.dialect == "python" else ch.single("\n\r\u2028\u2029")

    def fold(self, chars: CharSet) -> CharSet:
        return ch.folded(chars) if "i" in self.flags else chars

    def group(self) -> Regex | None:
        at = self.position
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise UserError("CHM282", f"a regular expression is nested more than {MAX_NESTING} deep")
        self.position += 1
        before = self.flags
        if self.take("?"):
            if self.peek() in "=!" or self.text.startswith(("<=", "<!"), self.position):
                raise self.error("look-around is not supported", at, "say what the text is, not what it is not")
            if self.take("P=") or self.take("("):
                raise self.error("references to groups are not supported", at)
            if self.take("P<") or self.take("<"):
                end = self.text.find(">", self.position)
                if end < 0:
                    raise self.error("a group's name has no end", at)
                self.position = end + 1
            elif self.take("#"):
                end = self.text.find(")", self.position)
                if end < 0:
                    raise self.error("a comment has no end", at)
                self.position = end + 1
                self.depth -= 1
                return None
            elif self.take(">"):
                raise self.error("atomic groups are not supported", at)
            elif not self.take(":") and self.inline_flags(at):
                self.depth -= 1
                return None
        found = self.either()
        if not self.take(")"):
            raise self.error("this '(' is never closed", at)
        self.flags = before
        self.depth -= 1
        return found

    def inline_flags(self, at: int) -> bool:
        """Read ``i)``, ``i:``, ``-i:``; True if the flags hold for the rest of the expression."""
        on = True
        flags = self.flags
        while (sign := self.peek()) and sign not in ":)":
            if sign == "-":
                on = False
            elif sign in "aimsxu":
                flags = flags + sign if on else flags.replace(sign, "")
            else:
                raise self.error(f"unknown extension ?{sign}", at)
            self.position += 1
        if not sign:
            raise self.error("this '(' is never closed", at)
        self.position += 1
        self.flags = flags
        return sign == ")"

    def escape(self) -> Regex:
        found = self.escaped(in_class=False)
        return found if isinstance(found, Anchor) else Chars(self.fold(found))

    def escaped(self, *, in_class: bool) -> CharSet | Anchor:  # noqa: C901  a case for each escape
        """The set of an escape; the position moves behind it."""
        at = self.position
        self.position += 1
        sign = self.peek()
        if not sign:
            raise self.error("the text ends after a backslash", at)
        self.position += 1
        unicode_ = self.dialect == "python" and "a" not in self.flags
        if sign in "dD":
            return self.maybe(ch.category("Nd") if unicode_ else _ASCII_DIGITS, sign)
        if sign in "wW":
            return self.maybe(ch.where(ch.is_word) if unicode_ else _ASCII_WORD, sign)
        if sign in "sS":
            return self.maybe(ch.where(_is_space) if unicode_ else _ECMA_SPACE, sign)
        if sign in "pP" and self.peek() == "{":
            return self.maybe(self.category(at), sign)
        if sign == "x":
            return self.code_point(at, 2)
        if sign == "u":
            if self.peek() == "{":
                end = self.text.find("}", self.position)
                digits = self.text[self.position + 1 : end] if end >= 0 else ""
                self.position = end + 1
                return self.point(digits, at)
            return self.code_point(at, 4)
        if sign == "U" and self.dialect == "python":
            return self.code_point(at, 8)
        if sign == "c" and self.dialect == "ecma" and self.peek().isalpha() and self.peek().isascii():
            self.position += 1
            return ch.single(chr(ord(self.text[self.position - 1]) % 32))
        if sign == "b" and in_class:
            return ch.single("\b")
        if sign in "bBAZG" and not in_class:
            if self.dialect == "python" and sign in "AZ":
                return Anchor("^" if sign == "A" else "$")
            raise self.error(f"\\{sign} is not supported", at, "write what comes before and after it")
        if sign in _CONTROLS and not (sign == "0" and self.peek().isdigit()) and not (sign == "a" and not unicode_):
            return ch.single(chr(_CONTROLS[sign]))
        if sign.isdigit() or sign == "k":
            raise self.error("references to groups are not supported", at)
        if sign.isalpha() and sign.isascii():
            raise self.error(f"unknown escape \\{sign}", at)
        return ch.single(sign)

    @staticmethod
    def maybe(chars: CharSet, sign: str) -> CharSet:
        return ch.inverted(chars) if sign.isupper() else chars

    def category(self, at: int) -> CharSet:
        end = self.text.find("}", self.position)
        name = self.text[self.position + 1 : end] if end >= 0 else ""
        name = {
            "Letter": "L",
            "Number": "N",
            "Punctuation": "P",
            "Uppercase_Letter": "Lu",
            "Lowercase_Letter": "Ll",
        }.get(name, name)
        chars = ch.category(name) if 1 <= len(name) <= 2 and name.isalpha() else ()
        if not chars:
            raise self.error(f"\\p{{{name}}} is not supported", at, "use a general category, such as \\p{L} or \\p{Lu}")
        self.position = end + 1
        return chars

    def code_point(self, at: int, digits: int) -> CharSet:
        text = self.text[self.position : self.position + digits]
        self.position += digits
        if len(text) != digits:
            raise self.error(f"an escape needs {digits} hexadecimal digits", at)
        return self.point(text, at)

    def point(self, digits: str, at: int) -> CharSet:
        try:
            value = int(digits, 16) if digits.isalnum() else -1
        except ValueError:
            value = -1
        if not 0 <= value <= ch.LAST or 0xD800 <= value <= 0xDFFF:
            raise self.error("an escape names no character", at)
        return ch.single(chr(value))

    def char_class(self) -> CharSet:
        at = self.position
        self.position += 1
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while True:
            sign = self.peek()
            if not sign:
                raise self.error("this '[' is never closed", at)
            if sign == "]" and (not first or self.dialect == "ecma"):
                self.position += 1
                break
            first = False
            low = self.class_item(at)
            if self.peek() == "-" and self.text[self.position + 1 : self.position + 2] not in ("]", ""):
                self.position += 1
                high = self.class_item(at)
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
                    raise self.error("a range needs two single characters", at)
                if low[0][0] > high[0][0]:
                    raise self.error("a range is the wrong way round", at)
                ranges.append((low[0][0], high[0][0]))
            else:
                ranges += low
        chars = ch.char_set(ranges)
        if "i" in self.flags:
            chars = ch.folded(chars)
        return ch.inverted(chars) if negated else chars

    def class_item(self, at: int) -> CharSet:
        if self.peek() == "\\":
            found = self.escaped(in_class=True)
            if isinstance(found, Anchor):
                raise self.error("an anchor in a set", at)
            return found
        sign = self.peek()
        if sign == "[" and self.text.startswith("[:", self.position):
            raise self.error("POSIX classes are not supported", hint="write the characters")
        self.position += 1
        return ch.single(sign)


def anchored(tree: Regex) -> Regex:
    """The tree for matching the whole text: anchors at its ends go, others are refused (UserError CHM280)."""
    return _strip(tree, begin=True, end=True, search=False)


def searched(tree: Regex) -> Regex:
    """The tree of all texts in which the expression is found: anything around it, but at its anchors."""
    return _strip(tree, begin=True, end=True, search=True)


def _strip(tree: Regex, *, begin: bool, end: bool, search: bool) -> Regex:
    if isinstance(tree, Either):
        return Either(tuple(_strip(o, begin=begin, end=end, search=search) for o in tree.options))
    parts = list(tree.parts) if isinstance(tree, Join) else [tree]
    if len(parts) == 1 and isinstance(parts[0], Either | Join) and parts[0] is not tree:
        return _strip(parts[0], begin=begin, end=end, search=search)
    fixed_begin, fixed_end = not search, not search
    while begin and parts and parts[0] == Anchor("^"):
        parts.pop(0)
        fixed_begin = True
    while end and parts and parts[-1] == Anchor("$"):
        parts.pop()
        fixed_end = True
    first, last = (parts[0], parts[-1]) if parts else (None, None)
    if search and begin and not fixed_begin and isinstance(first, Either) and _has_anchor(first):
        rest = [*parts[1:], *([Anchor("$")] if fixed_end else [])]
        spread = [Join((*_parts(option), *rest)) for option in first.options]
        return Either(tuple(_strip(one, begin=True, end=True, search=True) for one in spread))
    if search and end and not fixed_end and isinstance(last, Either) and _has_anchor(last):
        rest = [*([Anchor("^")] if fixed_begin else []), *parts[:-1]]
        spread = [Join((*rest, *_parts(option))) for option in last.options]
        return Either(tuple(_strip(one, begin=True, end=True, search=True) for one in spread))
    if any(_has_anchor(part) for part in parts):
        raise UserError("CHM280", "regular expression: ^ and $ are supported at the ends only")
    before = () if fixed_begin else (ANYTHING,)
    after = () if fixed_end else (ANYTHING,)
    return Join((*before, *parts, *after))


def _parts(tree: Regex) -> tuple[Regex, ...]:
    return tree.parts if isinstance(tree, Join) else (tree,)


def _has_anchor(tree: Regex) -> bool:
    stack = [tree]
    while stack:
        match stack.pop():
            case Anchor():
                return True
            case Join(parts) | Either(parts):
                stack += parts
            case Times(item):
                stack.append(item)
    return False


def to_expression(tree: Regex, encode: Callable[[CharSet], Expression] = ch.utf8) -> Expression:
    """The expression over bytes of a tree without anchors."""
    match tree:
        case Chars(chars):
            return encode(chars)
        case Join(parts):
            return ir.sequence(*(to_expression(part, encode) for part in parts))
        case Either(options):
            return ir.choice([to_expression(option, encode) for option in options])
        case Times(item, minimum, maximum):
            return ir.Repeat(to_expression(item, encode), minimum, maximum)
    raise AssertionError(tree)


def regex_grammar(pattern: str, name: str = "regex") -> ir.Grammar:
    """The grammar of the texts that a regular expression of Python matches as a whole."""
    with ir.deep_recursion():
        expression = to_expression(anchored(parse(pattern)))
    return ir.Grammar(name, {"start": expression}, source=pattern)


def choices_grammar(choices: list[str], name: str = "choices") -> ir.Grammar:
    """The grammar of some fixed texts. Raises UserError CHM280 for none or an empty one, CHM282 for too many."""
    if not choices or not all(choices):
        raise UserError("CHM280", "choices: at least one, none of them empty")
    if len(choices) > ir.MAX_CHOICES or sum(map(len, choices)) > MAX_SOURCE_BYTES:
        raise UserError("CHM282", f"{len(choices):,} choices are over the limit of {ir.MAX_CHOICES:,} or 1 MiB")
    options = tuple(ir.Literal(text.encode()) for text in dict.fromkeys(choices))
    return ir.Grammar(name, {"start": ir.choice(options)}, source="\n".join(choices))
