"""Errors by whose fault they are: the user's (``UserError``) or chimerac's own (``InternalError``).

A user error carries a stable code (``CHM###``), a place in a source text where there is one, and what to do about it;
the command line prints it without a traceback and ends with ``exit_code``. An internal error names the pass that
failed and what ran before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chimerac.runtime.errors import BundleError

#: Mistakes that are shown of one input.
MAX_ERRORS: Final = 20


@dataclass(frozen=True)
class Span:
    """A place in a text: 1-based line and column, and the width in characters to underline."""

    file: str
    line: int
    column: int
    width: int = 1
    text: str | None = None  #: the whole source line, when it is known

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def caret(self) -> str:
        """The source line with the place underlined; empty when the line is not known.

        Long lines are cut to 100 characters around the place, so that a one-line JSON file stays readable.
        """
        if self.text is None:
            return ""
        line, column = self.text.replace("\t", " "), self.column - 1
        width = max(1, min(self.width, len(line) - column))
        start = max(0, column - 60) if len(line) > 100 else 0
        shown = line[start : start + 100]
        if start:
            shown = "…" + shown[1:]
        if start + 100 < len(line):
            shown = shown[:-1] + "…"
        number = str(self.line)
        margin = " " * len(number)
        underline = " " * (column - start) + "^" * max(1, min(width, 100 - (column - start)))
        return f"  {number} | {shown}\n  {margin} | {underline}"


class ChimeracError(Exception):
    """Base of every error that chimerac raises on purpose."""

    exit_code = 2

    def render(self) -> str:
        """The text the command line prints."""
        return f"error: {self}"


class UserError(ChimeracError):
    """Something the user can mend: a config, a file, an option.

    Args:
        code: stable identifier, ``CHM`` and three digits; docs/errors.md lists them.
        message: one sentence that says what is wrong.
        span: where, if it is in a text.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, *, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.span, self.hint = code, message, span, hint

    def render(self) -> str:
        place = f"{self.span}: " if self.span else ""
        lines = [f"{place}error {self.code}: {self.message}"]
        if self.span and (caret := self.span.caret()):
            lines.append(caret)
        if self.hint:
            lines.append(f"  help: {self.hint}")
        return "\n".join(lines)


class UserErrors(UserError):
    """Several mistakes found in one go; ``errors`` in source order."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        first = errors[0]
        super().__init__(first.code, first.message, span=first.span, hint=first.hint)
        self.errors = tuple(errors)

    def render(self) -> str:
        lines = [error.render() for error in self.errors[:MAX_ERRORS]]
        more = len(self.errors) - len(lines)
        return "\n".join([*lines, *([f"and {more:,} more mistakes"] if more else [])])


class InternalError(ChimeracError):
    """A bug of chimerac. ``stage`` names the pass or step, ``before`` what had already run."""

    def __init__(self, message: str, *, stage: str | None = None, before: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.stage, self.before = stage, tuple(before)

    def render(self) -> str:
        where = f" in {self.stage}" if self.stage else ""
        after = f" after {', '.join(self.before)}" if self.before else ""
        advice = "this is a bug of chimerac; run again as `chimerac --traceback …` and report it"
        return f"internal error{where}{after}: {self}\n  help: {advice}"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the nearest known word, or None when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def as_user_error(error: BundleError) -> UserError:
    """An error of the runtime as one of the compiler, with the same code."""
    place = f"{error.path}: " if getattr(error, "path", None) else ""
    return UserError(error.code, f"{place}{error.message}", hint=getattr(error, "hint", None))
