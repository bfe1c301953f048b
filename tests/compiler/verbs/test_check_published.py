"""What ``check`` says of model folders and GGUF files: what a build would, without building."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from public_tokenizers import library_of
from published_models import CASES, change_config, save

from chimerac.compiler.build.build import build
from chimerac.compiler.cli.main import main
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.check import check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    case = CASES["qwen 3"]
    roomy = type(case)(case.name, {**case.settings, "vocab_size": 2000})
    save(roomy.make(), tmp_path / "model")
    library_of("qwen2").save(str(tmp_path / "model" / "tokenizer.json"))
    return tmp_path / "model"


def test_a_folder_that_a_build_takes(folder: Path) -> None:
    shown = CliRunner().invoke(main, ["check", str(folder)], catch_exceptions=False).output.splitlines()
    assert shown[0] == "model: qwen3, a Hugging Face folder"
    assert any(line.startswith("becomes 15 × F32 as int8") for line in shown)
    assert "tokenizer of 2,000 tokens" in shown
    assert any(line.startswith("1,000 texts have the tokens of the library") for line in shown)
    assert not any(line.startswith("model.embed_tokens.weight") for line in shown)


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"num_hidden_layers": 3}], ids=str)
def test_what_a_build_refuses(changes: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """With the same words, though a check writes nothing and a build stops before it does."""
    change_config(folder, **changes)
    with pytest.raises(UserError) as checked:
        check(folder)
    with pytest.raises(UserError) as built:
        build(folder, targets=["onnx"], out=tmp_path / "dist")
    assert (checked.value.code, checked.value.message) == (built.value.code, built.value.message)
    assert not (tmp_path / "dist").exists()


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer.json") as caught:
        check(folder)
    assert caught.value.code == "CHM260"


def test_arguments_of_configs(folder: Path) -> None:
    for arguments, said in ({"scale": "nano"}, "takes no scale"), ({"overrides": ("a=1",)}, "takes no --set"):
        with pytest.raises(UserError, match=said) as caught:
            check(folder, **arguments)
        assert caught.value.code == "CHM219"
    result = CliRunner().invoke(main, ["check", "--json", str(folder)])
    assert result.exit_code == 2
    assert "a published model has none" in result.output
