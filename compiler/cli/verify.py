"""``chimerac verify``."""

from __future__ import annotations

from typing import Any

import click

from chimerac.compiler.cli.options import config_options
from chimerac.compiler.cli.output import say


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--config", help="Also compare with the PyTorch model of this config.")
@config_options
@click.option("--weights", type=click.Path(dir_okay=False), help="Weights of the PyTorch model (safetensors).")
@click.option("--seed", type=int, help="Seed of its random weights.")
def verify(bundle: str, **options: Any) -> None:
    """Check BUNDLE: file checksums, its self-test, and with --config its agreement with PyTorch."""
    from chimerac.compiler.cli.code import announce_code
    from chimerac.compiler.verbs.verify import verify as verify_bundle

    if not options["config"] and any(value not in (None, ()) for value in options.values()):
        raise click.UsageError("--scale, --set, --weights and --seed need --config.")
    announce_code(bundle)
    verify_bundle(bundle, tell=say, **options)
