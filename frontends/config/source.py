"""The text of a config file: decoding, row fences, and the way from an offset back to a line and column."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass

from chimerac.compiler.errors import Span, UserError

MAX_BYTES = 1 << 20  #: longest accepted text, in bytes of UTF-8

_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """A decoded config text.

    ``text`` is what is parsed: the row fences of the original are blanked out, so every offset, line and column in it
    is also one of ``lines``, the original lines that errors quote.
    """

    file: str
    text: str
    lines: tuple[str, ...]
    starts: tuple[int, ...]  #: offset of the first character of each line
    fenced: bool

    def span(self, start: int, end: int | None = None) -> Span:
        """The place of the characters [start, end); a range that runs over a line end is cut there."""
        start = min(max(start, 0), len(self.text))
        row = bisect.bisect_right(self.starts, start) - 1
        line = self.lines[row]
        column = min(start - self.starts[row], len(line))
        width = min((start + 1 if end is None else end) - start, len(line) - column)
        return Span(self.file, row + 1, column + 1, max(1, width), line)


def decode(data: bytes, file: str) -> str:
    """UTF-8 bytes to text, without a byte order mark.

    Raises:
        UserError: CHM101 for a text over ``MAX_BYTES``, invalid UTF-8 or a NUL byte, with its place.
    """
    _limit(len(data), file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace").removeprefix("\ufeff")
        after = data[error.start :].split(b"\n", 1)[0].decode("utf-8", errors="replace")
        line = before.count("\n") + 1
        head = before.rpartition("\n")[2]
        raise UserError(
            "CHM101",
            f"byte 0x{data[error.start]:02x} is not valid UTF-8",
            span=Span(file, line, len(head) + 1, 1, (head + after).rstrip("\r")),
            hint="save the file as UTF-8",
        ) from None


def make_source(text: str, file: str) -> Source:
    """Splits a text into lines and blanks the fences of rows written as ``| … |``.

    A text is fenced when its first line that is not blank starts with ``|``. Then every line that is not blank must
    start with ``|``, and all but empty rows must end with one.

    Raises:
        UserError: CHM101 for NUL characters or too long a text, CHM104 for a broken fence.
    """
    _limit(len(text.encode("utf-8", errors="surrogatepass")), file)
    raw = text.split("\n")
    lines = tuple(line.rstrip("\r") for line in raw)
    starts = [0]
    for line in raw:
        starts.append(starts[-1] + len(line) + 1)
    source = Source(file, text, lines, tuple(starts[:-1]), fenced=False)
    if match := _FORBIDDEN.search(text):
        name = "a NUL byte" if match.group() == "\0" else f"the lone surrogate U+{ord(match.group()):04X}"
        raise UserError("CHM101", f"{name} can't be part of a config", span=source.span(match.start()))
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first.startswith("|"):
        return source
    blanked = "\n".join(_unfence(source, row, line) for row, line in enumerate(raw))
    return Source(file, blanked, lines, source.starts, fenced=True)


def _limit(size: int, file: str) -> None:
    if size > MAX_BYTES:
        raise UserError(
            "CHM101",
            f"the config is {size:,} bytes long; the limit is {MAX_BYTES:,}",
            span=Span(file, 1, 1),
            hint="a config holds settings; weights and corpora are files of their own",
        )


def _unfence(source: Source, row: int, line: str) -> str:
    body = line.strip()
    if not body:
        return line
    left, right = line.index(body[0]), len(line.rstrip()) - 1
    start = source.starts[row]
    hint = "every row of a fenced config stands between two '|'"
    if body[0] != "|":
        raise UserError("CHM104", "this row doesn't start with '|'", span=source.span(start + left), hint=hint)
    if body == "|":
        return line.replace("|", " ")
    if body[-1] != "|":
        raise UserError("CHM104", "this row doesn't end with '|'", span=source.span(start + right), hint=hint)
    return line[:left] + " " + line[left + 1 : right] + " " + line[right + 1 :]
