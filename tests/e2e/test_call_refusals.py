"""Calls and modules that are refused, and what is said of them."""

from __future__ import annotations

import ctypes as ct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from called_bundles import NATIVE, TARGETS, bundle
from made_once import Once
from torch import nn

import chimerac
from chimerac.compiler.errors import UserError
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.native_library import Tensor

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


WRONG: list[tuple[dict[str, Any] | Any, str]] = [
    ([1], "the inputs are a list, not a dict of arrays by name"),
    ({}, "the input ids is missing"),
    ({"idz": 1}, "there is no input 'idz'"),
    ({"ids": np.zeros(4, np.float32)}, "the input ids is of float32, not int64"),
    ({"ids": "text"}, "the input ids is a str, no array of numbers"),
    ({"scale": np.ones((), np.float64)}, "the input scale is of float64, not float32"),
    ({"kept": np.ones(4, np.int32)}, "the input kept is of int32, not bool"),
    ({"kept": np.ones(3, bool)}, "the input kept is of shape [3], not [4]"),
    ({"ids": np.zeros((4, 1), np.int64)}, "the input ids is of shape [4,1], not [T]"),
    ({"scale": np.ones(2, np.float32)}, "the input scale is of shape [2], not []"),
    ({"ids": np.zeros(0, np.int64)}, "the input ids has 0 elements along T; 1 to 8 are possible"),
    ({"ids": np.zeros(9, np.int64)}, "the input ids has 9 elements along T; 1 to 8 are possible"),
    ({"ids": np.array([0, 1, 10, 2])}, "the input ids has the value 10; 0 to 9 are possible"),
    ({"ids": np.array([0, -1, 1, 2])}, "the input ids has the value -1; 0 to 9 are possible"),
]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_no_call_is_refused(target: str, once: Once) -> None:
    good: dict[str, Any] = {"ids": [0, 1, 2, 9], "kept": [True, False, True, True], "scale": 2}
    with chimerac.load(bundle(once, "classifier", target)) as session:
        for change, message in WRONG:
            given = good | change if isinstance(change, dict) and change else change
            with pytest.raises(BundleError) as caught:
                session.call(given)
            assert (caught.value.code, caught.value.message) == ("CHM420", message)
        with pytest.raises(BundleError, match="there is no entry 'main'"):
            session.call(good, entry="main")
        assert session.position == 0, "nothing was done"
        tokens = (lambda: session.generate("x"), lambda: session.prefill([1]), session.logits, session.logits_hash)
        for of_tokens in tokens:
            with pytest.raises(BundleError, match="the bundle holds no language model") as caught:
                of_tokens()
            assert caught.value.code == "CHM421"
        assert session.call(good)["scores"].shape == (4, 3)


def test_a_language_model_takes_no_tensors(toy: Any) -> None:
    with chimerac.load(toy.folder) as session:
        with pytest.raises(BundleError, match="holds a language model") as caught:
            session.call({})
        assert caught.value.code == "CHM421"
        assert isinstance(session, NativeSession)
        with pytest.raises(BundleError, match="holds a language model; run tokens") as caught:
            session.invoke("chm_session_call", b"call", None, 0, None, 0, 1)
        assert caught.value.code == "CHM421"
        assert session.library.get("chm_entry_name", 0) is None


def tensor(name: str, array: np.ndarray, *, of: int | None = None, at: int = 0) -> Tensor:
    return Tensor(name.encode(), array.ctypes.data + at, array.nbytes if of is None else of)


def test_the_c_library_checks_every_tensor(once: Once) -> None:
    """Whoever calls C, and whatever a manifest says: names, sizes, alignment, overlap, ranges."""
    ids, kept, scale = np.array([1, 2, 9], np.int32), np.ones(3, np.int32), np.ones(1, np.float32)
    arrays: dict[str, np.ndarray] = {"scores": np.zeros((3, 3), np.float32), "rows": np.zeros((3, 8), np.float32)}
    arrays |= {"best": np.zeros(3, np.int32), "any": np.zeros(3, np.int32), "seen": np.zeros(1, np.int32)}
    inputs = [tensor("scale", scale), tensor("kept", kept), tensor("ids", ids)]  # in any order
    results = [tensor(name, array) for name, array in arrays.items()]
    room = np.zeros(5, np.float32)

    with chimerac.load(bundle(once, "classifier", NATIVE)) as session:
        assert isinstance(session, NativeSession)

        def call(inputs: list[Tensor], results: list[Tensor], n: int = 3, entry: bytes = b"call") -> None:
            given, wanted = (Tensor * len(inputs))(*inputs), (Tensor * len(results))(*results)
            session.invoke("chm_session_call", entry, given, len(given), wanted, len(wanted), n)

        def refused(message: str, *arguments: Any, code: str = "CHM420") -> None:
            with pytest.raises(BundleError) as caught:
                call(*arguments)
            assert (caught.value.code, caught.value.message) == (code, message)
            assert session.position == before

        call(inputs, results)
        before = session.position
        np.testing.assert_array_equal(
            arrays["rows"], session.call({"ids": ids, "kept": kept > 0, "scale": np.float32(1)})["rows"]
        )
        before = session.position
        refused("there is no entry other", inputs, results, 3, b"other")
        refused("the axis that varies has 0 elements; 1 to 8 are possible", inputs, results, 0)
        refused("the axis that varies has 9 elements; 1 to 8 are possible", inputs, results, 9)
        refused("ids has 12 bytes; 8 are expected", inputs, results, 2)
        refused("the input ids is missing", inputs[:2], results)
        refused("the input ids is missing", [*inputs[:2], tensor("idz", ids)], results)
        refused("4 inputs are given; there are 3", [*inputs, tensor("ids", ids)], results)
        refused("the result seen is missing", inputs, results[:4])
        refused("6 results are given; there are 5", inputs, [*results, results[0]])
        refused("scores has 8 bytes; 36 are expected", inputs, [tensor("scores", arrays["scores"], of=8), *results[1:]])
        refused("scale is NULL or not aligned to 4 bytes", [tensor("scale", room, of=4, at=2), *inputs[1:]], results)
        refused("scale is NULL or not aligned to 4 bytes", [Tensor(b"scale", None, 4), *inputs[1:]], results)
        refused("the result any overlaps another tensor", inputs, [*results[:3], tensor("any", kept), results[4]])
        twice = [tensor("scores", arrays["rows"], of=36, at=4), *results[1:]]
        refused("the result rows overlaps another tensor", inputs, twice)
        bad = np.array([1, -1, 2], np.int32)
        refused("ids has the value -1; 0 to 9 are possible", [*inputs[:2], tensor("ids", bad)], results)
        refused("kept has the value 2; 0 to 1 are possible", [inputs[0], tensor("kept", ids), inputs[2]], results)
        with pytest.raises(BundleError, match="a pointer is NULL"):
            session.invoke("chm_session_call", None, None, 0, None, 0, 1)
        with pytest.raises(BundleError, match="holds no language model") as caught:
            session.invoke("chm_session_prefill", (ct.c_int32 * 1)(1), 1)
        assert caught.value.code == "CHM421"
        names = [session.library.get("chm_entry_name", i) for i in (0, 1, -1)]
        assert names == [b"call", None, None]
        assert [session.library.get("chm_entry_most", i) for i in (0, 1)] == [8, 0]
        assert [bool(session.library.get("chm_entry_input", 0, i)) for i in (-1, 0, 2, 3)] == [False, True, True, False]
        assert [bool(session.library.get("chm_entry_result", 0, i)) for i in (0, 4, 5)] == [True, True, False]


class Sum(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


@pytest.mark.parametrize(
    ("example", "options", "code", "message"),
    [
        ((torch.zeros(2),), {}, "CHM212", "Sum.forward: missing a required argument: 'y'"),
        (torch.zeros(2), {}, "CHM219", "an example is no list of arguments"),
        (("2:f32", "2:q4"), {}, "CHM219", "'2:q4' is no example of a tensor"),
        (("T:f32", "T:f32"), {"block": 1}, "CHM219", "the axis T of 'T:f32' has 1 element"),
        (("2:f32", "2:f32"), {"block": 0}, "CHM312", "a block of 0: a call has at least one element"),
        (
            ("2:f32", "2:f32"),
            {"tokenizer": "x"},
            "CHM219",
            "Sum is no language model, and takes no tokenizer, grammars, generation, chat, context or cache",
        ),
        (({"a": torch.zeros(1)}, "2:f32"), {"name": "Über"}, "CHM113", "a model can't be called 'Über'"),
    ],
)
def test_examples_that_cannot_be_used(
    example: Any, options: dict[str, Any], code: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        chimerac.compile(Sum(), example=example, out=tmp_path, targets=[NATIVE], **options)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert not list(tmp_path.iterdir())
