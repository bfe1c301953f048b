"""Modules whose matrices have other formats compute what PyTorch does with the numbers that these hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ir_tools import entered
from ternary import ternarize_weight
from torch import Tensor, nn

from chimerac.compiler.build import pipeline
from chimerac.compiler.build.formats import formatted
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.verify import verify
from chimerac.frontends.export.importer import import_module
from chimerac.frontends.matrices.rules import Given

VOCABULARY, WIDTH = 20, 136  # a group of 128 columns and one of 8
CALLS = ([3, 1, 4], [1], [5, 9, 2, 6, 5])


class Mixed(nn.Module):
    """All that matrices are used for: a table that is the head, too, layers, a product from the other side, an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.table = nn.Embedding(VOCABULARY, WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.other = nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.1)
        self.lstm = nn.LSTM(WIDTH, 24)
        self.out = nn.Linear(24, WIDTH, bias=False)
        self.both = nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.1)
        self.scores = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.scores.weight = self.table.weight
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.tanh(self.layer(self.table(tokens)))
        x = torch.tanh(x @ self.other) + (x * self.both[0])
        y, _ = self.lstm(x)
        logits: Tensor = self.scores(self.out(y))
        return logits


def imported(module: nn.Module, given: Given | None) -> Module:
    found = formatted(module, import_module(module, name="mixed", block=8), given).module
    verify(found)
    return found


def logits_of(module: Module) -> np.ndarray:
    """The last token's, of each call; with all passes the same bits as with none that may be left out."""
    found = []
    for without in ((), tuple(sorted(pipeline.OPTIONAL))):
        lowered, _ = pipeline.run(module, pipeline.passes(without=without))
        session = Session(lowered, loops=1)
        found.append([session.forward(tokens) for tokens in CALLS])
    assert np.array_equal(found[0], found[1])
    imported_session = Session(entered(module), loops=1)
    calls = [imported_session.call("decode" if len(c) == 1 else "prefill", np.array(c, np.int32)) for c in CALLS]
    assert np.array_equal(calls, found[0])
    return np.array(found[0])


def expected(module: nn.Module) -> np.ndarray:
    """The same of PyTorch, of the whole text."""
    whole = [token for call in CALLS for token in call]
    ends = np.cumsum([len(call) for call in CALLS]) - 1
    result: np.ndarray = module(torch.tensor(whole, dtype=torch.int32)).numpy()[ends]
    return result


def groups(weight: np.ndarray, size: int) -> np.ndarray:
    """Columns in groups, the last filled up with zeros, in float64."""
    padded = np.pad(weight.astype(np.float64), ((0, 0), (0, -weight.shape[1] % size)))
    return padded.reshape(len(weight), -1, size)


def int8(weight: np.ndarray) -> np.ndarray:
    found = groups(weight, 128)
    scales = (np.abs(found).max(-1, keepdims=True) / 127).astype(np.float32).astype(np.float16).astype(np.float64)
    rounded = np.clip(np.rint(found / scales), -127, 127) * scales
    result: np.ndarray = rounded.reshape(len(weight), -1)[:, : weight.shape[1]].astype(np.float32)
    return result


def ternary(weight: np.ndarray) -> np.ndarray:
    found = groups(weight, 128)
    counts = np.minimum(128, weight.shape[1] - 128 * np.arange(found.shape[1]))
    scales = (np.abs(found).sum(-1) / counts).astype(np.float16).astype(np.float64)[..., None]
    rounded = np.clip(np.rint(found / scales), -1, 1) * scales
    result: np.ndarray = rounded.reshape(len(weight), -1)[:, : weight.shape[1]].astype(np.float32)
    return result


def bf16(weight: np.ndarray) -> np.ndarray:
    result: np.ndarray = torch.from_numpy(weight).bfloat16().float().numpy()
    return result


def f16(weight: np.ndarray) -> np.ndarray:
    return weight.astype(np.float16).astype(np.float32)


def of_8_bits(x: Tensor) -> Tensor:
    """Activations in blocks of 64 that share a scale; in float32, because halves are frequent among rounded weights."""
    found = groups(x.numpy(), 64).astype(np.float32)
    scales = np.maximum(np.abs(found).max(-1, keepdims=True), np.float32(1e-5)) / np.float32(127)
    return torch.from_numpy((np.rint(found / scales) * scales).reshape(len(x), -1)[:, : x.shape[1]])


class Rounded(Mixed):
    """``Mixed`` with the numbers that the formats hold, but for the matrices of its LSTM."""

    def __init__(self, rounding: Callable[[np.ndarray], np.ndarray], *, integers: bool) -> None:
        super().__init__()
        self.activations: Callable[[Tensor], Tensor] = of_8_bits if integers else lambda x: x
        for parameter in (self.layer.weight, self.out.weight, self.table.weight):
            parameter.copy_(torch.from_numpy(rounding(parameter.numpy())))
        self.other.copy_(torch.from_numpy(rounding(np.ascontiguousarray(self.other.numpy().T)).T))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        x = torch.tanh(F.linear(self.activations(x), self.layer.weight, self.layer.bias))
        x = torch.tanh(self.activations(x) @ self.other) + (x * self.both[0])
        y, _ = self.lstm(x)
        x = F.linear(self.activations(y), self.out.weight)
        return F.linear(self.activations(x), self.table.weight)


@pytest.mark.parametrize(
    ("name", "rounding", "integers"),
    [("int8", int8, True), ("ternary", ternary, True), ("bf16", bf16, False), ("f16", f16, False)],
)
def test_outputs_are_those_of_the_rounded_weights(
    name: str, rounding: Callable[[np.ndarray], np.ndarray], integers: bool
) -> None:
    module = imported(Mixed(), [name, "lstm.*=f32"])
    ours, theirs = logits_of(module), expected(Rounded(rounding, integers=integers))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert np.abs(expected(Mixed()) - theirs).max() > 2e-5


def test_masters_of_trits() -> None:
    """Their products are those of the weights that ternary-qat multiplies, but for activations of 8 bits."""
    torch.manual_seed(6)
    module = nn.Sequential(nn.Embedding(VOCABULARY, 128), nn.Linear(128, VOCABULARY)).requires_grad_(False).eval()
    made = imported(module, ["ternary-qat", "0.*=f32"])
    with torch.no_grad():
        module.get_parameter("1.weight").copy_(ternarize_weight(module.get_parameter("1.weight")))
    theirs = expected(module)
    assert np.abs(logits_of(made) - theirs).max() < 0.02 * np.ptp(theirs)


def test_matrices_within_a_scan_have_formats_too() -> None:
    """An LSTM's: of what goes in, for all tokens at once, and of its state, token by token."""
    module = Mixed()
    found = imported(module, "int8")
    names = [op.name for op in walk(found.graphs["main"].ops)]
    assert names.count("int8_linear") == 6
    assert "linear" not in names
    assert np.abs(logits_of(found) - expected(module)).max() < 0.1


def test_what_is_ternary_already_keeps_its_numbers() -> None:
    """With float16 scales of groups, and with a float32 scale for each row or for all; tables but for those of rows."""
    module = Mixed()
    random = np.random.default_rng(4)

    def fill(parameter: Tensor, scales: np.ndarray) -> None:
        signs = random.integers(-1, 2, parameter.shape)
        parameter.copy_(torch.from_numpy((signs * scales).astype(np.float32)))

    fill(module.table.weight, np.array(0.3, np.float32))
    fill(module.layer.weight, np.repeat(random.uniform(0.1, 0.2, (WIDTH, 2)).astype(np.float16), 128, 1)[:, :WIDTH])
    fill(module.other, random.uniform(0.1, 0.2, (1, WIDTH)).astype(np.float32))
    for given in ("auto", "ternary"):
        formats = formatted(module, import_module(module, name="mixed", block=8), given)
        told = {remark.text for remark in formats.remarks}
        assert "1 × float32 that is ternary with scales for 128 columns, as it is" in told
        assert "1 × float32 that is ternary with a float32 scale for each row, as it is" in told
        assert "1 × float32 that is ternary with a float32 scale for all, as it is" in told
        assert ("3 × float32" in told) == (given == "auto")
    rounded = Rounded(lambda weight: weight, integers=True)
    rounded.load_state_dict(module.state_dict())
    ours = logits_of(imported(module, ["auto", "out.weight=ternary"]))
    rounded.out.weight.copy_(torch.from_numpy(ternary(module.out.weight.numpy())))
    np.testing.assert_allclose(ours, expected(rounded), rtol=1e-4, atol=1e-4)


def test_the_card_has_each_matrix_and_its_error() -> None:
    module = Mixed()
    formats = formatted(module, import_module(module, name="mixed", block=8), ["int8", "layer.*=bf16", "out.*=f32"])
    assert formats.provenance == {"weights_format": "int8, layer.*=bf16, out.*=f32"}
    lines = formats.notes.splitlines()
    for name, rounding in (("scores.weight", int8), ("layer.weight", bf16)):
        weight = module.get_parameter(name).numpy().astype(np.float64)
        error = np.sqrt(np.square(weight - rounding(weight.astype(np.float32))).sum() / np.square(weight).sum())
        (line,) = [line for line in lines if f"`{name}`" in line]
        assert line.endswith(f"| {error:.2%} |")
    assert f"| `out.weight` | {WIDTH} × 24 | float32 | - |" in lines
    assert sum("float32 as bfloat16, rounded by" in remark.text for remark in formats.remarks) == 1


def test_without_formats_nothing_changes() -> None:
    module = Mixed()
    before = import_module(module, name="mixed", block=8)
    formats = formatted(module, before, None)
    assert formats.module is before
    assert (formats.remarks, formats.notes, formats.provenance) == ((), "", {"weights_format": "f32"})
    assert imported(module, "f32").graphs == before.graphs


def test_the_other_name_of_a_shared_matrix_is_known() -> None:
    module = Mixed()
    names = [op.name for op in walk(imported(module, "scores.*=int8").graphs["main"].ops)]
    assert names.count("int8_linear") == names.count("int8_embedding") == 1


@pytest.mark.parametrize(
    ("given", "words", "hint"),
    [
        ("layr.weight=int8", "is called 'layr.weight'", "did you mean 'layer.weight'"),
        ("xyz*=f32", r"is called 'xyz\*'", "another format are other, scores.weight, layer.weight"),
        ("layer.bias=int8", "'layer.bias' cannot be int8: layer.bias is f32.136., and no matrix", "can have another"),
        ("*bias*=bf16", "and no matrix of floats, like the others", "can have another"),
        ("both=ternary", "both is used by slice, which takes float32", "can have another"),
        ("spare=int8", "spare is not used", "can have another"),
        ("count=int8", "count is not used", "can have another"),
    ],
    ids=str,
)
def test_rules_that_nothing_can_follow_are_refused(given: str, words: str, hint: str) -> None:
    module = Mixed()
    module.spare = nn.Parameter(torch.zeros(3, 3))
    module.register_buffer("count", torch.zeros(2, 2))
    with pytest.raises(UserError, match=words) as error:
        imported(module, given)
    assert error.value.code == "CHM236"
    assert hint in str(error.value.hint)


class Sides(nn.Module):
    """A matrix that multiplies from both sides, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(VOCABULARY))
        self.vector = nn.Parameter(torch.ones(VOCABULARY))

    def forward(self, tokens: Tensor) -> Tensor:
        return (tokens.float()[:, None] * self.vector) @ self.matrix @ self.matrix.T


@pytest.mark.parametrize(
    ("given", "words"), [("int8", "no matrix of mixed can be int8"), ("matrix=int8", "as it is and transposed")]
)
def test_a_module_without_such_matrices(given: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        imported(Sides().eval().requires_grad_(False), given)
    assert error.value.code == "CHM236"


def test_numbers_that_no_format_has_are_refused() -> None:
    module = Mixed()
    module.layer.weight[3, 4] = float("nan")
    with pytest.raises(UserError, match=r"layer\.weight holds NaN or infinity") as error:
        imported(module, "int8")
    assert error.value.code == "CHM242"
