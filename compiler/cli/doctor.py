"""``chimerac doctor``."""

from __future__ import annotations

import click

from chimerac.compiler.cli.output import say


@click.command()
def doctor() -> None:
    """Check that everything a build needs is installed and works here."""
    from chimerac.compiler.verbs.doctor import doctor as examine

    diagnosis = examine()
    for line in diagnosis.lines():
        say(line)
    if not diagnosis.ok:
        raise SystemExit(1)
