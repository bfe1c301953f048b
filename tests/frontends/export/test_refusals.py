"""Modules that cannot be imported, and errors that say where: signatures, tracing, types, loops, ops deep inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from export_tools import VOCABULARY, Body, Small, body_line, check, line_of, refused
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.importer import CONTRACT, import_module
from chimerac.frontends.layers import ops

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def nested(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    z, _ = ops.loop_begin(y, 3, 2, 0.0)
    result: Tensor = ops.loop_end(ops.loop_end(z * 2))
    return result


def different(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    y, _ = ops.loop_begin(ops.loop_end(y * 2), 4, 2, 0.0)
    result: Tensor = ops.loop_end(y * 2)
    return result


def leaked(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    z = y * 2
    result: Tensor = ops.loop_end(z + 1) + z
    return result


def leaked_state(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    module.h.copy_(module.h * 2)
    result: Tensor = ops.loop_end(y + module.h) + module.h
    return result


def reshaped(module: Small, x: Tensor, position: Tensor) -> Tensor:
    y, _ = ops.loop_begin(x, 3, 2, 0.0)
    result: Tensor = ops.loop_end(y.reshape(-1, 2, 4)).reshape(-1, 8)
    return result


LOOP_MISTAKES: list[tuple[Body, str]] = [
    (nested, "looped regions cannot be nested"),
    (different, "looped regions differ in their iterations"),
    (lambda m, x, p: ops.loop_end(x), "loop_end without loop_begin"),
    (lambda m, x, p: ops.loop_begin(x, 3, 2, 0.0)[0] * 2, "loop_begin without loop_end"),
    (leaked, "a looped region's value is used after it"),
    (leaked_state, "a looped region's value is used after it"),
    (reshaped, "loop_end gets f32[T,2,4], loop_begin f32[T,8]"),
]


@pytest.mark.parametrize(("body", "message"), LOOP_MISTAKES)
def test_mistakes_with_loops(body: Body, message: str) -> None:
    error = refused(Small(body))
    assert error.code == "CHM214"
    assert error.message.startswith(message)
    assert error.hint == body_line()


class Sums(nn.Module):
    """Uses an op that the IR has not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.kthvalue(x, 3, -1, True)[0] + x  # unsupported here


class Deep(Small):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Identity(), Sums())])

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.logits(self.layers[0](F.embedding(tokens, self.table)))


def test_an_unsupported_op_is_named_with_its_module_and_line() -> None:
    error = refused(Deep())
    assert error.code == "CHM211"
    assert error.message == "the PyTorch op aten.kthvalue.default is not supported"
    assert error.hint == f"layers.0.1, {line_of(__file__, 'unsupported here')}"


def test_a_buffer_keeps_its_shape() -> None:
    def body(module: Small, x: Tensor, position: Tensor) -> Tensor:
        module.h.copy_(module.scalar)
        return x

    error = refused(Small(body))
    assert error.code == "CHM213"
    assert error.message == "buffer h, f32[8], is overwritten by f32[1]"


class Nothing(Small):
    def forward(self) -> Tensor:  # type: ignore[override]
        return self.table


class Three(Small):
    def forward(self, tokens: Tensor, position: Tensor, more: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(tokens, position)


class Pair(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = super().forward(tokens, position)
        return x, x * 2


class Fixed(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.table * 2


class Wide(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return super().forward(tokens, position).reshape(-1, 2, 5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Nothing, "Nothing.forward: too many positional arguments"),
        (Three, "Three.forward: missing a required argument: 'more'"),
        (Pair, "Pair.forward takes i32[T], i32[] and returns f32[T,10], f32[T,10]"),
        (Fixed, "Fixed.forward takes i32[T], i32[] and returns f32[10,8]"),
        (Wide, "Wide.forward takes i32[T], i32[] and returns f32[T,2,5]"),
    ],
)
def test_another_signature(kind: type[Small], message: str) -> None:
    error = refused(kind())
    assert (error.code, error.message) == ("CHM212", message)
    assert error.hint == CONTRACT


class Branching(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.logits(F.embedding(tokens, self.table) * (2 if tokens.sum() > 3 else 1))


class OneLength(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return self.logits(F.embedding(tokens, self.table).reshape(3, 8))


class Faulty(Small):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize("kind", [Branching, OneLength, Faulty])
def test_what_cannot_be_traced(kind: type[Small]) -> None:
    error = refused(kind())
    assert error.code == "CHM210"
    assert error.message.startswith(f"torch.export cannot trace {kind.__name__}: ")
    assert "\n" not in error.message
    assert error.hint is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_parameters_of_other_types_become_float32(dtype: torch.dtype) -> None:
    module, notes = Small().to(dtype).eval(), list[str]()
    imported = import_module(module, name="user", block=4, notes=notes)
    assert notes == [f"{name}: {str(dtype).removeprefix('torch.')} became float32" for name in ("table", "head.weight")]
    assert np.array_equal(imported.constants["table"].data, module.table.float().numpy())


def test_complex_parameters() -> None:
    module = Small(lambda m, x, p: x + m.g.real)
    module.register_buffer("g", torch.zeros(8, dtype=torch.complex64))
    assert refused(module).code in ("CHM211", "CHM216")


def test_integers_over_32_bits() -> None:
    module = Small(lambda m, x, p: x + m.g)
    for value in (2**32 + 5, 2**31, -(2**31) - 1):
        module.register_buffer("g", torch.tensor([0] * 7 + [value]))
        error = refused(module)
        assert (error.code, error.message) == ("CHM216", f"g holds {value}, which has no place in 32 bits")


@pytest.mark.parametrize("rows", [1, VOCABULARY - 1])
def test_tables_without_a_row_for_each_token(rows: int) -> None:
    module = Small()
    module.table = torch.nn.Parameter(module.table[:rows].clone(), requires_grad=False)
    error = refused(module)
    assert error.code == "CHM217"
    assert error.message == f"a table of {rows} rows is looked up with ids of a vocabulary of {VOCABULARY}"
    assert "export_tools.py:" in str(error.hint)


def test_tables_with_more_rows_than_tokens_are_taken() -> None:
    module = Small()
    module.table = torch.nn.Parameter(torch.cat([module.table, module.table]), requires_grad=False)
    check(module)


class Cached(nn.Module):
    """Attention whose cache of keys and values alike, position and window a test chooses."""

    cache: Tensor

    def __init__(self, rows: int, window: int = 0, later: int = 0) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(VOCABULARY, 8), nn.Linear(8, VOCABULARY)
        self.window, self.later = window, later
        self.register_buffer("cache", torch.zeros(1, rows, 8))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.table(tokens)[:, None]
        place = position + self.later if self.later else position
        y, new, _ = ops.cached_attention(x, x, x, self.cache, self.cache, place, 0.5, self.window)
        self.cache.copy_(new)
        result: Tensor = self.head(y[:, 0])
        return result


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Cached(1), "a cache of 1 rows"),
        (Cached(40, later=1), "the cache is not written at the position of the call"),
        (Cached(18, window=4), "a cache of 18 rows for a window of 4 tokens"),
    ],
    ids=["one row", "later", "window"],
)
def test_caches_that_runtimes_cannot_keep(module: Cached, message: str) -> None:
    with pytest.raises(UserError, match=message, check=lambda error: error.code == "CHM223"):
        import_module(module.eval(), name="m", block=16)
    import_module(Cached(19, window=4).eval(), name="m", block=16)
