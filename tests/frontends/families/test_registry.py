"""Families are found by name: chimerac's own, those of this process, those of installed distributions."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_family import toy
from toy_family.family import FAMILY

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.family import FAMILY as CHIMERA
from chimerac.frontends.families.registry import DEFAULT, FAMILIES, family_names, find_family, register


def test_a_family_goes_by_the_name_that_it_says() -> None:
    for name in FAMILIES:
        assert find_family(name).name == name
    assert find_family(DEFAULT) is CHIMERA


def test_a_registered_family_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimerac.frontends.families.registry.FAMILIES", dict(FAMILIES))
    register("toy", toy)
    assert find_family("toy") is FAMILY
    assert family_names() == tuple(sorted({*FAMILIES, "toy"}))


def test_an_installed_distribution_offers_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "toy_family-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-family\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[chimerac.families]\ntoy = toy_family:toy\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_family("toy") is FAMILY
    assert family_names() == tuple(sorted({*FAMILIES, "toy"}))


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="no model family 'chimera52'") as error:
        find_family("chimera52")
    assert error.value.code == "CHM117"
    assert error.value.hint is not None
    assert "chimera51" in error.value.hint
