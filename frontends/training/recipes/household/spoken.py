"""Numbers as they are said."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from hassil.numbers import get_rbnf_engine


@functools.cache
def number_words(language: str) -> Mapping[int, str]:
    """0 to 100 as words; none for a language without rules for them."""
    try:
        engine = get_rbnf_engine(language.split("-")[0])
        return {n: engine.format_number(n).text.replace("\u00ad", "").replace("-", " ") for n in range(101)}
    except Exception:  # of a library that has no error of its own for an unknown language
        return {}
