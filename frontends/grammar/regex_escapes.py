"""What a backslash and square brackets mean in a regular expression of Python or of ECMAScript."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final, Literal

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar.budget import Budget, shown
from chimerac.frontends.grammar.characters import CharSet
from chimerac.frontends.grammar.regex_tree import Anchor

Dialect = Literal["python", "ecma"]

_ASCII_DIGITS: Final[CharSet] = ((48, 57),)
_ASCII_WORD: Final[CharSet] = ((48, 57), (65, 90), (95, 95), (97, 122))
_ASCII_SPACE: Final[CharSet] = ((9, 13), (32, 32))
_CONTROLS: Final = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}
_ECMA_SPACE: Final = ch.char_set(
    [(9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
     (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]
)  # fmt: skip
#: What ECMAScript lets a backslash stand before in any expression.
_SYNTAX: Final = "^$\\.*+?()[]{}|/-"
_CATEGORIES: Final = {
    "Letter": "L", "Mark": "M", "Number": "N", "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Other": "C",
    "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Titlecase_Letter": "Lt", "Decimal_Number": "Nd",
    "digit": "Nd", "punct": "P", "cntrl": "Cc", "Combining_Mark": "M",
}  # fmt: skip


@dataclass
class Escapes:
    """A text with a position in it, and the sets of characters that stand there."""

    text: str
    dialect: Dialect
    flags: str
    budget: Budget
    position: int = 0
    classes: dict[tuple[str, str], CharSet] = field(default_factory=dict)
    loose: int = -1  #: where something stands that ECMAScript takes only without its flag u
    strict: int = -1  #: where something stands that means something else without that flag

    def error(self, message: str, at: int | None = None, hint: str | None = None) -> UserError:
        """An error at a position of the text."""
        return UserError("CHM280", f"regular expression: {message}", span=self.span(at), hint=hint)

    def span(self, at: int | None = None) -> Span:
        """A position as a place."""
        position = self.position if at is None else at
        line = self.text.count("\n", 0, position) + 1
        begin = self.text.rfind("\n", 0, position) + 1
        end = self.text.find("\n", position)
        shown = self.text[begin : len(self.text) if end < 0 else end]
        return Span("<regular expression>", line, position - begin + 1, 1, shown)

    def peek(self) -> str:
        """The character at the position; "" at the end."""
        return self.text[self.position : self.position + 1]

    def take(self, expected: str) -> bool:
        """Go behind a text if it stands at the position."""
        if self.text.startswith(expected, self.position):
            self.position += len(expected)
            return True
        return False

    def literal(self) -> CharSet:
        """The character at the position, which stands for itself."""
        sign = self.peek()
        if 0xD800 <= ord(sign) <= 0xDFFF:
            raise self.error("a surrogate that stands alone is no character")
        if ord(sign) > 0xFFFF:
            self.strict = self.position
        self.position += 1
        return ch.single(sign)

    def fold(self, chars: CharSet) -> CharSet:
        """A set with all that the flag ``i`` takes for the same."""
        if "i" not in self.flags:
            return chars
        if "a" in self.flags:
            return ch.ascii_folded(chars)
        return ch.folded(chars) if self.dialect == "python" else ch.simply_folded(chars)

    # -- escapes

    def escape(self) -> CharSet | Anchor:
        """The set or the anchor of an escape outside square brackets; the position moves behind it."""
        at = self.position
        sign = self._escaped_sign()
        shared = self._shared(sign, at)
        if shared is not None:
            return self.fold(shared[0]) if shared[1] else shared[0]
        if self.dialect == "python" and sign in "AZ":
            self.position += 1
            return Anchor("^" if sign == "A" else "$", self.span(at))
        if sign in "bB":
            raise self.error(f"\\{sign} is not supported", at, "write what comes before and after it")
        if sign.isascii() and sign.isdigit():
            return self.fold(self._octal(at))
        if sign == "-":
            self.loose = at
        return self.fold(self._other(sign, at))

    def _class_escape(self) -> tuple[CharSet, bool]:
        """The set of an escape in square brackets, and whether it is one character."""
        at = self.position
        sign = self._escaped_sign()
        shared = self._shared(sign, at)
        if shared is not None:
            return shared
        if sign == "b":
            self.position += 1
            return ch.single("\b"), True
        if sign.isascii() and sign.isdigit() and self.dialect == "python":
            return self._class_octal(at), True
        return self._other(sign, at), True

    def _escaped_sign(self) -> str:
        self.position += 1
        sign = self.peek()
        if not sign:
            raise self.error("the text ends after a backslash", self.position - 1)
        return sign

    def _shared(self, sign: str, at: int) -> tuple[CharSet, bool] | None:
        """What means the same inside and outside of brackets: its set, and whether it is one character."""
        known = self._category(sign, at)
        if known is not None:
            return known, False
        if sign in _CONTROLS:
            self.position += 1
            return ch.single(chr(_CONTROLS[sign])), True
        point = self._python_point(sign, at) if self.dialect == "python" else self._ecma_point(sign, at)
        return None if point is None else (ch.single(chr(point)), True)

    def _category(self, sign: str, at: int) -> CharSet | None:
        unicode_ = self.dialect == "python" and "a" not in self.flags
        if sign in "dD":
            found = ch.category("Nd") if unicode_ else _ASCII_DIGITS
        elif sign in "wW":
            found = ch.of_pattern(r"\w") if unicode_ else _ASCII_WORD
        elif sign in "sS":
            found = ch.of_pattern(r"\s") if unicode_ else _ECMA_SPACE if self.dialect == "ecma" else _ASCII_SPACE
        elif sign in "pP" and self.dialect == "ecma":
            self.position += 1
            found = self._property(at)
        else:
            return None
        self.position += sign not in "pP"
        return ch.inverted(found) if sign.isupper() else found

    def _property(self, at: int) -> CharSet:
        end = self.text.find("}", self.position)
        name = self.text[self.position + 1 : end] if end >= 0 and self.peek() == "{" else ""
        name = re.sub("^(General_Category|gc)=", "", name)
        name = _CATEGORIES.get(name, name)
        chars = ch.category(name) if 1 <= len(name) <= 2 and name.isalpha() else ()
        if not chars:
            hint = "use a general category, such as \\p{L} or \\p{Lu}"
            raise self.error(f"\\p{{{shown(name)[1:-1]}}} is not supported", at, hint)
        self.position = end + 1
        self.strict = at
        return chars

    def _python_point(self, sign: str, at: int) -> int | None:
        if sign == "a":
            self.position += 1
            return 7
        if sign in "xuU":
            self.position += 1
            return self._hexadecimal({"x": 2, "u": 4, "U": 8}[sign], at)
        if sign == "N":
            found = re.compile(r"\{([^}]+)\}").match(self.text, self.position + 1)
            if found is None:
                raise self.error("the name of a character stands in braces", at)
            try:
                point = ord(unicodedata.lookup(found[1]))
            except (KeyError, TypeError):
                raise self.error(f"there is no character {shown(found[1])}", at) from None
            self.position = found.end()
            return point
        return None

    def _ecma_point(self, sign: str, at: int) -> int | None:
        if sign == "c":
            letter = self.text[self.position + 1 : self.position + 2]
            if letter.isascii() and letter.isalpha():
                self.position += 2
                return ord(letter) % 32
        if sign == "0" and not self.text[self.position + 1 : self.position + 2].isdigit():
            self.position += 1
            return 0
        if sign == "x":
            self.position += 1
            return self._hexadecimal(2, at)
        if sign != "u":
            return None
        self.position += 1
        braced = re.compile(r"\{([0-9A-Fa-f]+)\}").match(self.text, self.position)
        if braced:
            self.strict = at
            self.position = braced.end()
            return self._point(braced[1], at)
        pair = re.compile(r"([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})").match(
            self.text, self.position
        )
        if pair:
            self.strict = at
            self.position = pair.end()
            return 0x10000 + ((int(pair[1], 16) & 0x3FF) << 10 | int(pair[2], 16) & 0x3FF)
        return self._hexadecimal(4, at)

    def _hexadecimal(self, digits: int, at: int) -> int:
        text = self.text[self.position : self.position + digits]
        if not re.fullmatch(f"[0-9A-Fa-f]{{{digits}}}", text):
            raise self.error(f"an escape needs {digits} hexadecimal digits", at)
        self.position += digits
        return self._point(text, at)

    def _point(self, digits: str, at: int) -> int:
        value = int(digits[:12], 16)
        if len(digits) > 12 or value > ch.LAST or 0xD800 <= value <= 0xDFFF:
            raise self.error("an escape names no character", at)
        return value

    def _octal(self, at: int) -> CharSet:
        """Outside of brackets: ``\\0`` and two more octal digits, or three of them; other numbers are references."""
        found = re.compile(r"0[0-7]{0,2}|[1-7][0-7][0-7]").match(self.text, self.position)
        if found is None or self.dialect == "ecma":
            raise self.error("references to groups are not supported", at)
        return self._byte(found, at)

    def _class_octal(self, at: int) -> CharSet:
        found = re.compile(r"[0-7]{1,3}").match(self.text, self.position)
        if found is None:
            raise self.error(f"unknown escape \\{self.peek()}", at)
        return self._byte(found, at)

    def _byte(self, found: re.Match[str], at: int) -> CharSet:
        value = int(found[0], 8)
        if value > 0o377:
            raise self.error(f"the octal escape \\{found[0]} is over \\377", at)
        self.position = found.end()
        return ch.single(chr(value))

    def _other(self, sign: str, at: int) -> CharSet:
        """The sign itself, if it has no meaning that is lost by this."""
        if sign == "k" or (sign.isascii() and sign.isdigit()):
            raise self.error("references to groups are not supported", at)
        if sign.isascii() and sign.isalpha():
            raise self.error(f"unknown escape \\{sign}", at)
        if sign not in _SYNTAX:
            self.loose = at
        return self.literal()

    # -- square brackets

    def char_class(self) -> CharSet:
        """The set in square brackets, from the bracket on; the position moves behind it."""
        at = self.position
        self.position += 1
        negated = self.take("^")
        literals: list[tuple[int, int]] = []
        categories: list[tuple[int, int]] = []
        first = True
        while True:
            if not self.peek():
                raise self.error("this '[' is never closed", at)
            if self.peek() == "]" and (not first or self.dialect == "ecma"):
                self.position += 1
                break
            first = False
            self.budget.spend()
            begin = self.position
            low, one = self._class_item()
            if not (self.peek() == "-" and self.text[self.position + 1 : self.position + 2] not in ("]", "")):
                (literals if one else categories).extend(low)
                continue
            self.position += 1
            high, other = self._class_item()
            if one and other and low[0][0] <= high[0][0]:
                literals.append((low[0][0], high[0][0]))
            elif one and other:
                raise self.error("a range is the wrong way round", begin)
            elif self.dialect == "python":
                raise self.error("a range needs two single characters", begin)
            else:  # as in every browser, a sign beside a class is no range
                self.loose = begin
                literals.append((0x2D, 0x2D))
                for chars, single in ((low, one), (high, other)):
                    (literals if single else categories).extend(chars)
        key = (self.text[at : self.position], self.flags)
        if key not in self.classes:
            chars = ch.char_set([*self.fold(ch.char_set(literals)), *categories])
            self.budget.spend(len(chars) // 8)
            self.classes[key] = ch.inverted(chars) if negated else chars
        return self.classes[key]

    def _class_item(self) -> tuple[CharSet, bool]:
        if self.peek() == "\\":
            return self._class_escape()
        if self.text.startswith("[:", self.position):
            raise self.error("POSIX classes are not supported", hint="write the characters")
        return self.literal(), True
