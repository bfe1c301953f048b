"""Rows of three texts as aligned lines."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[tuple[str, str, str]], head: tuple[str, str, str]) -> list[str]:
    """The rows under a head; the last column, of numbers, at the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(3)]
    return [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in (head, *rows)]
