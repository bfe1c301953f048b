"""Options that several commands have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


#: Of verbs that take ``file.py:Class``.
example_option = click.option(
    "--example",
    multiple=True,
    metavar="SHAPE:TYPE",
    help="An argument of forward of a module that is no language model, such as 1,16:f32, or T,16:f32 where an axis "
    "varies; repeatable.  [default: what its method example() returns]",
)


def config_options(command: F) -> F:
    """The options that say which model is meant."""
    options = [
        click.option("--scale", metavar="PRESET", help="Shrink the model: nano, tiny, small or full."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config value; repeatable."
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)
