"""``import chimerac``: every command is a typed function, shown by dir() and help(), seen by type checkers, lazy."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import chimerac
from chimerac.compiler.cli.main import main

SOURCE = Path(chimerac.__file__)
#: Commands whose function has another name: ``targets`` and ``runtime`` are packages, and grammars have one command.
OTHER_NAMES = {
    "targets": "list_targets",
    "grammar check": "check_grammar",
    "runtime": "write_runtime",
    "spans mine": "mine_spans",
}


def commands() -> list[str]:
    """Every command, those of groups as two words."""
    found: list[str] = []
    for name, command in main.commands.items():
        inner = tuple(command.commands) if isinstance(command, click.Group) else ()
        found += [f"{name} {sub}" for sub in inner] or [name]
    return found


FUNCTIONS = [OTHER_NAMES.get(command, command) for command in commands()]


def for_type_checkers() -> dict[str, str]:
    """Name → place, of the imports that only type checkers run."""
    found: dict[str, str] = {}
    for node in ast.parse(SOURCE.read_text("utf-8")).body:
        if isinstance(node, ast.If):
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                assert line.module is not None
                module = line.module.removeprefix("chimerac.")
                found |= {alias.asname or alias.name: f"{module}:{alias.name}" for alias in line.names}
    return found


def test_type_checkers_and_the_lazy_table_see_the_same() -> None:
    assert for_type_checkers() == chimerac._PLACES
    assert sorted([*chimerac._PLACES, "__version__"]) == sorted(chimerac.__all__)


def test_every_name_is_there_and_is_shown() -> None:
    for name in chimerac.__all__:
        assert getattr(chimerac, name) is not None
    assert set(chimerac.__all__) <= set(dir(chimerac))
    with pytest.raises(AttributeError, match="'chimerac' has no attribute 'biuld'"):
        chimerac.biuld  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_command_is_a_typed_function_that_names_its_errors(name: str) -> None:
    function: Callable[..., Any] = getattr(chimerac, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
    documentation = inspect.getdoc(function) or ""
    assert re.search(r"Raises:?\s+`*UserError", documentation) or "never fails" in documentation


def test_the_options_of_a_command_are_parameters_of_its_function() -> None:
    """Under the same name, but for what only the command line does with them."""
    printing = {"json", "quiet", "verbose", "traceback", "timings", "tokens", "help", "stats"}
    renamed = {
        "set": "overrides",
        "target": "targets",
        "no_verify": "check",
        "float": "settings",
        "precision": "settings",
        "compile": "settings",
        "fused": "settings",
        "checkpointing": "settings",
        **dict.fromkeys(("max_size", "page", "examples", "package", "runtime"), "packaging"),
        "no_isolation": "isolated",
        "no_refuse": "refuse",
        "language": "languages",
    }
    elsewhere = {("inspect", name) for name in ("scale", "set", "ir", "target", "loops", "after")} | {
        ("check", "schema"),
        ("run", "chat"),  # of Conversation
        ("run", "system"),
        ("serve", "wyoming"),  # names the function
        ("serve", "api"),
    }
    more = {"serve": ("serve_wyoming", "serve_api")}  # functions of one command
    for name in set(commands()) - set(OTHER_NAMES):
        functions = [getattr(chimerac, one) for one in (name, *more.get(name, ()))]
        known = [parameter for function in functions for parameter in inspect.signature(function).parameters]
        options = " ".join(known) + (inspect.getdoc(getattr(chimerac, name)) or "")
        for parameter in main.commands[name].params:
            if isinstance(parameter, click.Option):
                option = max(parameter.opts, key=len).strip("-").replace("-", "_")
                if option not in printing and (name, option) not in elsewhere:
                    assert renamed.get(option, option) in options, f"{name} --{option}"


def test_help_shows_every_function_with_its_signature() -> None:
    shown = pydoc.plain(pydoc.render_doc(chimerac))
    for name in FUNCTIONS:
        assert re.search(rf"^    {name}\(", shown, re.MULTILINE), name
    assert "targets: 'Sequence[str] | None'" in pydoc.plain(pydoc.render_doc(chimerac.build))


def test_results_are_frozen() -> None:
    for name in ("verify", "inspect", "run", "doctor", "check_grammar", "bench", "build"):
        function = getattr(chimerac, name)
        result = typing.get_type_hints(function)["return"]
        assert result.__dataclass_params__.frozen, name
