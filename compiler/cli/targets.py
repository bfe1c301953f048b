"""``chimerac targets``."""

from __future__ import annotations

import click

from chimerac.compiler.cli.output import say


@click.command()
def targets() -> None:
    """List the targets, and where the test suite runs their code."""
    from chimerac.compiler.verbs.targets import list_targets

    known = list_targets()
    width = max(len(target.name) for target in known)
    for target in known:
        say(f"{target.name:<{width}}  {target.doc}")
        say(f"{'':<{width}}  tested {target.tested}")
        say(f"{'':<{width}}  also called {', '.join(target.aliases)}")
