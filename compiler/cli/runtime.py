"""``chimerac runtime``."""

from __future__ import annotations

import click

from chimerac.compiler.cli.output import say


@click.command()
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False), help="Folder for the package.")
@click.option(
    "--package", "npm", default="chimera-runtime", show_default=True, metavar="NAME[@VERSION]", help="The npm package."
)
def runtime(out: str, npm: str) -> None:
    """Write the loader of web bundles as an npm package that several models share.

    `chimerac build --target wasm --runtime NAME` makes bundles that take their loader from it.
    """
    from chimerac.compiler.verbs.runtime import write_runtime

    for name in write_runtime(out, package=npm):
        say(name)
