"""The command line: parses arguments, calls the function of the same name, prints what it returns."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from chimerac.compiler.cli.grammar import grammar
from chimerac.compiler.errors import ChimeracError, InternalError, UserError
from chimerac.version import __version__

F = TypeVar("F", bound=Callable[..., Any])


class _Group(click.Group):
    """Verbs in the order a newcomer needs them; user errors end with their code and no traceback."""

    ORDER = ("build", "run", "serve", "bench", "train", "check", "grammar", "inspect", "verify", "targets", "doctor")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in self.ORDER if name in self.commands]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business: usage, --help, Ctrl-C, `| head`
        except Exception as error:
            if ctx.params.get("traceback"):
                raise
            text, exit_code = _explain(error)
            click.echo(text, err=True)
            ctx.exit(exit_code)


#: Modules of the ``build`` extra; running a bundle needs none of them.
_BUILD_MODULES = frozenset({"torch", "tvm", "ziglang", "lark", "safetensors", "onnx", "onnxruntime"})


def _explain(error: Exception) -> tuple[str, int]:
    """What to print for an error and the exit code: 1 for what the user can mend, 2 for a bug of chimerac."""
    from chimerac.runtime.errors import BundleError

    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _BUILD_MODULES:
        hint = "python -m pip install 'chimerac[build]'; bundles run without it"
        error = UserError("CHM304", f"the package {error.name} is not installed", hint=hint)
    if isinstance(error, ChimeracError | BundleError):
        return error.render(), error.exit_code
    lost = InternalError(f"{type(error).__name__}: {error}")
    return lost.render(), lost.exit_code


def _tolerate_encoding() -> None:
    """Characters that the terminal's encoding has not are printed as '?': text of a model can hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="chimerac")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Compile ternary and recurrent language models for browsers, phones and small boards."""
    _tolerate_encoding()


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
@click.option("--tokenizer", type=click.Path(dir_okay=False), help="Tokenizer: a container or a .tiktoken file.")
@click.option("--seed", type=int, help="Seed of random weights.")
@click.option("--loops", type=int, help="Unroll looped layers this often.  [default: decided at run time]")
@click.option("--without", multiple=True, metavar="PASS", help="Leave an optional pass out; repeatable.")
@click.option(
    "--trits", type=click.Choice(["t2", "t5"]), help="Pack weights in 2 or in 1.6 bits.  [default: the faster]"
)
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
    timings: str | None,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Build bundles of CONFIG, a file or the name of a built-in config.

    Without --target it builds for this machine.
    """
    from chimerac.compiler.build.build import build as build_bundles
    from chimerac.compiler.build.timings import write_timings
    from chimerac.frontends.config.status import not_compiled
    from chimerac.targets.registry import host_target

    report = build_bundles(
        config,
        targets=targets or (host_target(),),
        out=out,
        check=not no_verify,
        progress=None if quiet else _print_step,
        **options,
    )
    if report.absent:
        click.echo(f"warning: {not_compiled(report.absent)}", err=True)
    if timings is not None:
        write_timings(Path(timings), report.timings)
    if verbose:
        click.echo(report.timings.table())
    if report.weights.startswith("random") and not quiet:
        click.echo("The weights are random: the text will be noise. Give trained ones with --weights.")
    width = max(len(str(bundle.path)) for bundle in report.bundles)
    for bundle in report.bundles:
        click.echo(f"{bundle.path!s:<{width}}  {_size(bundle.bytes):>8}  {bundle.seconds:6.1f} s")
    if not quiet:
        click.echo(f'Next: chimerac run {shlex.quote(str(report.bundles[0].path))} "some text"')


@main.command()
@click.argument("bundle", required=False, type=click.Path())
@click.argument("prompt", required=False)
@click.option("-n", "--max-tokens", type=int, help="Tokens to generate at most.  [default: the bundle's, else 64]")
@click.option("--temperature", type=float, help="0 always takes the likeliest token.  [default: the bundle's, else 0]")
@click.option("--top-p", type=float, help="Keep the likeliest tokens of this mass.  [default: the bundle's, else 1]")
@click.option("--top-k", default=0, show_default=True, help="Keep this many of the likeliest tokens; 0 keeps all.")
@click.option("--repetition-penalty", type=float, help="Above 1 for less of it.  [default: the bundle's, else 1]")
@click.option("--mode", metavar="NAME", help="One of the bundle's modes, which sets the loops.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same tokens everywhere.")
@click.option("--loops", type=int, help="Iterations of looped layers; 0: the model's.  [default: of the mode, else 0]")
@click.option("--exit-threshold", type=float, help="Leave loops below this change.  [default: the bundle's, else 0]")
@click.option("--threads", default=1, show_default=True, help="Share the work; 0 takes one per core, at most 8.")
@click.option("--grammar", metavar="NAME", help="What the text must follow: a mode, a .lark file, or none.")
@click.option("--schema", metavar="FILE", help="Generate JSON that fits this JSON Schema.")
@click.option("--choices", metavar="A,B,…", help="Generate one of these texts.")
@click.option("--regex", metavar="PATTERN", help="Generate a text that this regular expression matches.")
@click.option("--tokens", "show_tokens", is_flag=True, help="Print token numbers, one JSON list, in place of text.")
def run(
    bundle: str | None,
    prompt: str | None,
    show_tokens: bool,
    threads: int,
    grammar: str | None,
    schema: str | None,
    choices: str | None,
    regex: str | None,
    **options: Any,
) -> None:
    """Generate text with BUNDLE after PROMPT.

    Without a prompt it answers standard input line by line. Without a bundle it takes the one built last in dist/.
    """
    from chimerac.compiler.cli.grammar_option import chosen_grammar, plain_warnings
    from chimerac.compiler.verbs.run import find_bundle, generate, interact, printable

    bundle = bundle or find_bundle()
    options["grammar"] = chosen_grammar(bundle, grammar=grammar, schema=schema, choices=choices, regex=regex)
    with plain_warnings():
        if prompt is None:
            if show_tokens:
                raise click.UsageError("--tokens needs a PROMPT.")
            interact(bundle, options, threads)
        elif show_tokens:
            *_, tokens = [None, *generate(bundle, prompt, options, text=False, threads=threads)]
            click.echo(json.dumps(tokens or []))
        else:
            for piece in generate(bundle, prompt, options, text=True, threads=threads):
                click.echo(printable(piece), nl=False)
            click.echo()


@main.command()
@click.argument("bundle", required=False, type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
def serve(bundle: str | None, host: str, port: int) -> None:
    """Serve a web BUNDLE on this machine, so that a browser can open it; Ctrl-C ends it.

    Without a bundle it takes the one for wasm built last in dist/.
    """
    from chimerac.compiler.verbs.run import find_bundle
    from chimerac.runtime.web.server import BundleServer

    bundle = bundle or find_bundle(web=True)
    with BundleServer(bundle, host, port) as server:
        click.echo(f"{bundle}: open {server.url} in a browser; Ctrl-C ends")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    """The numbers of ``1,2``."""
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,2") from None


@main.command()
@click.argument("bundle", required=False, type=click.Path())
@click.option("--threads", callback=_numbers, metavar="N,…", help="Numbers of threads.  [default: 1 and one per core]")
@click.option(
    "--prompts", callback=_numbers, default="16,128", metavar="N,…", show_default=True, help="Prompt lengths."
)
@click.option("--seconds", default=8.0, show_default=True, help="Measure speeds for that long.")
@click.option("--json", "as_json", is_flag=True, help="Print the result for programs.")
def bench(bundle: str | None, as_json: bool, **options: Any) -> None:
    """Measure BUNDLE: tokens per second, time to the first token, where the time goes, memory.

    Without a bundle it takes the one built last in dist/.
    """
    from chimerac.compiler.bench.bench import bench as bench_bundle
    from chimerac.compiler.verbs.run import find_bundle

    with _passing_line() as progress:
        report = bench_bundle(bundle or find_bundle(), progress=progress, **options)
    click.echo(report.json() if as_json else str(report))


@contextlib.contextmanager
def _passing_line() -> Iterator[Callable[[str], None]]:
    """Shows on a line of the terminal what is being done, and takes it away at the end; without a terminal nothing."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    try:
        yield lambda what: click.echo(f"\r\x1b[K{what} …", nl=False, err=True)
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


@main.command()
@click.argument("config", default="home")
@click.option("--data", required=True, type=click.Path(file_okay=False), help="Folder of training data.")
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False), help="Folder for weights, log and state.")
@_config_options
@click.option("--plan", type=click.Path(dir_okay=False), help="How to train (JSON), in place of the config's phases.")
@click.option("--weights", type=click.Path(dir_okay=False), help="Start from these weights (safetensors).")
@click.option("--steps", type=int, help="Steps of every phase, in place of what the config says.")
@click.option("--seconds", type=float, help="Train that long; phases share it in the ratio of the plan's seconds.")
@click.option("--float", "as_float", is_flag=True, help="Train the float model of this shape, to compare with.")
@click.option("--precision", type=click.Choice(["float32", "tensorfloat32", "bfloat16"]), help="Of matrix products.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option("--checkpointing", is_flag=True, help="Save memory: compute each block twice.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: a GPU if there is one]")
@click.option("--stop-after", type=float, metavar="SECONDS", help="Save and stop then; the same command goes on.")
@click.option("--evaluated-rows", type=int, metavar="N", help="Most rows of each held-out split to measure.")
def train(
    config: str, as_float: bool, compiled: bool, checkpointing: bool, precision: str | None, **options: Any
) -> None:
    """Train CONFIG's model on a folder of data; the same command goes on after a stop."""
    from chimerac.compiler.verbs.train import summary
    from chimerac.compiler.verbs.train import train as train_model

    switches = {"compile": compiled, "checkpointing": checkpointing}
    settings: dict[str, Any] = {name: True for name, on in switches.items() if on}
    settings |= {"ternary": False} if as_float else {}
    settings |= {} if precision is None else {"precision": precision}
    outcome = train_model(config, settings=settings, tell=click.echo, **options)
    if outcome.finished:
        click.echo(summary(outcome.metrics))


@main.command()
@click.argument("config", default="home")
@_config_options
@click.option("--schema", is_flag=True, help="Print the JSON Schema of configs, for editors.")
@click.option("--json", "as_json", is_flag=True, help="Print the resolved config.")
def check(config: str, scale: str | None, overrides: tuple[str, ...], schema: bool, as_json: bool) -> None:
    """Check CONFIG: inconsistencies with what is done about each, and sizes against its own claims."""
    from chimerac.frontends import config as language
    from chimerac.frontends.families.chimera.consistency import check
    from chimerac.frontends.families.chimera.sizes import audit
    from chimerac.frontends.families.chimera.tables import render_audit, render_check

    if schema:
        click.echo(json.dumps(language.json_schema(), indent=2, ensure_ascii=False))
        return
    settings = language.load(config, scale=scale, overrides=overrides)
    if as_json:
        click.echo(json.dumps(json.loads(language.canonical_json(settings)), indent=2, ensure_ascii=False))
        return
    click.echo(render_check(check(settings)))
    click.echo()
    click.echo(render_audit(audit(settings)))


@main.command()
@click.argument("subject")
@_config_options
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
    """Show what is in SUBJECT: a bundle, or with --ir or --after the IR of a config."""
    from chimerac.compiler.verbs.inspect import describe_bundle, print_ir

    if stage is not None and after is not None:
        raise click.UsageError("--ir and --after exclude each other.")
    stage = stage or after
    if stage is None:
        if scale or overrides or loops is not None:
            raise click.UsageError("--scale, --set and --loops need --ir or --after.")
        click.echo(describe_bundle(subject))
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
    from chimerac.compiler.verbs.verify import verify as verify_bundle

    if not options["config"] and any(value not in (None, ()) for value in options.values()):
        raise click.UsageError("--scale, --set, --weights and --seed need --config.")
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
    from chimerac.compiler.verbs.doctor import examine

    findings = examine()
    width = max(len(f.what) for f in findings)
    for finding in findings:
        mark = "ok " if finding.ok else ("no " if finding.needed else "-- ")
        click.echo(f"{mark} {finding.what:<{width}}  {finding.detail}")
    if any(f.needed and not f.ok for f in findings):
        raise SystemExit(1)


main.add_command(grammar)


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
