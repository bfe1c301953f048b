"""``chimerac spans``."""

from __future__ import annotations

import click

from chimerac.compiler.cli.output import say


@click.group()
def spans() -> None:
    """Make banks of spans, which bundles that speculate guess from."""


@spans.command(short_help="Make a bank of what comes again and again in texts.")
@click.argument("bundle", type=click.Path())
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--out", default="spans.sfpack", show_default=True, type=click.Path(dir_okay=False))
@click.option("--entries", default=32_768, show_default=True, help="Spans at most, up to 524288.")
@click.option("--least", default=3, show_default=True, help="Times that a span must come.")
@click.option("--answers", is_flag=True, help="Each line of FILES is a prompt; take what the model answers.")
@click.option("-n", "--max-tokens", type=int, help="Of an answer.  [default: the bundle's, else 64]")
@click.option("-q", "--quiet", is_flag=True, help="Print the result only.")
def mine(
    bundle: str,
    files: tuple[str, ...],
    out: str,
    entries: int,
    least: int,
    answers: bool,
    max_tokens: int | None,
    quiet: bool,
) -> None:
    """Make a bank of spans from text FILES with the tokenizer of BUNDLE.

    A span is a sequence of tokens that comes often; the bank tells what it comes after. `chimerac run --spans` and
    `chimerac build --spans` take it.
    """
    from chimerac.compiler.verbs.spans import mine_spans

    def tell(line: str) -> None:
        if not quiet:
            say(line, err=True)

    made = mine_spans(
        bundle, files, out=out, entries=entries, least=least, answers=answers, max_tokens=max_tokens, tell=tell
    )
    say(str(made))
