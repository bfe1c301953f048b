"""Fixed texts, one of which is generated."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir import grammar as ir
from chimerac.frontends.grammar.budget import Budget, shown


def read_choices(text: str) -> list[str]:
    """The texts of a line such as ``on,off,"a, b"``: commas part them, quotes hold commas, blanks count.

    In quotes a doubled quote is one. Raises UserError CHM280 for an empty one and for quotes that aren't closed.
    """
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        hint = 'put a text with commas or quotes in quotes, with its own doubled: "a, ""b"""'
        raise UserError("CHM280", f"choices {shown(text)}: {error}", hint=hint) from None
    found = rows[0] if rows else []
    empty = next((number for number, choice in enumerate(found, 1) if not choice), 1 if not found else 0)
    if empty:
        raise UserError("CHM280", f"choices {shown(text)}: number {empty} is empty", hint="leave the extra comma out")
    return found


def choices_grammar(choices: Sequence[str], name: str = "choices") -> ir.Grammar:
    """The grammar of some fixed texts.

    Raises UserError CHM280 for none, an empty one or one that is no text, CHM282 for too many, CHM420 for what is no
    list of str.
    """
    if not isinstance(choices, list | tuple) or not all(isinstance(choice, str) for choice in choices):
        given = "other values in it" if isinstance(choices, list | tuple) else f"a {type(choices).__name__}"
        raise UserError("CHM420", f"choices are a list of str, not {given}", hint='for one text write ["text"]')
    if not choices or not all(choices):
        raise UserError("CHM280", "choices: at least one, none of them empty")
    if len(choices) > ir.MAX_CHOICES:
        raise UserError("CHM282", f"{len(choices):,} choices are over the limit of {ir.MAX_CHOICES:,}")
    source = "\n".join(choices)
    Budget("the list of choices").source(source)
    for choice in choices:
        if any("\ud800" <= sign <= "\udfff" for sign in choice):
            raise UserError(
                "CHM280", f"choices: {shown(choice)} has a surrogate that stands alone, which is no character"
            )
    options = tuple(ir.Literal(text.encode()) for text in dict.fromkeys(choices))
    return ir.Grammar(name, {"start": ir.choice(options)}, source=source)
