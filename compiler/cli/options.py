"""Options that several commands have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def config_options(command: F) -> F:
    """The options that say which model is meant."""
    options = [
        click.option("--scale", metavar="PRESET", help="Shrink the model: nano, tiny, small or full."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config value; repeatable."
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)
