"""Bundles of modules whose matrices have other formats; building one compares it with the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import module_of_source
from chimerac.compiler.cli.main import main
from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.sessions.runner import find_emulator

NATIVE, WASM, ARM, ONNX = "x86_64-avx2", "wasm", "aarch64-neon", "onnx"
FORMATS = {"*": "int8", "layer.*": "f16", "table.*": "bf16", "other": "ternary", "head.*": "f32"}
SOURCE = """
import torch
from click.testing import CliRunner
from torch import nn


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.layer, self.lstm = nn.Embedding(256, 72), nn.Linear(72, 72), nn.LSTM(72, 24)
        self.other, self.head = nn.Parameter(torch.randn(24, 72)), nn.Linear(72, 256)

    def forward(self, tokens):
        x, _ = self.lstm(torch.tanh(self.layer(self.table(tokens))))
        return self.head(torch.tanh(x @ self.other))
"""


class Plain(nn.Module):
    """Ids and products of several axes; ternary tables and products with factors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table, self.layer, self.head = nn.Embedding(9, 72), nn.Linear(72, 40), nn.Linear(40, 5)
        self.table.weight.data.copy_(torch.randint(-1, 2, (9, 72)) * 0.3)
        self.head.weight.data.copy_(torch.randint(-1, 2, (5, 40)) * (torch.rand(5, 1) + 0.5))

    def forward(self, ids: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """ids: [2, 3], others: [1, T] -> [2, 3, 5], [1, T, 72]."""
        x = torch.tanh(self.layer(self.table(ids)))
        return self.head(x), self.table(others)


def test_every_target_has_the_interpreters_bits(tmp_path: Path) -> None:
    (tmp_path / "mixed.py").write_text(SOURCE)
    report = build(
        f"{tmp_path / 'mixed.py'}:Mixed", targets=[NATIVE, WASM, ONNX], out=tmp_path, block=4, weights_format=FORMATS
    )
    answers = set()
    for bundle in report.bundles:
        stated = "f32, *=int8, layer.*=f16, table.*=bf16, other=ternary, head.*=f32"
        assert read_manifest(bundle.path).provenance["weights_format"] == stated
        card = (bundle.path / "MODEL_CARD.md").read_text()
        assert "| `layer.weight` | 72 × 72 | float16 | 0." in card
        assert "| `other` | 72 × 24 | ternary, scales for 128 | " in card
        assert "× float32 as int8, rounded by" in (bundle.path / "report.html").read_text()
        with chimerac.load(bundle.path) as session:
            answers.add(tuple(piece.token for piece in session.generate("Once upon a time", max_tokens=12)))
    assert len(answers) == 1


@pytest.mark.parametrize("wanted", ["bf16", "f16"])
def test_fused_onnx_reads_narrow_floats(wanted: str, tmp_path: Path) -> None:
    (tmp_path / "mixed.py").write_text(SOURCE)
    source = f"{tmp_path / 'mixed.py'}:Mixed"
    bundle = build(source, targets=["onnx-fused"], out=tmp_path, block=4, weights_format=wanted).bundles[0].path
    with chimerac.load(bundle) as session, torch.no_grad():
        session.prefill([3, 1, 4, 1, 5])
        found = session.logits()
        assert found is not None
        expected = module_of_source(source)(torch.tensor([3, 1, 4, 1, 5], dtype=torch.int32))[-1]
        np.testing.assert_allclose(found, expected.numpy(), atol={"bf16": 0.02, "f16": 0.002}[wanted])


@pytest.mark.parametrize(
    "targets", [[NATIVE, ONNX], pytest.param([WASM, ARM], marks=pytest.mark.slow)], ids=lambda names: names[0]
)
def test_calls_of_tensors(targets: list[str], tmp_path: Path) -> None:
    if ARM in targets and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
    module = Plain().eval().requires_grad_(False)
    report = chimerac.compile(
        module, targets=targets, out=tmp_path, example=("2,3:i64", "1,T:i64"), block=4, weights_format="ternary"
    )
    given = {"ids": np.array([[1, 2, 3], [8, 0, 4]]), "others": np.array([[5, 6]])}
    found = []
    for bundle in report.bundles:
        with chimerac.load(bundle.path) as session:
            found.append(session.call(given))
    for one in found:
        assert {name: array.tobytes() for name, array in one.items()} == {
            name: array.tobytes() for name, array in found[0].items()
        }
        np.testing.assert_array_equal(one["1"], module.table(torch.from_numpy(given["others"])).numpy())


def test_the_command_line_takes_rules(tmp_path: Path) -> None:
    (tmp_path / "mixed.py").write_text(SOURCE)
    rules = ["--weights-format", "int8", "--weights-format", "headd.weight=f32"]
    command = ["build", f"{tmp_path / 'mixed.py'}:Mixed", "-t", ONNX, "-o", str(tmp_path / "dist"), *rules]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "CHM236" in result.stderr
    assert "did you mean 'head.weight'" in result.stderr


@pytest.mark.parametrize("given", ["int4", ["head.*=i8"]], ids=str)
def test_a_format_that_there_is_not(given: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no format") as error:
        chimerac.compile(Plain(), targets=[ONNX], out=tmp_path / "dist", weights_format=given)
    assert error.value.code == "CHM236"
    assert not (tmp_path / "dist").exists()
