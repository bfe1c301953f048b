"""The command line: its commands in order, and how each of them ends."""

from __future__ import annotations

from typing import Any

import click

from chimerac.compiler.cli.bench import bench
from chimerac.compiler.cli.build import build
from chimerac.compiler.cli.calibrate import calibrate
from chimerac.compiler.cli.check import check
from chimerac.compiler.cli.doctor import doctor
from chimerac.compiler.cli.errors import explain as explain_error
from chimerac.compiler.cli.explain import explain
from chimerac.compiler.cli.grammar import grammar
from chimerac.compiler.cli.inspect import inspect
from chimerac.compiler.cli.output import finish_output, prepare_streams, say
from chimerac.compiler.cli.run import run
from chimerac.compiler.cli.runtime import runtime
from chimerac.compiler.cli.serve import serve
from chimerac.compiler.cli.spans import spans
from chimerac.compiler.cli.targets import targets
from chimerac.compiler.cli.train import train
from chimerac.compiler.cli.verify import verify
from chimerac.version import __version__

#: In the order in which a newcomer needs them.
COMMANDS = (
    build,
    run,
    serve,
    runtime,
    bench,
    train,
    calibrate,
    check,
    explain,
    grammar,
    spans,
    inspect,
    verify,
    targets,
    doctor,
)


class _Group(click.Group):
    """Commands in their own order; user errors end with their code and no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            prepare_streams()
            result = super().invoke(ctx)
            finish_output()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business: usage, --help, Ctrl-C, `| head`
        except Exception as error:
            if ctx.params.get("traceback"):
                raise
            text, exit_code = explain_error(error)
            say(text, err=True)
            ctx.exit(exit_code)


@click.group(
    cls=_Group,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="chimerac")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Compile ternary and recurrent language models for browsers, phones and small boards."""
