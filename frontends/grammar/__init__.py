"""Grammars in Lark's notation, JSON Schemas, regular expressions, choices and built-in modes, as rules over bytes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import PROSE, Grammar

#: The built-in modes, in the order of the config.
MODES: Final = ("plain_text", "dialogue", "markdown", "json", "python", "javascript", "sql", "math_latex", "shell")
_PROSE: Final = frozenset({"plain_text", "dialogue", "markdown"})
_FOLDER: Final = Path(__file__).parent / "modes"


@functools.cache
def mode_grammar(name: str) -> Grammar:
    """The grammar of a built-in mode; raises UserError CHM285 for an unknown one."""
    from chimerac.frontends.grammar.lark_files import lark_grammar

    if name not in MODES:
        raise UserError("CHM285", f"there is no grammar {name!r}", hint=f"there are {', '.join(MODES)}")
    path = _FOLDER / f"{name}.lark"
    return lark_grammar(path.read_text("utf-8"), name, file=str(path), flags=PROSE if name in _PROSE else 0)
