"""``chimerac bench``."""

from __future__ import annotations

from typing import Any

import click

from chimerac.compiler.cli.output import passing_line, say


def _numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    """The numbers of ``1,2``."""
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,2") from None


@click.command()
@click.argument("bundle", required=False, type=click.Path())
@click.option("--threads", callback=_numbers, metavar="N,…", help="Numbers of threads.  [default: 1 and one per core]")
@click.option(
    "--prompts", callback=_numbers, default="16,128", metavar="N,…", show_default=True, help="Prompt lengths."
)
@click.option("--after", callback=_numbers, metavar="N,…", help="Measure decode after texts of these lengths, too.")
@click.option("--seconds", default=8.0, show_default=True, help="Measure speeds for that long.")
@click.option("--json", "as_json", is_flag=True, help="Print the result for programs.")
def bench(bundle: str | None, as_json: bool, **options: Any) -> None:
    """Measure BUNDLE: tokens per second, time to the first token, where the time goes, memory.

    Of a bundle that holds no language model it measures calls; --prompts and --after are not for these.

    Without a bundle it takes the one built last in dist/.
    """
    from chimerac.compiler.bench.bench import bench as bench_bundle
    from chimerac.compiler.bench.calls import CallReport, bench_calls
    from chimerac.compiler.bench.report import BenchReport
    from chimerac.compiler.cli.code import announce_code
    from chimerac.compiler.verbs.bundles import find_bundle, has_tokens

    chosen = bundle or find_bundle()
    announce_code(chosen)
    with passing_line() as progress:
        report: BenchReport | CallReport
        if has_tokens(chosen):
            report = bench_bundle(chosen, progress=progress, **options)
        else:
            del options["prompts"], options["after"]
            report = bench_calls(chosen, progress=progress, **options)
    say(report.json() if as_json else str(report))
