"""What ``inspect`` says of model folders and GGUF files."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from click.testing import CliRunner
from gguf_files import Tensor, small_gguf, text_value
from published_models import CASES, Case, bitnet, change_config, plain_types, save, write_gguf
from safetensors_files import SMALL_DATA, file_of, small_header, write_folder

from chimerac.compiler.cli.main import main
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.inspect_published import inspect_published


def lines_of(path: Path) -> list[str]:
    return inspect_published(path).render().splitlines()


def test_a_gguf_file(tmp_path: Path) -> None:
    model = Case("Qwen3", {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}).make()

    def tokenizer(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(["a", "b"])

    ternary = gguf.GGMLQuantizationType.TQ1_0
    types = lambda name, tensor: ternary if tensor.ndim == 2 else plain_types(name, tensor)  # noqa: E731
    lines = lines_of(write_gguf(model, tmp_path / "m.gguf", "qwen3", types, tokenizer))
    assert lines[:4] == [
        "m.gguf: qwen3, a GGUF file of version 3",
        "2 layers of 256 channels, 4 heads of 64 channels that share 2 keys, 512 channels within",
        "vocabulary of 300 tokens, and a head of its own; made for 256 tokens",
        "tokenizer: gpt2, cut as qwen2, 2 tokens",
    ]
    assert "becomes 16 × TQ1_0 as it is" in lines
    assert any(line.split() == ["token_embd.weight", "TQ1_0[300,", "256]", "16,200"] for line in lines)


def test_a_folder(tmp_path: Path) -> None:
    save(CASES["qwen 3"].make(), tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    lines = lines_of(tmp_path / "model")
    assert lines[0] == "model: qwen3, a Hugging Face folder"
    assert lines[2:5] == [
        "vocabulary of 300 tokens, which is the head; made for 256 tokens",
        "tokenizer: tokenizer.json",
        "quantisation: none",
    ]
    assert any(line.startswith("becomes 15 × F32 as int8, rounded by 0.") for line in lines)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"linear_class": "bitlinear"}, "BitNet, trits divided"),
        ({"linear_class": "autobitlinear", "quantization_mode": "online"}, "BitNet, floats rounded to trits"),
    ],
)
def test_the_rule_of_a_folder(config: dict[str, str], said: str, tmp_path: Path) -> None:
    model = CASES["bitnet"].make()
    if config["linear_class"] == "bitlinear":
        bitnet.replace_with_bitnet_linear(model, ["lm_head"], None)
    save(model, tmp_path)
    change_config(tmp_path, quantization_config={"quant_method": "bitnet"} | config)
    assert f"quantisation: {said}" in lines_of(tmp_path)


def test_what_is_read_and_not_supported(tmp_path: Path) -> None:
    """The reason is said, and what there is all the same."""
    path = tmp_path / "m.gguf"
    path.write_bytes(small_gguf().but(tensors=(Tensor("x", (256, 2), 16, bytes(132)),)).bytes())
    lines = lines_of(path)
    assert any(line.startswith("not supported: CHM231") for line in lines)
    assert any(line.split() == ["x", "IQ2_XXS[2,", "256]", "132"] for line in lines)
    folder = write_folder(tmp_path / "f", {"config.json": {"model_type": "mamba"}})
    (folder / "model.safetensors").write_bytes(file_of(small_header(), SMALL_DATA))
    lines = lines_of(folder)
    assert "not supported: CHM234 models of the type 'mamba' are not supported" in lines
    assert any(line.split() == ["c", "U8[3,", "4]", "12"] for line in lines)


def test_files_that_say_nothing_of_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(small_gguf().but(keys=(("a", text_value("b")),)).bytes())
    with pytest.raises(UserError, match=r"has no general.architecture") as caught:
        inspect_published(path)
    assert caught.value.code == "CHM231"


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(small_gguf().bytes())
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 0
    assert result.output.startswith("m.gguf: llama, a GGUF file of version 3\ntokenizer: none\n")
