"""Plans as JSON: of which family they are, and what is no plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from toy_family.family import Toy, ToyShape

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.registry import FAMILIES
from chimerac.frontends.training import Phase, Plan, read_plan, write_plan
from chimerac.frontends.training.module import make_module

Make = Callable[..., Plan]
TOY = Plan(ToyShape(256, heads=2, head_width=4, layers=1, seed=0), (Phase("p", steps=1),), "toy")


class OnlyCompiled(Toy):
    """The toy as a family that offers no training form."""

    def make(self, shape: ToyShape, *, sparse_gradient: bool = False, ternary: bool = True) -> nn.Module:
        return nn.Linear(1, 1)


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**FAMILIES, "toy": Toy, "compiled": OnlyCompiled}
    monkeypatch.setattr("chimerac.frontends.families.registry.FAMILIES", known)


def changed(path: Path, change: dict[str, Any]) -> Path:
    """The plan at ``path`` with some fields set; None removes one."""
    document = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))
    return path


def test_a_plan_without_a_family_is_chimeras(make_plan: Make, tmp_path: Path) -> None:
    plan, path = make_plan(), tmp_path / "plan.json"
    write_plan(plan, path)
    assert json.loads(path.read_text())["family"] == "chimera51"
    assert read_plan(changed(path, {"family": None})) == plan


@pytest.mark.usefixtures("families")
def test_the_family_says_what_a_shape_is(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(TOY, path)
    assert read_plan(path) == TOY
    with pytest.raises(UserError, match=r"plan\.shape has no 'layers'") as error:
        read_plan(changed(path, {"family": "chimera51"}))
    assert error.value.code == "CHM250"


@pytest.mark.usefixtures("families")
def test_a_plan_without_a_shape_is_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(TOY, path)
    assert read_plan(changed(path, {"family": None, "shape": None}), ("toy", TOY.shape)) == TOY


@pytest.mark.parametrize(("family", "code"), [("chimera50", "CHM117"), (51, "CHM250")])
def test_another_family_is_refused(family: object, code: str, make_plan: Make, tmp_path: Path) -> None:
    write_plan(make_plan(), tmp_path / "plan.json")
    with pytest.raises(UserError) as error:
        read_plan(changed(tmp_path / "plan.json", {"family": family}))
    assert error.value.code == code


def test_runs_of_two_families_do_not_go_on_with_each_other() -> None:
    assert replace(TOY, family="other").digest() != TOY.digest()


@pytest.mark.usefixtures("families")
def test_a_family_without_a_training_form_is_not_trained() -> None:
    assert make_module(TOY).shape == TOY.shape
    with pytest.raises(UserError, match="'compiled' are compiled, but not trained") as error:
        make_module(replace(TOY, family="compiled"))
    assert error.value.code == "CHM250"
