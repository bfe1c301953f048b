"""``chimerac check``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from chimerac.compiler.cli.options import config_options
from chimerac.compiler.cli.output import say


@click.command()
@click.argument("config", default="home")
@config_options
@click.option("--schema", is_flag=True, help="Print the JSON Schema of configs, for editors.")
@click.option("--json", "as_json", is_flag=True, help="Print the resolved config.")
def check(config: str, scale: str | None, overrides: tuple[str, ...], schema: bool, as_json: bool) -> None:
    """Check CONFIG: inconsistencies with what is done about each, and sizes against its own claims.

    Of a model folder or GGUF file: whether a build takes it, and what becomes of it.
    """
    from chimerac.compiler.verbs.check import check as check_config
    from chimerac.frontends import config as language
    from chimerac.frontends.sources.recognised import is_published

    if schema:
        say(_json(language.json_schema()))
    elif as_json:
        if is_published(Path(config)):
            raise click.UsageError("--json prints a config with its defaults; a published model has none.")
        settings = language.load(config, scale=scale, overrides=overrides)
        say(_json(json.loads(language.canonical_json(settings))))
    else:
        say(check_config(config, scale=scale, overrides=overrides).render())


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
