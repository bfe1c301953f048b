"""The command line: parses arguments, calls the function of the same name, prints what it returns."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from chimerac.compiler.errors import ChimeracError
from chimerac.version import __version__

F = TypeVar("F", bound=Callable[..., Any])


class _Group(click.Group):
    """Verbs in the order a newcomer needs them; user errors end with their code and no traceback."""

    ORDER = ("build", "run", "check", "inspect", "verify", "targets", "doctor")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in self.ORDER if name in self.commands]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ChimeracError as error:
            if ctx.params.get("traceback"):
                raise
            click.echo(error.render(), err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chimerac")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Compile ternary and recurrent language models for browsers, phones and small boards."""


def _config_options(command: F) -> F:
    """The options that say which model is meant."""
    options = [
        click.option("--scale", metavar="PRESET", help="Shrink the model: nano, tiny, small or full."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config value; repeatable."
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


@main.command()
@click.argument("config", default="home")
@click.option("-t", "--target", "targets", multiple=True, metavar="NAME", help="What to build for; repeatable.")
@click.option("-o", "--out", default="dist", show_default=True, type=click.Path(file_okay=False), help="Output folder.")
@_config_options
@click.option("--weights", type=click.Path(dir_okay=False), help="Trained weights (safetensors).")
@click.option("--seed", type=int, help="Seed of random weights.")
@click.option("--loops", type=int, help="Unroll looped layers this often.  [default: decided at run time]")
@click.option("--without", multiple=True, metavar="PASS", help="Leave an optional pass out; repeatable.")
@click.option("--no-verify", is_flag=True, help="Do not run the finished bundle's self-test.")
@click.option("-q", "--quiet", is_flag=True, help="Print the bundles only.")
def build(config: str, targets: tuple[str, ...], out: str, no_verify: bool, quiet: bool, **options: Any) -> None:
    """Build bundles of CONFIG, a file or the name of a built-in config.

    Without --target it builds for this machine.
    """
    from chimerac.compiler.build import build as build_bundles

    report = build_bundles(
        config,
        targets=targets or ("x86_64-avx2",),
        out=out,
        check=not no_verify,
        progress=None if quiet else _print_step,
        **options,
    )
    if report.weights.startswith("random") and not quiet:
        click.echo("The weights are random: the text will be noise. Give trained ones with --weights.")
    for bundle in report.bundles:
        click.echo(f"{bundle.path}  {_size(bundle.bytes)}  {bundle.seconds:.1f} s")


@main.command()
@click.argument("bundle", type=click.Path())
@click.argument("prompt", required=False)
@click.option("-n", "--max-tokens", default=64, show_default=True, help="Tokens to generate at most.")
@click.option("--temperature", default=0.0, show_default=True, help="0 always takes the likeliest token.")
@click.option("--top-p", default=1.0, show_default=True, help="Keep the likeliest tokens of this total probability.")
@click.option("--top-k", default=0, show_default=True, help="Keep this many of the likeliest tokens; 0 keeps all.")
@click.option("--repetition-penalty", default=1.0, show_default=True, help="Above 1 discourages repetition.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same tokens everywhere.")
@click.option("--loops", default=0, show_default=True, help="Iterations of looped layers; 0 takes the model's default.")
@click.option("--exit-threshold", default=0.0, show_default=True, help="Leave loops early below this change; 0 never.")
@click.option("--tokens", "show_tokens", is_flag=True, help="Print token numbers, one JSON list, in place of text.")
def run(bundle: str, prompt: str | None, show_tokens: bool, **options: Any) -> None:
    """Generate text with BUNDLE after PROMPT.

    Without a prompt: one line of standard input after the other, each continuing the conversation.
    """
    from chimerac.compiler.run import generate, interact

    if prompt is None:
        interact(bundle, options)
    elif show_tokens:
        *_, tokens = [None, *generate(bundle, prompt, options, text=False)]
        click.echo(json.dumps(tokens or []))
    else:
        for piece in generate(bundle, prompt, options, text=True):
            click.echo(piece, nl=False)
        click.echo()


@main.command()
@click.argument("config", default="home")
@_config_options
@click.option("--schema", is_flag=True, help="Print the JSON Schema of configs, for editors.")
@click.option("--json", "as_json", is_flag=True, help="Print the resolved config.")
def check(config: str, scale: str | None, overrides: tuple[str, ...], schema: bool, as_json: bool) -> None:
    """Check CONFIG: inconsistencies with what is done about each, and sizes against its own claims."""
    from chimerac.frontends import config as language

    if schema:
        click.echo(json.dumps(language.json_schema(), indent=2, ensure_ascii=False))
        return
    settings = language.load(config, scale=scale, overrides=overrides)
    if as_json:
        click.echo(json.dumps(json.loads(language.canonical_json(settings)), indent=2, ensure_ascii=False))
        return
    click.echo(language.render_check(language.check(settings)))
    click.echo()
    click.echo(language.render_audit(language.audit(settings)))


@main.command()
@click.argument("subject", default="home")
@_config_options
@click.option("--ir", "stage", type=click.Choice(["imported", "lowered"]), help="Print the IR of a config.")
@click.option("-t", "--target", default="x86_64-avx2", show_default=True, help="Target of --ir lowered.")
@click.option("--loops", type=int, help="Unroll looped layers in --ir lowered.")
def inspect(
    subject: str, stage: str | None, scale: str | None, overrides: tuple[str, ...], target: str, loops: int | None
) -> None:
    """Show what is in SUBJECT: a bundle, or with --ir the IR of a config."""
    from chimerac.compiler.inspect import describe_bundle, print_ir

    if stage is None:
        click.echo(describe_bundle(Path(subject)))
    else:
        click.echo(print_ir(subject, stage, scale=scale, overrides=overrides, target=target, loops=loops), nl=False)


@main.command()
@click.argument("bundle", type=click.Path())
@click.option("--config", help="Also compare with the PyTorch model of this config.")
@_config_options
@click.option("--weights", type=click.Path(dir_okay=False), help="Weights of the PyTorch model (safetensors).")
@click.option("--seed", type=int, help="Seed of its random weights.")
def verify(bundle: str, **options: Any) -> None:
    """Check BUNDLE: file checksums, its self-test, and with --config its agreement with PyTorch."""
    from chimerac.compiler.verify import verify as verify_bundle

    for line in verify_bundle(bundle, **options):
        click.echo(line)


@main.command()
def targets() -> None:
    """List the targets, and where the test suite runs their code."""
    from chimerac.targets.registry import TARGETS

    width = max(map(len, TARGETS))
    for target in TARGETS.values():
        click.echo(f"{target.name:<{width}}  {target.doc}")
        click.echo(f"{'':<{width}}  tested {target.tested}; also called {', '.join(target.aliases)}")


@main.command()
def doctor() -> None:
    """Check that everything a build needs is installed and works here."""
    from chimerac.compiler.doctor import examine

    findings = examine()
    width = max(len(f.what) for f in findings)
    for finding in findings:
        mark = "ok " if finding.ok else ("no " if finding.needed else "-- ")
        click.echo(f"{mark} {finding.what:<{width}}  {finding.detail}")
    if any(f.needed and not f.ok for f in findings):
        raise SystemExit(1)


def _print_step(step: str, what: str, seconds: float) -> None:
    click.echo(f"{step:<18} {what:<62} {seconds:6.1f} s")


def _size(count: int) -> str:
    """Bytes with a decimal unit."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
