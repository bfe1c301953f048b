"""``chimerac.compile``: a module of the user's own to bundles, without a config."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build.importing import model_of_module
from chimerac.compiler.errors import UserError
from chimerac.frontends.layers import ops
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.reference.tokenizer import Special, byte_tokenizer, read_tokenizer, write_tokenizer

TARGETS = ("x86_64-avx2", "wasm")
VOCABULARY = 258
TOKENIZER = byte_tokenizer(VOCABULARY, [Special("<|stop|>", 257, "end")])
PROMPT = list(b"The cat sat on the mat.")


class Echo(nn.Module):
    """A convolution over the last tokens, and how far they are from a running mark that each call moves."""

    tail: Tensor

    def __init__(self, seed: int = 5) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY)
        self.taps = nn.Parameter(torch.zeros(16, 4))
        self.register_buffer("tail", torch.zeros(3, 16))
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.requires_grad_(False).normal_(std=0.5, generator=generator)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        x = self.embed(tokens)
        y, tail = ops.causal_conv(x, self.taps, self.tail)
        self.tail.copy_(tail)
        logits: Tensor = self.head(torch.tanh(x + y))
        return logits


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> chimerac.BuildReport:
    out = tmp_path_factory.mktemp("dist")
    return chimerac.compile(Echo(), name="parrot", targets=TARGETS, tokenizer=TOKENIZER, out=out)


def test_every_target_continues_as_the_module_does(report: chimerac.BuildReport) -> None:
    module, expected = Echo(), list[int]()
    for position in range(len(PROMPT) + 12):
        token = PROMPT[position] if position < len(PROMPT) else expected[-1]
        logits = module(torch.tensor([token], dtype=torch.int32), torch.tensor(position, dtype=torch.int32))
        if position >= len(PROMPT) - 1:
            expected.append(int(np.argmax(logits[-1].numpy())))
    assert [bundle.target for bundle in report.bundles] == list(TARGETS)
    for bundle in report.bundles:
        with chimerac.load(bundle.path) as session:
            for _ in session.generate(PROMPT, max_tokens=len(expected)):
                pass
            assert session.tokens() == expected, bundle.target


def test_the_bundle_describes_the_module(report: chimerac.BuildReport) -> None:
    assert (report.name, report.weights) == ("parrot", f"{__name__}.Echo")
    for bundle in report.bundles:
        assert bundle.path.name == f"parrot.{bundle.target}"
        manifest = read_manifest(bundle.path)
        assert (manifest.name, manifest.provenance["weights"]) == ("parrot", report.weights)
        assert manifest.config_sha256 == model_of_module(Echo(), name="parrot").digest
        assert manifest.self_test is not None
        assert manifest.file("grammar") is None
        tokenizer = manifest.file("tokenizer")
        assert tokenizer is not None
        assert read_tokenizer(bundle.path / tokenizer.name) == TOKENIZER
        card = (bundle.path / "MODEL_CARD.md").read_text()
        assert f"The weights come from `{report.weights}`." in card
        assert "ops with state: 1 × causal_conv" in card
        html = (bundle.path / "report.html").read_text()
        for other in ("expert", "mixture", "channels", "looped", "chimera51"):
            assert other not in card
            assert other not in html.replace("the model has no experts", "")


def test_a_digest_tells_modules_apart() -> None:
    digests = {model_of_module(Echo(seed)).digest for seed in (1, 2, 1)}
    assert len(digests) == 2


def test_a_module_that_says_nothing_has_bytes_no_grammar_and_its_class_name() -> None:
    model = model_of_module(Echo())
    assert (model.name, model.grammars) == ("echo", None)
    assert model.tokenizer == byte_tokenizer(VOCABULARY, ())
    assert model.reference is None


def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "other.model", byte_tokenizer(300))
    for other in (tmp_path / "other.model", byte_tokenizer(300)):
        with pytest.raises(UserError, match=f"300 tokens, the model {VOCABULARY}") as error:
            model_of_module(Echo(), tokenizer=other)
        assert error.value.code == "CHM244"


def test_changed_types_are_among_the_remarks() -> None:
    model = model_of_module(Echo().double())
    (remark,) = model.remarks
    assert remark.id == "dtype"
    assert remark.text.endswith("parameters or buffers of float64 became float32")


class Branches(Echo):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        logits: Tensor = super().forward(tokens, position)
        return logits if logits.sum() > 0 else -logits


class Sums(Echo):
    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return super().forward(tokens, position).cumsum(0)


class Large(Echo):
    far: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("far", torch.tensor(2**40))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        return super().forward(tokens, position) * self.far


class OneInput(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens


@pytest.mark.parametrize(
    ("module", "code", "part"),
    [
        (Branches(), "CHM210", "cannot trace Branches"),
        (Sums(), "CHM211", "aten.cumsum"),
        (OneInput(), "CHM212", "OneInput.forward"),
        (Large(), "CHM216", "far holds 1099511627776"),
    ],
)
def test_what_cannot_be_imported_is_one_error_and_no_bundle(
    module: nn.Module, code: str, part: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=part) as error:
        chimerac.compile(module, out=tmp_path / "dist")
    assert error.value.code == code
    assert not list(tmp_path.glob("dist/*"))


class Deep(Echo):
    """A submodule that asks for values."""

    class Asking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : int(x[0, 0])] if x.max() > 0 else x * x[0].tolist()[0]

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"asking": Deep.Asking()})

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        logits: Tensor = self.inner["asking"](super().forward(tokens, position))
        return logits


def test_what_cannot_be_traced_has_a_cause_a_submodule_and_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        chimerac.compile(Deep(), out=tmp_path / "dist")
    error = caught.value
    assert error.code == "CHM210"
    assert "a Python value is computed from data in inner.asking: " in error.message
    assert "torch.where in place of if" in str(error.hint)
    assert error.span is not None
    assert error.span.file.endswith("test_compile.py")
    assert (error.span.text or "").startswith("return x[:, : int(x[0, 0])]")
    (obstacle,) = chimerac.explain(Deep()).obstacles
    assert (obstacle.code, obstacle.places[0].path, obstacle.places[0].line) == (
        "CHM210",
        "inner.asking",
        error.span.line,
    )


@pytest.mark.parametrize("name", ["", "../parrot", "a parrot"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        chimerac.compile(Echo(), name=name, out=tmp_path / "dist")
    assert error.value.code == "CHM113"


class CountsCalls(Echo):
    """A state that changes once in a call."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(16))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        logits: Tensor = super().forward(tokens, position)
        self.calls.copy_(self.calls + 1.0)
        return logits


def test_a_state_that_counts_calls_and_not_tokens_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="calls differs between one call of 4 tokens and 4 calls of one") as error:
        chimerac.compile(CountsCalls(), out=tmp_path / "dist")
    assert error.value.code == "CHM218"
    assert not list(tmp_path.glob("dist/*"))
