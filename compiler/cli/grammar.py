"""``chimerac grammar``."""

from __future__ import annotations

import click

from chimerac.compiler.cli.output import say


@click.group()
def grammar() -> None:
    """Look at grammars before a build."""


@grammar.command(short_help="Say what a grammar compiles to.")
@click.argument("source")
@click.option("--seed", default=0, show_default=True, help="Of the example.")
def check(source: str, seed: int) -> None:
    """Compile SOURCE: a .lark file, a JSON Schema (.json) or the name of a built-in mode.

    Prints states, frames, sizes, where two readings exist, and an example of what the grammar accepts.
    """
    from chimerac.compiler.verbs.grammar import check_grammar

    for line in check_grammar(source, seed=seed).lines():
        say(line)
