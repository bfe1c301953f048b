"""Masters of ternary-qat: trits and scales of the package itself, of folders, modules and experts' files alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from published_models import CASES, Case, logits_of, save
from ternary import TernaryConfig, swap_linear, ternarize_weight
from torch import Tensor

from chimerac.compiler.errors import UserError
from chimerac.frontends.matrices.forms import Form
from chimerac.frontends.matrices.masters import by_largest
from chimerac.frontends.matrices.matrix import Matrix
from chimerac.frontends.matrices.rules import Rules
from chimerac.frontends.published.filled import filled
from chimerac.frontends.published.reading import open_source, read_published

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WIDE = Case("Qwen3", {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "tie_word_embeddings": True})


def masters(weight: Tensor, type_name: str) -> Matrix:
    numbers = weight.float().numpy()
    size = (int(numbers.shape[0]), int(numbers.shape[1]))
    return Matrix("m", "file: m", size, Form("ternary"), type_name, lambda start, end: numbers[start:end])


@pytest.mark.parametrize("group", [64, 128])
@pytest.mark.parametrize("type_name", TYPES)
def test_trits_are_those_of_the_package(type_name: str, group: int) -> None:
    weight = (torch.randn(600, 512) * 0.02).to(TYPES[type_name])
    if type_name != "F16":  # where the package divides 0 by 0
        weight[3, :128] = 0
    weight[4] = weight[4].abs().max() * torch.tensor([0.5, 0.501, 0.499, 0.5005], dtype=weight.dtype).repeat(128)
    expected = ternarize_weight(weight, group).float().numpy()
    found = by_largest(masters(weight, type_name), group, type_name)
    assert found.form == Form("ternary", group)
    assert found.codes is not None
    codes, scales = found.codes(0, 600)
    largest = weight.float().abs().reshape(600, -1, group).amax(-1).numpy()
    assert np.array_equal(codes, np.sign(expected))
    assert np.array_equal(scales, largest.astype(np.float16))
    exact = np.concatenate(list(found.parts()))
    if type_name == "F32":  # whose scales are rounded
        assert np.allclose(exact, expected, rtol=2**-11)
    else:
        assert np.array_equal(exact, expected)


@pytest.mark.parametrize("group", [64, 128])
def test_folders_of_masters(group: int, tmp_path: Path) -> None:
    """The logits of transformers with the layers that the package puts in, but for activations of 8 bits."""
    model = WIDE.make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    save(model, tmp_path)
    swap_linear(model, TernaryConfig(group_size=group))
    name = "ternary-qat" if group == 128 else "ternary-qat-64"
    published = read_published(open_source(tmp_path), Rules(name))
    assert set(published.forms.values()) == {Form("ternary", group)}
    told = {matrix.told for matrix in published.matrices.values()}
    assert told == {f"F32 rounded to trits by the largest of {group}, as ternary-qat does"}
    tokens = torch.randint(0, 300, (12,))
    with torch.no_grad():
        mine = filled(published, 16).module(tokens.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    theirs = logits_of(model, tokens)
    assert float((mine - theirs).abs().max() / (theirs.max() - theirs.min())) < 0.05
    # the rule makes a difference: rounded by the mean they are another model's
    other = filled(read_published(open_source(tmp_path), Rules("ternary")), 16)
    with torch.no_grad():
        others = other.module(tokens.to(torch.int32), torch.tensor(0, dtype=torch.int32))
    assert float((others - theirs).abs().max() / (theirs.max() - theirs.min())) > 0.1


def test_rows_that_are_no_groups_are_refused(tmp_path: Path) -> None:
    save(CASES["qwen 3"].make(), tmp_path)
    with pytest.raises(UserError, match=r"rows of 64 weights, which are no groups of 128") as caught:
        read_published(open_source(tmp_path), Rules("ternary-qat"))
    assert caught.value.code == "CHM236"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 7e4])
def test_numbers_that_no_scale_has_are_refused(wrong: float) -> None:
    weight = torch.ones(2, 128)
    weight[1, 5] = wrong
    with pytest.raises(UserError, match="file: m has scales that are NaN or infinite") as caught:
        list(by_largest(masters(weight, "F32"), 128, "F32").parts())
    assert caught.value.code == "CHM242"
