"""``chimerac train``."""

from __future__ import annotations

from typing import Any

import click

from chimerac.compiler.cli.options import config_options
from chimerac.compiler.cli.output import say


@click.command()
@click.argument("config", default="home")
@click.option("--data", required=True, type=click.Path(file_okay=False), help="Folder of training data.")
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False), help="Folder for weights, log and state.")
@config_options
@click.option("--plan", type=click.Path(dir_okay=False), help="How to train (JSON), in place of the config's phases.")
@click.option("--phase", help="router, draft: train that part of the model in --weights.")
@click.option("--weights", type=click.Path(dir_okay=False), help="Start from these weights (safetensors).")
@click.option("--steps", type=int, help="Steps of every phase, in place of what the config says.")
@click.option("--seconds", type=float, help="Train that long; phases share it in the ratio of the plan's seconds.")
@click.option("--float", "as_float", is_flag=True, help="Train the float model of this shape, to compare with.")
@click.option("--precision", type=click.Choice(["float32", "tensorfloat32", "bfloat16"]), help="Of matrix products.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option("--fused", is_flag=True, help="Compile what lies between matrix products to one kernel each.")
@click.option("--kernels", type=click.IntRange(0, 256), default=0, help="Processes that make fused kernels first.")
@click.option("--checkpointing", is_flag=True, help="Save memory: compute each block twice.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: a GPU if there is one]")
@click.option("--stop-after", type=float, metavar="SECONDS", help="Save and stop then; the same command goes on.")
@click.option("--evaluated-rows", type=int, metavar="N", help="Most rows of each held-out split to measure.")
def train(
    config: str,
    as_float: bool,
    compiled: bool,
    fused: bool,
    checkpointing: bool,
    precision: str | None,
    **options: Any,
) -> None:
    """Train CONFIG's model on a folder of data; the same command goes on after a stop."""
    from chimerac.compiler.verbs.train import summary
    from chimerac.compiler.verbs.train import train as train_model

    switches = {"compile": compiled, "fused": fused, "checkpointing": checkpointing}
    settings: dict[str, Any] = {name: True for name, on in switches.items() if on}
    settings |= {"ternary": False} if as_float else {}
    settings |= {} if precision is None else {"precision": precision}
    outcome = train_model(config, settings=settings, tell=say, **options)
    if outcome.finished:
        say(summary(outcome.metrics))
