"""The plain-text tables line up and fit 100 columns."""

from __future__ import annotations

import re

import pytest

from chimerac.frontends.config import load, loads
from chimerac.frontends.families.chimera.consistency import check
from chimerac.frontends.families.chimera.sizes import audit
from chimerac.frontends.families.chimera.tables import WIDTH, render_audit, render_check, table


def test_columns_line_up() -> None:
    text = table(["name", "n"], [["a", "1"], ["long name", "12,345"]])
    assert text == "name            n\n---------  ------\na               1\nlong name  12,345"


@pytest.mark.parametrize("scale", ["full", "nano", "tiny", "small"])
def test_width(scale: str) -> None:
    config = load("chimera51", scale=scale)
    for text in (render_check(check(config)), render_audit(audit(config))):
        assert max(len(line) for line in text.split("\n")) <= WIDTH
        assert all(line == line.rstrip() for line in text.split("\n"))


def test_check_text() -> None:
    text = render_check(check(load("chimera51")))
    assert text.startswith("A: can't be built or run as written\n\n  I1    backbone.moe.total_params")
    assert "\n        says  350.0M expert parameters\n        found " in text
    assert "\n\n90 findings: A 7, B 46, C 37\n\n" in text
    assert "\n        plan  not compiled yet; when it is: exact by default; " in text
    absent = " ".join(text[text.index("\nenabled, ") :].split())
    assert absent.startswith("enabled, not compiled yet: span_inference, tsp_knot.energy_terms.autoregressive, ")
    assert re.search(r"\n[0-9]+ keys written: [0-9]+ compiled, [0-9]+ training, [0-9]+ checked, ", text)
    home = render_check(check(load("home")))
    assert home.startswith("home.chimera: consistent\n\n")
    assert "not compiled yet" not in home


def test_long_paths_are_cut() -> None:
    config = loads('extends: "chimera51", seed: 1, hidden_act: "swiglu"', "d/" * 90 + "f.chimera")
    text = render_check(check(config))
    assert max(len(line) for line in text.split("\n")) <= WIDTH
    assert "f.chimera:1:" in text


def test_audit_text() -> None:
    text = render_audit(audit(load("chimera51")))
    for part in ("2.726 B", "4.213 B", "46.1", "82.8", "482.1", "params.base", "0.84  !"):
        assert part in text
