"""``chimerac explain``."""

from __future__ import annotations

import dataclasses
import json

import click

from chimerac.compiler.cli.options import example_option
from chimerac.compiler.cli.output import say


@click.command()
@click.argument("module", metavar="FILE.py:CLASS")
@example_option
@click.option("--context", type=click.IntRange(min=2), help="Most tokens of a text, as of `build`.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def explain(ctx: click.Context, module: str, example: tuple[str, ...], context: int | None, as_json: bool) -> None:
    """Say whether a PyTorch module can be compiled, and all that stands in the way.

    The file is run, as Python would, and the class is called without arguments. The exit code is 0 if the module
    compiles, else 1.
    """
    from chimerac.compiler.verbs.explain import explain as explain_module

    found = explain_module(module, example or None, context=context)
    if as_json:
        say(json.dumps({"compiles": found.compiles, **dataclasses.asdict(found)}, indent=2, ensure_ascii=False))
    else:
        say(found.render())
    ctx.exit(0 if found.compiles else 1)
