"""Published models as bundles: the tokens and logits of transformers, of folders and of GGUF files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from public_tokenizers import document_of, library_of
from published_models import CASES, Case, logits_of, plain_types, save, write_gguf

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.verify import verify
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.options import NO_GRAMMAR, PLAIN
from chimerac.runtime.reference.tokenizer import byte_tokenizer, write_tokenizer

torch.set_num_threads(1)

#: A model whose prompts and texts are as long as its context.
CONTEXT, PROMPT = 48, 20
TERNARY = Case("Llama", {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A tokenizer of as many tokens as the models have, one per byte."""
    path = tmp_path / "bytes.tokenizer"
    write_tokenizer(path, byte_tokenizer(300))
    return path


def greedy(model: torch.nn.Module, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens after a prompt, by transformers; those that the tokenizer has not are never generated."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(logits_of(model, torch.tensor(tokens))[-1, :256].argmax()))
    return tokens[len(prompt) :]


def check_floats(name: str, target: str, folder: Path, table: Path) -> None:
    """A bundle with float32 weights continues a prompt as transformers does, up to its context."""
    model = CASES[name].make()
    save(model, folder / "any model")
    context = None if CASES[name].name in ("Mamba2", "xLSTM") else CONTEXT  # whose texts have no end
    report = build(
        folder / "any model", targets=[target], out=folder, tokenizer=table, context=context, weights_format="f32"
    )
    bundle = report.bundles[0].path
    assert bundle.name.startswith("any-model.")
    prompt = np.random.default_rng(2).integers(3, 300, PROMPT).tolist()
    with chimerac.load(bundle) as session:
        session.prefill(prompt)
        mine, theirs = session.logits(), logits_of(model, torch.tensor(prompt))[-1].numpy()
        assert mine is not None
        assert np.abs(mine - theirs).max() < 1e-3 * np.ptp(theirs)
        most = 100 if context else CONTEXT - PROMPT
        list(session.generate(prompt, max_tokens=most, grammar=NO_GRAMMAR, **PLAIN))
        expected = greedy(model, prompt, CONTEXT - PROMPT)
        assert session.tokens()[: len(expected)] == expected
        assert session.context == (context or 2**31 - 1)


@pytest.mark.parametrize("name", ["qwen 3, yarn", "smollm 3", "qwen 3 next", "mamba 2"])
def test_bundles_of_folders_continue_as_transformers_does(name: str, tmp_path: Path, table: Path) -> None:
    check_floats(name, "onnx", tmp_path, table)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
@pytest.mark.parametrize("name", CASES)
def test_all_kinds_continue_as_transformers_does(name: str, target: str, tmp_path: Path, table: Path) -> None:
    check_floats(name, target, tmp_path, table)


def ternary_file(folder: Path) -> Path:
    """A GGUF file in TQ2_0, its table in Q8_0 and its head in float16."""
    kinds = {"token_embd.weight": "Q8_0", "output.weight": "F16"}

    def types(name: str, tensor: np.ndarray) -> gguf.GGMLQuantizationType:
        if tensor.ndim < 2:
            return plain_types(name, tensor)
        return gguf.GGMLQuantizationType[kinds.get(name, "TQ2_0")]

    return write_gguf(TERNARY.make(), folder / "small.gguf", "llama", types)


def check_integers(target: str, folder: Path, table: Path) -> None:
    """Bundle and PyTorch agree when their activations are rounded alike; the bundle says what it was made of."""
    path = ternary_file(folder)
    formats = ["int8", "output*=f16"]
    report = build(path, targets=[target], out=folder / "dist", tokenizer=table, context=128, weights_format=formats)
    bundle = report.bundles[0].path
    manifest = read_manifest(bundle)
    assert dict(manifest.provenance) == {
        "weights": "small.gguf",
        "source": "llama from a GGUF file",
        "weights_format": "int8, output*=f16",
        "activations": "blocks",
    }
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "14 × TQ2_0 as it is" in card
    assert "1 × Q8_0 as int8, rounded by 0." in card
    assert "1 × F16 as float16\n" in card
    found = verify(bundle, config=path)
    assert found.agreement is not None
    assert found.agreement.holds


def test_a_bundle_of_a_ternary_file(tmp_path: Path, table: Path) -> None:
    check_integers("onnx", tmp_path, table)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_code_of_a_ternary_file(target: str, tmp_path: Path, table: Path) -> None:
    check_integers(target, tmp_path, table)


#: One whose rows are one sum each, some of them in a loop.
BITNET = Case("BitNet", {"hidden_size": 256, "intermediate_size": 640, "num_attention_heads": 8})
ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


def check_rows(target: str, folder: Path, table: Path) -> None:
    """Activations of BitNet have one scale for a token, unless another way is asked for; a bundle says which."""
    save(BITNET.make(), folder / "model", quantization_config=ONLINE)
    for given, expected in ((None, "row"), ("blocks", "blocks")):
        out = folder / expected
        report = build(
            folder / "model",
            targets=[target],
            out=out,
            tokenizer=table,
            context=64,
            weights_format="f32",
            activations=given,
        )
        bundle = report.bundles[0].path
        assert read_manifest(bundle).provenance["activations"] == expected
        said = "those of the layers' trits with one for all channels" in (bundle / "MODEL_CARD.md").read_text()
        assert said == (expected == "row")
        found = verify(bundle, config=folder / "model")
        assert found.agreement is not None
        assert found.agreement.holds
        assert 1e-4 < found.agreement.floats < 0.2
        assert any("activations of 32 bits" in line for line in found.agreement.lines())


def test_a_bundle_of_bitnet(tmp_path: Path, table: Path) -> None:
    check_rows("onnx", tmp_path, table)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm"])
def test_code_of_bitnet(target: str, tmp_path: Path, table: Path) -> None:
    check_rows(target, tmp_path, table)


@pytest.mark.slow
def test_other_targets_are_built(tmp_path: Path, table: Path) -> None:
    targets = ["aarch64", "onnx-fused", "ios-arm64"]
    path = ternary_file(tmp_path)
    build(path, targets=targets, out=tmp_path / "dist", tokenizer=table, context=64)


#: A vocabulary with room for the tokenizers of ``public_tokenizers``.
ROOMY = {"vocab_size": 1000}


TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_the_tokenizer_and_the_chat_of_a_folder(tmp_path: Path) -> None:
    library = library_of("qwen2")
    save(Case("Qwen3", {**CASES["qwen 3"].settings, **ROOMY}).make(), tmp_path / "model")
    library.save(str(tmp_path / "model" / "tokenizer.json"))
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    bundle = build(tmp_path / "model", targets=["onnx"], out=tmp_path).bundles[0].path
    assert read_manifest(bundle).chat is not None
    assert "chat template" in (bundle / "report.html").read_text()
    with chimerac.load(bundle) as session:
        text = "the count of tokens; it's 日本語"
        assert session.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_the_tokenizer_of_a_gguf_file(tmp_path: Path) -> None:
    document, library = document_of("qwen2"), library_of("qwen2")
    names = {id: token for token, id in document["model"]["vocab"].items()}
    added = {row["id"]: row["content"] for row in document["added_tokens"]}

    def keys(writer: gguf.GGUFWriter) -> None:
        ids = range(max(names.keys() | added.keys()) + 1)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list([(names | added).get(id, f"[PAD{id}]") for id in ids])
        kinds = (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNUSED)
        writer.add_token_types([kinds[0] if id in added else kinds[1] if id in names else kinds[2] for id in ids])
        writer.add_token_merges([" ".join(pair) for pair in document["model"]["merges"]])
        writer.add_eos_token_id(max(added))

    model = Case("Llama", {**TERNARY.settings, **ROOMY}).make()
    path = write_gguf(model, tmp_path / "m.gguf", "llama", keys=keys)
    bundle = build(path, targets=["onnx"], out=tmp_path).bundles[0].path
    with chimerac.load(bundle) as session:
        text = "returns the tokens in a tokenizer слово"
        assert session.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    save(CASES["llama"].make(), tmp_path / "model")
    with pytest.raises(UserError, match=r"tokenizer.json") as caught:
        build(tmp_path / "model", targets=["onnx"], out=tmp_path / "dist")
    assert caught.value.code == "CHM260"
    assert not (tmp_path / "dist").exists()


def test_another_file_than_that_of_the_bundle(tmp_path: Path, table: Path) -> None:
    bundle = build(ternary_file(tmp_path), targets=["onnx"], out=tmp_path, tokenizer=table).bundles[0].path
    assert read_manifest(bundle).context == 256  # what the model was made for
    other = write_gguf(CASES["llama"].make(), tmp_path / "other.gguf", "llama")
    with pytest.raises(UserError, match="another config") as caught:
        verify(bundle, config=other)
    assert caught.value.code == "CHM330"


def test_what_a_smaller_cache_changes_is_measured_beside_pytorch(tmp_path: Path, table: Path) -> None:
    """PyTorch keeps float32 and agrees as before; 4 bits change more than 8, and both more than nothing."""
    path, found = ternary_file(tmp_path), {}
    for cache in ("f32", "int8", "int4"):
        out = tmp_path / cache
        bundle = build(path, targets=["onnx"], out=out, tokenizer=table, context=96, cache=cache).bundles[0].path
        told: list[str] = []
        agreement = verify(bundle, config=path, tell=told.append).agreement
        assert agreement is not None
        assert agreement.holds
        assert agreement.cache is not None
        assert told[-1].startswith(f"cache of {cache}: ")
        found[cache] = agreement.cache.logits
    assert found["f32"] == 0
    assert 1e-5 < found["int8"] < found["int4"] < 1


#: Arguments of ``build`` → the error's code, words of its message.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"context": 1}, "CHM236", "a context of 1 tokens"),
    ({"context": 257}, "CHM236", "the model was made for 256"),
    ({"weights_format": "int4"}, "CHM236", "'int4' is no format"),
    ({"weights_format": ["int8", "hat.*=f32"]}, "CHM236", "no matrix of the model is called 'hat.*'"),
    ({"weights_format": {"*norm.weight": "int8"}}, "CHM236", r"no matrix of the model is called '\*norm.weight'"),
    ({"activations": "token"}, "CHM236", "'token' is no way to round activations"),
    ({"activations": "row"}, "CHM236", "has no ternary matrix in its layers"),
    ({"scale": "tiny"}, "CHM219", "takes no scale"),
    ({"overrides": ["a=1"]}, "CHM219", "takes no --set"),
    ({"weights": "other.safetensors"}, "CHM219", "takes no weights"),
    ({"seed": 0}, "CHM219", "takes no seed"),
    ({"block": 8}, "CHM219", "takes no block"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED, ids=[str(arguments) for arguments, *_ in REFUSED])
def test_arguments_that_a_published_model_does_not_take(
    arguments: dict[str, Any], code: str, words: str, tmp_path: Path, table: Path
) -> None:
    save(CASES["llama"].make(), tmp_path / "model")
    with pytest.raises(UserError, match=words) as caught:
        build(tmp_path / "model", targets=["onnx"], out=tmp_path / "dist", tokenizer=table, **arguments)
    assert caught.value.code == code
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": 64}, "takes no context"),
        ({"weights_format": "int8"}, "takes no format of weights"),
        ({"activations": "row"}, "takes no activations"),
    ],
    ids=str,
)
def test_arguments_that_a_config_does_not_take(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build("home", targets=["onnx"], out=tmp_path, **arguments)
    assert caught.value.code == "CHM219"
