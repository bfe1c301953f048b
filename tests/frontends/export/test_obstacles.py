"""``chimerac.explain``: every obstacle once, with op, count, path and line; why PyTorch cannot trace."""

from __future__ import annotations

import os
from pathlib import Path

import obstructed
import pytest
import torch
from obstructed import Base
from torch import nn

import chimerac
from chimerac.compiler.errors import UserError
from chimerac.frontends.export.handlers import HANDLERS
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.export.rewrites import REWRITES, advice

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

FILE = Path(obstructed.__file__)


def at(comment: str) -> str:
    """``file:line`` of the line that ends with a comment, the file relative to the working directory."""
    (number,) = [i for i, line in enumerate(FILE.read_text().splitlines(), 1) if line.endswith(f"  # {comment}")]
    return f"{os.path.relpath(FILE)}:{number}"


def seen(module: nn.Module) -> dict[str, tuple[str, int, list[tuple[str, str]]]]:
    """Op → code, count, places."""
    found = chimerac.explain(module)
    assert not found.compiles
    return {o.op: (o.code, o.count, [(p.path, p.at) for p in o.places]) for o in found.obstacles}


def test_all_obstacles_once_with_count_path_and_line() -> None:
    assert seen(obstructed.Several()) == {
        "aten.kthvalue.default": ("CHM211", 2, [("layers.0", at("kthvalue")), ("layers.1", at("kthvalue"))]),
        "aten.digamma.default": ("CHM211", 2, [("layers.0", at("digamma")), ("layers.1", at("digamma"))]),
        "aten.add.Tensor": ("CHM213", 1, [("", at("buffer"))]),
        "aten.lgamma.default": ("CHM211", 1, [("", at("lgamma"))]),
    }


def test_what_follows_a_value_without_a_form_is_judged_too() -> None:
    found = seen(obstructed.Complex())
    assert found["aten.complex.default"] == ("CHM211", 1, [("", at("complex"))])
    assert found["aten.erfinv.default"] == ("CHM211", 1, [("", at("erfinv"))])


def test_a_number_taken_out_of_a_tensor() -> None:
    code, _, places = seen(obstructed.Item())["aten._local_scalar_dense.default"]
    assert (code, places[0]) == ("CHM211", ("", at("item")))


def test_compiling_says_how_many_there_are() -> None:
    with pytest.raises(UserError, match=r"aten\.kthvalue\.default is not supported") as caught:
        import_module(obstructed.Several().eval(), name="several", block=4)
    assert str(caught.value.hint).endswith("; the first of 4 obstacles; `chimerac explain` shows all")


def test_a_module_that_compiles() -> None:
    found = chimerac.explain(obstructed.Fine())
    assert found.compiles
    assert found.inputs == ("tokens i32[T]", "position i32[]")
    assert found.results == ("logits f32[T,300]",)
    assert "it compiles" in found.render()


@pytest.mark.parametrize(
    ("module", "cause", "place"),
    [
        (obstructed.Branch, "a Python value is computed from data", "branch"),
        (obstructed.Specialised, "the number of tokens became a constant", ""),
        (obstructed.Numpy, "NumPy or Python takes the numbers out of a tensor", "numpy"),
        (obstructed.Shapes, "shapes do not fit, neither for tokens [T] nor for [1,T]", "shapes"),
        (
            obstructed.Batched,
            "it takes tokens [1,T], an axis of one in front, and with them: a Python value is computed from data",
            "batched",
        ),
    ],
)
def test_why_pytorch_cannot_trace(module: type[Base], cause: str, place: str) -> None:
    found = chimerac.explain(module())
    (obstacle,) = found.obstacles
    assert (obstacle.code, obstacle.message) == ("CHM210", cause)
    assert obstacle.advice
    assert [p.at for p in obstacle.places] == ([at(place)] if place else [])
    assert found.said
    assert "places.py" not in found.said
    assert "PyTorch says:" in found.render()


def test_tensors_in_and_out() -> None:
    found = chimerac.explain(obstructed.Tensors(), (torch.zeros(2, 3),))
    assert (found.kind, found.obstacles, found.inputs) == ("tensors", (), ("x float32[2,3]",))
    assert found.compiles
    assert "Nothing stands in the way: it compiles." in found.render()
    assert chimerac.explain(obstructed.Tensors(), ["2,3:f32"]) == found
    (obstacle,) = chimerac.explain(obstructed.TensorsObstructed(), {"x": torch.zeros(2)}).obstacles
    assert [p.at for p in obstacle.places] == [at("plain lgamma")]


def test_other_inputs_ask_for_an_example() -> None:
    (obstacle,) = chimerac.explain(obstructed.Tensors()).obstacles
    assert obstacle.code == "CHM212"
    assert "give example=" in obstacle.advice


@pytest.mark.parametrize("text", ["1,16", "1;2:f32", "3:f31", "a:f32"])
def test_examples_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="is no example of a tensor"):
        chimerac.explain(obstructed.Tensors(), [text])


def test_rewrites_are_of_ops_that_are_not_supported() -> None:
    supported = {op.rpartition(".")[0] for op in HANDLERS}
    assert not supported & set(REWRITES)
    assert advice("aten.add.Other", HANDLERS) == "supported is aten.add.Scalar, aten.add.Tensor"
    assert advice("aten.logical_ands.default", HANDLERS) == (
        "the nearest that is supported by its name is aten.logical_and"
    )
    assert advice("mine.unheard_of.default", HANDLERS) == ""


@pytest.mark.parametrize("name", sorted(REWRITES))
def test_rewrites_are_of_ops_that_there_are(name: str) -> None:
    assert hasattr(torch.ops.aten, name.removeprefix("aten.")) or hasattr(torch.ops.higher_order, name)
