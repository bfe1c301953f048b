"""Modules that are no language models: names, shapes, types, states, an axis that varies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from ir_tools import draw
from plain_tools import run_plain
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.types import f32, i32
from chimerac.frontends.export.plain import import_plain
from chimerac.runtime.bundle_format import Port

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Several(nn.Module):
    """Two inputs, one of them in parts; results of several kinds."""

    def forward(self, x: Tensor, extra: dict[str, Tensor]) -> dict[str, Any]:
        return {"y": x + extra["shift"], "flags": x > 0, "parts": (x.reshape(-1), extra["count"] + 1)}


def test_names_shapes_and_types() -> None:
    x, shift, count = torch.from_numpy(draw(1, 2, 3)), torch.tensor(0.5), torch.tensor(7)
    found = import_plain(Several(), (x, {"shift": shift, "count": count}), name="several")
    assert found.inputs == (
        Port("x", (2, 3), "float32"),
        Port("extra.shift", (), "float32"),
        Port("extra.count", (), "int64"),
    )
    assert [(p.name, p.shape, p.dtype) for p in found.results] == [
        ("y", (2, 3), "float32"),
        ("flags", (2, 3), "bool"),
        ("parts.0", (6,), "float32"),
        ("parts.1", (), "int64"),
    ]
    graph = found.module.entry("call")
    assert [(v.name, v.type) for v in graph.inputs] == [
        ("x", f32(2, 3)),
        ("extra_shift", f32(1)),
        ("extra_count", i32()),
    ]
    y, flags, part, more = run_plain(found.module, [x, shift, count])
    np.testing.assert_array_equal(y, x.numpy() + np.float32(0.5))
    np.testing.assert_array_equal(flags, (x > 0).int().numpy())
    np.testing.assert_array_equal(part, x.reshape(-1).numpy())
    assert more == 8


class Counter(nn.Module):
    """Remembers the sum of what it was given."""

    total: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.ones(3))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        self.calls.add_(1)
        return self.total / self.calls


def test_buffers_that_change_are_states() -> None:
    found = import_plain(Counter(), (torch.zeros(3),), name="counter")
    assert [(n, s.type) for n, s in found.module.states.items()] == [("total", f32(3)), ("calls", i32())]
    assert [p.name for p in found.results] == ["output"]
    reference = Counter()
    states: dict[str, np.ndarray] = {}
    for seed in range(3):
        x = torch.from_numpy(draw(seed, 3))
        (got,) = run_plain(found.module, [x], states)
        np.testing.assert_array_equal(got, reference(x).numpy())


class Rows(nn.Module):
    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return (x * scale).reshape(-1, 2, 2).transpose(0, 1).flatten(2) + torch.arange(x.shape[0])[:, None]


def test_an_axis_that_varies() -> None:
    rows = torch.export.Dim("T", min=1, max=8)
    example = {"x": torch.zeros(5, 4), "scale": torch.ones(4)}
    found = import_plain(Rows(), example, name="rows", dynamic_shapes={"x": {0: rows}, "scale": None}, block=8)
    assert found.inputs[0].shape == ("T", 4)
    assert found.results[0].shape == (2, "T", 2)
    for count in (1, 3, 8):
        x, scale = torch.from_numpy(draw(count, count, 4)), torch.from_numpy(draw(9, 4))
        np.testing.assert_array_equal(run_plain(found.module, [x, scale])[0], Rows()(x, scale).numpy())


def test_no_more_elements_than_pytorch_was_told() -> None:
    example = {"x": torch.zeros(5, 4), "scale": torch.ones(4)}
    for most, block, tokens in ((8, 16, 8), (None, 16, 16)):
        shapes = {"x": {0: torch.export.Dim("T", min=1, max=most)}, "scale": None}
        found = import_plain(Rows(), example, name="rows", dynamic_shapes=shapes, block=block)
        assert found.module.entry("call").tokens == tokens


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Named(nn.Module):
    def forward(self, ids: Tensor) -> Pair:
        table = torch.arange(12.0).reshape(4, 3)
        return Pair(nn.functional.embedding(ids, table), table[ids])


def test_ids_of_unknown_size_are_bounded() -> None:
    found = import_plain(Named(), (torch.tensor([1, 2]),), name="named")
    assert [p.name for p in found.results] == ["first", "second"]
    assert {op.name for op in found.module.entry("call").ops} & {"gather", "embedding"} == {"gather"}
    first, second = run_plain(found.module, [torch.tensor([3, 99])])
    assert first.tolist() == second.tolist() == [[9, 10, 11], [9, 10, 11]]


class Indexed(nn.Module):
    """Look-ups of every kind, each by an input of its own; of one the number is computed, one is for two tables."""

    def forward(
        self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, flag: Tensor, small: Tensor
    ) -> tuple[Tensor, ...]:
        table, longer = torch.arange(12.0).reshape(4, 3), torch.arange(30.0).reshape(10, 3)
        both = nn.functional.embedding(e, table) + nn.functional.embedding(e, longer)
        taken = torch.gather(table, 1, c), table[:, d], nn.functional.embedding(a.reshape(1, 2), longer)
        return (*taken, table.index_select(1, b), both, table[a + 1], flag, small)


def test_look_ups_bound_the_inputs_that_number_them() -> None:
    a, b, d, e = (torch.full((2,), i) for i in range(4))
    c, flag, small = torch.zeros(4, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool), a.to(torch.uint8)
    example = (a, b, c, d, e, flag, small)
    found = import_plain(Indexed(), example, name="indexed")
    assert {port.name: port.values for port in found.inputs} == {
        "a": (0, 9),
        "b": (0, 2),
        "c": (0, 2),
        "d": (-3, 2),
        "e": (0, 3),
        "flag": (0, 1),
        "small": (0, 255),
    }
    assert all(port.values is None for port in found.results)


class Difference(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - y


def test_one_tensor_as_two_arguments_is_two_inputs() -> None:
    x = torch.zeros(3)
    found = import_plain(Difference(), (x, x), name="difference")
    (result,) = run_plain(found.module, [torch.tensor([5.0, 6, 7]), torch.tensor([1.0, 2, 3])])
    assert result.tolist() == [4, 4, 4]


class Nested(nn.Module):
    def forward(self, count: int, x: Tensor, more: dict[str, Any]) -> Tensor:
        result: Tensor = x * count + more["y"]["z"] - more["y_z"]
        return result


def test_numbers_among_arguments_and_names_that_are_alike() -> None:
    """A number is that of the example; names that differ in a sign only are two inputs."""
    one, two, x = (torch.full((2,), float(i)) for i in (1, 2, 7))
    found = import_plain(Nested(), (3, x, {"y": {"z": two}, "y_z": one}), name="nested")
    assert [port.name for port in found.inputs] == ["x", "more.y.z", "more.y_z"]
    assert [value.name for value in found.module.entry("call").inputs] == ["x", "more_y_z", "more_y_z_2"]
    (result,) = run_plain(found.module, [x, two, one])
    assert result.tolist() == [22, 22]


class Gives(nn.Module):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: Tensor) -> Any:
        return self.result(x)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: {"a.b": x, "a": {"b": x + 1}}, "two tensors are called a.b"),
        (lambda x: {"a\nb": x}, r"a result is called 'a\nb'"),
        (lambda x: {"a" * 129: x}, f"a result is called {'a' * 129!r}"),
        (lambda x: [x + i for i in range(257)], "there are 257 tensors; 256 are possible"),
        (lambda x: x.to(torch.uint16), "output is of the type uint16, which no caller can give or take"),
    ],
)
def test_names_and_types_that_no_manifest_has(result: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        import_plain(Gives(result).eval(), (torch.zeros(2),), name="m")
    assert (caught.value.code, caught.value.message) == ("CHM212", message)


class Changes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.add_(1)
        return x * 2


@pytest.mark.parametrize(
    ("module", "example", "code", "message"),
    [
        (Changes(), (torch.zeros(2),), "CHM211", "forward changes one of its arguments"),
        (Changes(), (), "CHM212", "Changes.forward: missing a required argument: 'x'"),
    ],
)
def test_refusals(module: nn.Module, example: tuple[Tensor, ...], code: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        import_plain(module.eval(), example, name="m")
    assert (caught.value.code, caught.value.message) == (code, message)
