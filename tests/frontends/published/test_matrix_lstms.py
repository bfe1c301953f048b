"""xLSTM: what inspect says, sizes that have two names, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from published_models import CASES, assert_config_refused, change_config, save

from chimerac.compiler.verbs.inspect_published import inspect_published
from chimerac.frontends.published.reading import open_source, shape_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without fault."""
    torch.manual_seed(0)
    return save(CASES["xlstm"].make(), tmp_path_factory.mktemp("saved"))


def test_what_inspect_says(saved: Path) -> None:
    said = inspect_published(saved).render()
    assert "2 layers of 128 channels: matrix LSTMs of 4 heads of 16 × 32, 384 channels within" in said
    assert "texts have no end" in said


def test_sizes_by_their_first_names(saved: Path, tmp_path: Path) -> None:
    """As the makers of xLSTM 7B have them."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    change_config(folder, hidden_size=None, num_hidden_layers=None, embedding_dim=128, num_blocks=2)
    assert shape_of(open_source(folder)) == shape_of(open_source(saved))


#: What is wrong → the error's code, words of its message, what config.json says otherwise.
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "two sizes": ("CHM235", "hidden_size is there twice", {"embedding_dim": 64}),
    "no size": ("CHM111", "'num_hidden_layers' is missing", {"num_hidden_layers": None, "num_blocks": None}),
    "heads": ("CHM235", "64 rows and 128 columns do not make 6 heads", {"num_heads": 6}),
    "biases": ("CHM113", "'use_bias' can only be false", {"use_bias": True}),
    "projections in one": ("CHM113", "'weight_mode'", {"weight_mode": "fused"}),
    "no norm at the end": ("CHM113", "'add_out_norm' can only be true", {"add_out_norm": False}),
    "another denominator": ("CHM113", "'eps'", {"eps": 0.01}),
    "an unknown key": ("CHM234", "says 'slstm_at'", {"slstm_at": [1]}),
    "BitNet's rules": ("CHM234", "xlstm of BitNet", {"quantization_config": {"quant_method": "bitnet"}}),
    "other sizes": ("CHM241", "proj_up.weight has shape [384, 128], expected [256, 128]", {"ffn_proj_factor": 2}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_with_one_error(name: str, saved: Path, tmp_path: Path) -> None:
    assert_config_refused(saved, tmp_path / "model", CONFIGS[name])
