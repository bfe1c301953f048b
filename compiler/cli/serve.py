"""``chimerac serve``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from chimerac.compiler.cli.output import say

_PORTS = {"web": 8000, "api": 8000, "wyoming": 10500}


@click.command()
@click.argument("bundle", required=False, type=click.Path())
@click.option("--wyoming", is_flag=True, help="Answer a voice assistant that speaks the Wyoming protocol.")
@click.option("--api", is_flag=True, help="Answer programs that know OpenAI's API: /v1/chat/completions.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes a free one.  [default: 8000; of Wyoming 10500]")
@click.option("--no-isolation", is_flag=True, help="Of a page: leave out the headers that threads need.")
@click.option("--names", metavar="FILE", help="With --wyoming or --api: JSON with the names of a home.")
@click.option("--language", "languages", metavar="CODE", multiple=True, help="With --wyoming: en, de …  [default: any]")
@click.option(
    "--threads", default=1, show_default=True, help="Of these two: share the work; 0 is one per core, at most 8."
)
def serve(
    bundle: str | None,
    wyoming: bool,
    api: bool,
    host: str,
    port: int | None,
    no_isolation: bool,
    languages: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve a web BUNDLE on this machine, so that a browser can open it; Ctrl-C ends it.

    With --wyoming or --api a BUNDLE answers there. Without a bundle it takes the one built last in dist/.
    """
    from chimerac.compiler.cli.code import announce_code
    from chimerac.compiler.verbs import serve as serving
    from chimerac.compiler.verbs.bundles import find_bundle

    if wyoming and api:
        raise click.UsageError("--wyoming and --api do not go together.")
    kind = "wyoming" if wyoming else "api" if api else "web"
    _check_options(kind, no_isolation, languages, options)
    where: dict[str, Any] = {"host": host, "port": _PORTS[kind] if port is None else port}
    chosen = Path(bundle) if bundle else find_bundle(web=kind == "web")
    if kind == "web":
        with serving.serve(chosen, **where, isolated=not no_isolation) as server:
            _until_interrupted(server, f"{chosen}: open {server.url} in a browser")
        return
    announce_code(chosen)
    if wyoming:
        with serving.serve_wyoming(chosen, **where, **options, languages=languages) as service:
            _until_interrupted(service, f"{chosen} answers at {service.url} by the Wyoming protocol")
    else:
        with serving.serve_api(chosen, **where, **options) as answering:
            _until_interrupted(
                answering, f"{chosen} answers at {answering.url}, its base URL for clients of OpenAI's API"
            )


def _check_options(kind: str, no_isolation: bool, languages: tuple[str, ...], options: dict[str, Any]) -> None:
    if no_isolation and kind != "web":
        raise click.UsageError("--no-isolation is of pages.")
    if languages and kind != "wyoming":
        raise click.UsageError("--language needs --wyoming.")
    if kind == "web" and (options["names"] is not None or options["threads"] != 1):
        raise click.UsageError("--names and --threads need --wyoming or --api.")


def _until_interrupted(server: Any, what: str) -> None:
    say(f"{what}; Ctrl-C ends")
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
