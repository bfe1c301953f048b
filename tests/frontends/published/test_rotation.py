"""Rotated bases: files whose matrices were rotated are the model that they were made of; the unknown is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hybrid_files import write_hybrid
from published_models import Case, logits_of, plain_types
from rotated_files import BLOCK, CASE, SIGNS, SIZES, UNTIED, hadamard, is_rotated, rotated
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import Published, open_source, read_published

TOKENS = torch.randint(0, 300, (9,), generator=torch.Generator().manual_seed(4))
Keys = dict[str, Any]


def read(path: Path) -> Published:
    return read_published(open_source(path), Rules("f32"))


def logits(published: Published) -> Tensor:
    with torch.no_grad():
        found: Tensor = filled(published, 64).module(TOKENS.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    return found


def difference(mine: Tensor, theirs: Tensor) -> float:
    return float((mine - theirs).abs().max() / (theirs.max() - theirs.min()))


@pytest.mark.parametrize("case", [CASE, UNTIED], ids=["tied", "untied"])
def test_a_rotated_file_is_the_model_that_it_was_made_of(case: Case, tmp_path: Path) -> None:
    model = case.make()
    published = read(rotated(tmp_path / "model.gguf", model))
    assert published.forms["embedding.weight"].rotated == BLOCK
    assert published.forms["layers.0.mixer.o_proj.weight"].rotated == BLOCK
    assert published.forms["layers.0.mixer.a_proj.weight"].rotated == 0
    assert difference(logits(published), logits_of(model, TOKENS)) < 5e-5


def test_rotated_trits_stay_trits(tmp_path: Path) -> None:
    """The file's numbers, in the rotated basis, are what the model is compared with."""
    wide = SIZES | {"hidden_size": 256, "intermediate_size": 256, "linear_num_value_heads": 8}
    model = Case("Qwen3_5", wide, "Qwen3_5Text").make()
    quant = gguf.GGMLQuantizationType.TQ2_0
    signs = np.random.default_rng(0).choice([-1, 1], 256)

    def types(name: str, tensor: np.ndarray) -> gguf.GGMLQuantizationType:
        fits = is_rotated(name, tensor) and tensor.shape[1] == 256 and name != "token_embd.weight"
        return quant if fits else plain_types(name, tensor)

    SIGNS[256] = signs
    try:
        published = read(rotated(tmp_path / "model.gguf", model, types))
    finally:
        del SIGNS[256]
    assert str(published.forms["layers.0.ffn.up_proj.weight"]) == "ternary, scales for 256, rotated in blocks of 64"
    found = published.matrices["layers.0.ffn.up_proj.weight"].floats(0, 256)
    weight = model.get_parameter("model.layers.0.mlp.up_proj.weight").detach().numpy()
    stored = gguf.quants.quantize(hadamard(weight * signs).astype(np.float32), quant)
    assert np.array_equal(found, gguf.quants.dequantize(stored, quant))
    logits(published)


#: What is wrong → the error's code, words of its message, what the file says otherwise.
REFUSED: dict[str, tuple[str, str, Keys]] = {
    "another version": ("CHM234", "version is '2', and only 1", {"version": 2}),
    "another transform": ("CHM234", "transform is 'dct'", {"transform": "dct"}),
    "another axis": ("CHM234", "axis is 'output'", {"axis": "output"}),
    "signs of another kind": ("CHM234", "sign_mode is 'seeded'", {"sign_mode": "seeded"}),
    "blocks of another size": ("CHM234", "block_size is 96", {"block_size": 96}),
    "blocks that do not fit": ("CHM235", "different multiples of 256", {"block_size": 256}),
    "an unknown key": ("CHM234", "prism.hadamard.permutation", {"permutation": 1}),
    "no axis": ("CHM231", "no prism.hadamard.axis", {"axis": None}),
    "a version that is a text": ("CHM231", "prism.hadamard.version", {"version": "1"}),
    "too few signs": ("CHM235", "sign_values are 3", {"sign_values": [1, -1, 1]}),
    "more widths than any model has": ("CHM235", "sign_widths are 99", {"sign_widths": [64] * 99}),
    "a sign of 2": ("CHM235", "not all 1 or -1", {"sign_values": [2] * 320}),
    "a width without signs": (
        "CHM234",
        "has not the 192 columns",
        {"sign_widths": [128], "sign_values": [1] * 128},
    ),
    "a matrix that there is not": ("CHM234", "'blk.9.attn_q.weight'", {"weight_names": ["blk.9.attn_q.weight"]}),
    "a vector": ("CHM234", "'output_norm.weight'", {"weight_names": ["output_norm.weight"]}),
    "another table": ("CHM234", "rows are looked up", {"inverse_weight_names": ["output.weight"]}),
    "a table that is not turned back": (
        "CHM234",
        "not turned back",
        {"weight_names": ["token_embd.weight"], "inverse_weight_names": None},
    ),
    "heads in an order that is not said": (
        "CHM234",
        "blk.0.ssm_out.weight is not rotated",
        {"weight_names": ["blk.0.ffn_up.weight"]},
    ),
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return CASE.make()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused(name: str, model: nn.Module, tmp_path: Path) -> None:
    code, words, changes = REFUSED[name]
    path = rotated(tmp_path / "model.gguf", model, **changes)
    with pytest.raises(UserError) as caught:
        read(path)
    assert caught.value.code == code, caught.value.message
    assert words in caught.value.message


def test_keys_of_another_rotation(model: nn.Module, tmp_path: Path) -> None:
    path = write_hybrid(model, tmp_path / "m.gguf", "qwen35", keys=lambda w: w.add_uint32("prism.givens.version", 1))
    with pytest.raises(UserError, match=r"prism.givens.version") as caught:
        read(path)
    assert caught.value.code == "CHM234"
