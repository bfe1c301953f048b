"""Whatever the text, nothing but UserError comes out of the config language."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from project import ROOT

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import loads
from chimerac.frontends.config.source import decode
from chimerac.frontends.families.chimera.consistency import check
from chimerac.frontends.families.chimera.from_config import shape
from chimerac.frontends.families.chimera.sizes import audit
from chimerac.frontends.families.chimera.tables import render_audit, render_check

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
MARKS = ["{", "}", "[", "]", ":", ",", '"', "'", "|", "\\", "//", "/*", "*/", "#", "\n", " ", "-", "1", "1e9", "null"]
WORDS = [
    "true",
    "NaN",
    "extends",
    "scale",
    "overrides",
    "nano",
    "home",
    "hidden_size",
    "backbone",
    "§",
    "\u2028",
    "é",
    ".",
]
KEYS = [
    "hidden_size",
    "num_heads",
    "vocab_size",
    "looping.loop",
    "backbone.moe.layers",
    "scale.hidden_size",
    "modes.fast",
]


def _read(text: str, *overrides: str) -> None:
    """Reads a config and does everything with it that needs no model."""
    try:
        config = loads(text, overrides=overrides)
        report = check(config)
        render_check(report)
        if report.buildable:
            shape(config)
            render_audit(audit(config))
    except UserError as error:
        _well_formed(error)


def _well_formed(error: UserError) -> None:
    assert error.code.startswith("CHM1")
    assert error.span is None or (error.span.line >= 1 and error.span.column >= 1)
    assert error.render()


@SETTINGS
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    _read(text)


@SETTINGS
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(UserError):
        _read(decode(data, "f"))


@SETTINGS
@given(st.lists(st.sampled_from(MARKS + WORDS), max_size=60))
def test_any_tokens(tokens: list[str]) -> None:
    _read("".join(tokens))


@SETTINGS
@given(
    st.sampled_from(KEYS),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.sampled_from(MARKS + WORDS),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
    st.sampled_from(["nano", "tiny", "full"]),
)
def test_any_override(key: str, value: object, scale: str) -> None:
    text = str(value).replace("None", "null").replace("True", "true").replace("False", "false").replace("'", '"')
    _read(f'extends: "chimera51", scale: "{scale}"', f"{key}={text}")


@pytest.mark.parametrize("form", ["document", "built-in"])
def test_mutated_configs(form: str, document_text: str) -> None:
    text = document_text
    if form == "built-in":
        text = (ROOT / "frontends/config/builtin/home.chimera").read_text(encoding="utf-8")
    source = random.Random(form)
    for _ in range(70):
        mutated = text
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(mutated))
            until = min(len(mutated), at + source.choice([0, 1, 1, 2, 10, 100]))
            insert = source.choice(
                ["", "", source.choice(MARKS + WORDS), mutated[at:until] * 2, chr(source.randrange(0x250))]
            )
            mutated = mutated[:at] + insert + mutated[until:]
        _read(mutated)
