"""Texts of small modules: what nearly all of them begin with is written once."""

from __future__ import annotations

import textwrap


def ir_text(constants: str, body: str, *more: str, loops: str = "1..1") -> str:
    """The text of a module ``m`` whose ``main`` reads some constants under their own names, then does ``body``.

    Args:
        constants: names and types, such as ``"table: f32[10,8], v: f32[8]"``.
        more: lines that declare what ``main`` does not begin with: states and further constants.
    """
    named = [item.split(": ") for item in constants.split(", ")]
    lines = [f"module m block=4 loops={loops}"]
    lines += [f"constant {name}: {kind}" for name, kind in named]
    lines += [*more, "graph main(%tokens: i32[T], %position: i32[]) tokens=4 {"]
    lines += [f"  %{name}: {kind} = constant() {{name='{name}'}}" for name, kind in named]
    return "\n".join([*lines, textwrap.indent(textwrap.dedent(body).strip(), "  "), "}", ""])
