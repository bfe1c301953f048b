"""``chimerac inspect``."""

from __future__ import annotations

from pathlib import Path

import click

from chimerac.compiler.cli.options import config_options
from chimerac.compiler.cli.output import say


@click.command()
@click.argument("subject")
@config_options
@click.option("--ir", "stage", type=click.Choice(["imported", "lowered"]), help="Print the IR of a config.")
@click.option("--after", metavar="PASS", help="Print the IR of a config as it is after a pass.")
@click.option("-t", "--target", default="x86_64-avx2", show_default=True, help="Target whose passes run.")
@click.option("--loops", type=int, help="Unroll looped layers this often.")
def inspect(
    subject: str,
    stage: str | None,
    after: str | None,
    scale: str | None,
    overrides: tuple[str, ...],
    target: str,
    loops: int | None,
) -> None:
    """Show what is in SUBJECT: a bundle, a model folder or GGUF file, or with --ir or --after the IR of a config."""
    from chimerac.compiler.verbs.inspect import inspect as inspect_bundle
    from chimerac.compiler.verbs.inspect import print_ir
    from chimerac.frontends.sources.recognised import is_published

    if stage is not None and after is not None:
        raise click.UsageError("--ir and --after exclude each other.")
    stage = stage or after
    if stage is None:
        if scale or overrides or loops is not None:
            raise click.UsageError("--scale, --set and --loops need --ir or --after.")
        if is_published(Path(subject)):
            from chimerac.compiler.verbs.inspect_published import inspect_published

            say(inspect_published(subject).render())
        else:
            say(inspect_bundle(subject).render())
    else:
        say(print_ir(subject, stage, scale=scale, overrides=overrides, target=target, loops=loops), end="")
