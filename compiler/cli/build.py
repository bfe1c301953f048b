"""``chimerac build``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chimerac.compiler.cli.options import config_options, example_option
from chimerac.compiler.cli.output import print_step, say
from chimerac.compiler.packaging.options import PAGES, Page, packaging_options
from chimerac.compiler.units import decimal_size

if TYPE_CHECKING:
    from chimerac.compiler.build.build import BuildReport


@click.command()
@click.argument("config", default="home")
@click.option("-t", "--target", "targets", multiple=True, metavar="NAME", help="What to build for; repeatable.")
@click.option("-o", "--out", default="dist", show_default=True, type=click.Path(file_okay=False), help="Output folder.")
@config_options
@click.option("--weights", type=click.Path(dir_okay=False), help="Trained weights (safetensors).")
@click.option(
    "--tokenizer",
    type=click.Path(dir_okay=False),
    help="Tokenizer: a container, a .tiktoken file, or a list of characters in JSON.",
)
@click.option("--seed", type=int, help="Seed of random weights.")
@example_option
@click.option("--block", type=click.IntRange(min=1), help="Most tokens, or elements along T, of a call of a module.")
@click.option(
    "--context", type=click.IntRange(min=2), help="Most tokens of a text.  [default: the model's, up to 4096]"
)
@click.option(
    "--cache",
    type=click.Choice(["f32", "f16", "int8", "int4"]),
    help="How attention holds keys and values.  [default: f32]",
)
@click.option(
    "--weights-format",
    multiple=True,
    metavar="[PATTERN=]FORMAT",
    help="f32, f16, bf16, int8, ternary or auto: of the matrices of a module, or of those whose names fit a pattern, "
    "'head.*=f32'; repeatable.  [default: f32] Of a published model for what is not ternary already.  "
    "[default: int8]",
)
@click.option(
    "--activations",
    type=click.Choice(["blocks", "row"]),
    help="What has a scale, of the 8-bit activations of a published model's ternary layers: blocks of 64 channels, or "
    "all channels of a token.  [default: what the model was made for]",
)
@click.option("--loops", type=int, help="Unroll looped layers this often.  [default: decided at run time]")
@click.option("--without", multiple=True, metavar="PASS", help="Leave an optional pass out; repeatable.")
@click.option(
    "--trits", type=click.Choice(["t2", "t5"]), help="Pack weights in 2 or in 1.6 bits.  [default: the faster]"
)
@click.option("--max-size", metavar="SIZE", help="Fail where one device needs more of a bundle: 400kB, 1.5MiB.")
@click.option("--page", type=click.Choice(PAGES), help="Of a web bundle.  [default: demo]")
@click.option("--examples", type=click.Path(dir_okay=False), help="Prompts that the page proposes, one a line.")
@click.option("--package", "npm", metavar="NAME[@VERSION]", help="The npm package that a web bundle is.")
@click.option(
    "--runtime",
    metavar="NAME",
    help="Take a web bundle's loader from this npm package, which `chimerac runtime` makes.",
)
@click.option(
    "--speculate", is_flag=True, help="Let several guessed tokens be run in one pass; the text stays the same."
)
@click.option("--spans", type=click.Path(dir_okay=False), help="Guess from this bank of `chimerac spans mine`, too.")
@click.option("--no-verify", is_flag=True, help="Do not run the finished bundle's self-test.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Compilers at a time.  [default: one per core]")
@click.option("--timings", type=click.Path(dir_okay=False), help="Write the times of passes and kernels, as JSON.")
@click.option(
    "--dump-passes", type=click.Path(file_okay=False), metavar="DIR", help="Write the IR after every pass, as text."
)
@click.option("-v", "--verbose", is_flag=True, help="Print the slowest passes, kernels and links, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print the bundles only.")
def build(
    config: str,
    targets: tuple[str, ...],
    out: str,
    no_verify: bool,
    example: tuple[str, ...],
    weights_format: tuple[str, ...],
    timings: str | None,
    verbose: bool,
    quiet: bool,
    max_size: str | None,
    page: Page | None,
    examples: str | None,
    npm: str | None,
    runtime: str | None,
    spans: str | None,
    **options: Any,
) -> None:
    """Build bundles of CONFIG, a file or the name of a built-in config.

    CONFIG may also be a folder of the Hugging Face hub, a GGUF file, or file.py:Class, a PyTorch module: the file is
    run, and the class called without arguments.
    Without --target it builds for this machine.
    """
    from chimerac.compiler.build.build import build as build_bundles
    from chimerac.compiler.build.timings import write_timings
    from chimerac.frontends.config.status import not_compiled

    report = build_bundles(
        config,
        targets=targets or None,
        out=out,
        check=not no_verify,
        example=example or None,
        weights_format=weights_format or None,
        progress=None if quiet else print_step,
        packaging=packaging_options(
            page=page, npm=npm, runtime=runtime, examples=examples, max_size=max_size, spans=spans
        ),
        **options,
    )
    if report.absent:
        say(f"warning: {not_compiled(report.absent)}", err=True)
    if timings is not None:
        write_timings(Path(timings), report.timings)
    if verbose:
        say(report.timings.table())
    if report.weights.startswith("random") and not quiet:
        say("The weights are random: the text will be noise. Give trained ones with --weights.")
    width = max(len(str(bundle.path)) for bundle in report.bundles)
    for bundle in report.bundles:
        say(f"{bundle.path!s:<{width}}  {decimal_size(bundle.bytes):>8}  {bundle.seconds:6.1f} s")
    if not quiet:
        say(f"Next: chimerac {_next(report, has_page=page != 'none' and runtime is None)}")


def _next(report: BuildReport, *, has_page: bool) -> str:
    """What somebody wants who has just built this."""
    first, place = report.bundles[0], shlex.quote(str(report.bundles[0].path))
    if not report.has_tokens:
        return f"inspect {place}"
    return f"serve {place}" if first.target == "wasm" and has_page else f'run {place} "some text"'
