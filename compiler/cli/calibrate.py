"""``chimerac calibrate``."""

from __future__ import annotations

import click

from chimerac.compiler.cli.output import say


@click.command()
@click.argument("bundle", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--homes", metavar="FILE", help="JSON list with the names of the homes that rows are of.")
@click.option("--most-wrong", default=0.005, show_default=True, help="Wrong actions at most, in parts of all rows.")
@click.option("--harmless", metavar="INTENT", multiple=True, help="Intent that does nothing; more than once for more.")
@click.option("--rows", type=click.IntRange(1), help="Take this many rows of the file at most.")
@click.option("--threads", default=1, show_default=True, help="Share the work; 0 takes one per core, at most 8.")
def calibrate(
    bundle: str,
    data: str,
    homes: str | None,
    most_wrong: float,
    harmless: tuple[str, ...],
    rows: int | None,
    threads: int,
) -> None:
    """Choose which answers of BUNDLE are too unlikely to be given, from the held-out requests of DATA.

    DATA has a JSON object a line, with a request and its json. What is printed goes into the config: grammar.refusal.
    """
    from chimerac.compiler.cli.code import announce_code
    from chimerac.compiler.verbs.calibrate import HARMLESS
    from chimerac.compiler.verbs.calibrate import calibrate as choose

    announce_code(bundle)
    found = choose(
        bundle,
        data,
        homes=homes,
        most_wrong=most_wrong,
        harmless=harmless or HARMLESS,
        rows=rows,
        threads=threads,
    )
    for line in found.lines():
        say(line)
