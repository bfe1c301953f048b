"""``chimerac serve``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from chimerac.compiler.cli.output import say

_PORTS = {"web": 8000, "wyoming": 10500}


@click.command()
@click.argument("bundle", required=False, type=click.Path())
@click.option("--wyoming", is_flag=True, help="Answer a voice assistant that speaks the Wyoming protocol.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes a free one.  [default: 8000; of Wyoming 10500]")
@click.option("--no-isolation", is_flag=True, help="Of a page: leave out the headers that threads need.")
@click.option("--names", metavar="FILE", help="With --wyoming: JSON with the names of a home.")
@click.option("--language", "languages", metavar="CODE", multiple=True, help="With --wyoming: en, de …  [default: any]")
@click.option(
    "--threads", default=1, show_default=True, help="With --wyoming: share the work; 0: one per core, at most 8."
)
def serve(
    bundle: str | None,
    wyoming: bool,
    host: str,
    port: int | None,
    no_isolation: bool,
    **options: Any,
) -> None:
    """Serve a web BUNDLE on this machine, so that a browser can open it; Ctrl-C ends it.

    With --wyoming a BUNDLE of this machine answers there. Without a bundle it takes the one built last in dist/.
    """
    from chimerac.compiler.cli.code import announce_code
    from chimerac.compiler.verbs import serve as serving
    from chimerac.compiler.verbs.bundles import find_bundle

    kind = "wyoming" if wyoming else "web"
    if wyoming and no_isolation:
        raise click.UsageError("--no-isolation is of pages.")
    if not wyoming and (options["names"] is not None or options["languages"] or options["threads"] != 1):
        raise click.UsageError("--names, --language and --threads need --wyoming.")
    where: dict[str, Any] = {"host": host, "port": _PORTS[kind] if port is None else port}
    chosen = Path(bundle) if bundle else find_bundle(web=not wyoming)
    if wyoming:
        announce_code(chosen)
        with serving.serve_wyoming(chosen, **where, **options) as service:
            _until_interrupted(service, f"{chosen} answers at {service.url} by the Wyoming protocol")
        return
    with serving.serve(chosen, **where, isolated=not no_isolation) as server:
        _until_interrupted(server, f"{chosen}: open {server.url} in a browser")


def _until_interrupted(server: Any, what: str) -> None:
    say(f"{what}; Ctrl-C ends")
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
