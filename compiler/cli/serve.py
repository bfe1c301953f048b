"""``chimerac serve``."""

from __future__ import annotations

import contextlib

import click

from chimerac.compiler.cli.output import say


@click.command()
@click.argument("bundle", required=False, type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--no-isolation", is_flag=True, help="Leave out the headers that threads need.")
def serve(bundle: str | None, host: str, port: int, no_isolation: bool) -> None:
    """Serve a web BUNDLE on this machine, so that a browser can open it; Ctrl-C ends it.

    Without a bundle it takes the one for wasm built last in dist/.
    """
    from chimerac.compiler.verbs.bundles import find_bundle
    from chimerac.compiler.verbs.serve import serve as serve_bundle

    chosen = bundle or find_bundle(web=True)
    with serve_bundle(chosen, host=host, port=port, isolated=not no_isolation) as server:
        say(f"{chosen}: open {server.url} in a browser; Ctrl-C ends")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
