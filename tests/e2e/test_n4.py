"""N4 from its Python API and from a config to bundles: PyTorch's tokens, the interpreter's bits, trained weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_tools import assert_agrees
from replay import Program, Recorded

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import import_model, model_of_module, read_description
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.compiler.verbs.check import check
from chimerac.compiler.verbs.train import make_plan, train
from chimerac.compiler.verbs.verify import verify
from chimerac.frontends.families.n4.family import FAMILY
from chimerac.frontends.training import read_plan
from chimerac.frontends.weights.checkpoint import load_safetensors
from chimerac.models.n4 import N4C, N4Config
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.runner import find_emulator
from chimerac.targets.isa import load_isa

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:n4.norm:UserWarning")

SIZES = "vocab_size: 256, hidden_size: 48, inter_size: 40, heads: 3, layers: 2,\n"
CONFIG = f'model_type: "n4", name: "nova", context: 64, seed: 3,\n{SIZES}'
PROMPT = list(b"It was a bright cold day")
TARGETS = ("x86_64-avx2", "wasm")
CALLS = (tuple(range(8)), (3,), (1, 2, 3), *((i,) for i in range(4)), tuple(range(8, 16)), (5,))
VARIANTS = {"float": {}, "counted in bfloat16": {"counter": "bf16"}, "ternary": {"ternary": True}}


@cache
def variant(name: str) -> N4C:
    torch.manual_seed(4)
    made = N4C(64, 24, 20, 3, 2, context=40, **VARIANTS[name]).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return made


@cache
def lowered(name: str, isa: str = "") -> Module:
    """With weights packed for an instruction set, if it is given."""
    packing = [TernaryPacking(load_isa(isa).panel_rows)] if isa else []
    return pipeline.run(model_of_module(variant(name), block=8).module, pipeline.passes(packing=packing))[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_interpreter_is_close_to_the_whole_form(name: str) -> None:
    tokens = np.random.default_rng(1).integers(0, 64, 40).tolist()
    session = Session(lowered(name))
    found = np.stack([session.forward([token]) for token in tokens])
    with torch.no_grad():
        wanted = variant(name)(torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86_64-avx2", "wasm32-simd128", "aarch64-neon"])
def test_targets_give_the_interpreters_bits(target: str, tmp_path: Path) -> None:
    if target == "aarch64-neon" and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
    recorded = [Recorded(lowered(name, target), CALLS, 1) for name in VARIANTS]
    found = Program(target, recorded, tmp_path / "program").run(0, "cortex-a53" if target == "aarch64-neon" else "")
    for name, ours, one in zip(VARIANTS, found, recorded, strict=True):
        for got, wanted in zip(ours, one.expected(), strict=True):
            assert {key: array.tobytes() for key, array in got.items()} == {
                key: array.tobytes() for key, array in wanted.items()
            }, name


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_onnx_gives_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    assert_agrees(lowered(name), tmp_path, CALLS)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("n4") / "nova.chimera"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def bundles(config: Path) -> dict[str, Path]:
    report = chimerac.build(config, overrides=["quantization=ternary"], targets=TARGETS, out=config.parent / "dist")
    return {bundle.target: bundle.path for bundle in report.bundles}


def test_bundles_agree_with_pytorch(config: Path, bundles: dict[str, Path]) -> None:
    found = verify(bundles["x86_64-avx2"], config=config, overrides=["quantization=ternary"])
    assert found.agreement is not None
    assert found.agreement.holds


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_bundles_take_the_tokens_of_the_whole_form(target: str, bundles: dict[str, Path], config: Path) -> None:
    reference = import_model(config, overrides=["quantization=ternary"]).reference
    assert reference is not None
    session, expected = reference.session(None), []
    for token in PROMPT:
        logits = session.step(token)
    for _ in range(16):
        expected.append(int(np.argmax(logits)))
        logits = session.step(expected[-1])
    with chimerac.load(bundles[target]) as compiled:
        assert [piece.token for piece in compiled.generate(PROMPT, max_tokens=16)] == expected


def test_a_text_ends_with_the_context(bundles: dict[str, Path]) -> None:
    with chimerac.load(bundles["x86_64-avx2"]) as session:
        session.prefill([1] * 64)
        with pytest.raises(BundleError) as error:
            session.prefill([1])
        assert error.value.code == "CHM424"
    card = (bundles["x86_64-avx2"] / "MODEL_CARD.md").read_text()
    for fact in ("context of 64 tokens", "2 × cached_attention"):
        assert fact in card
    assert "32 values of n4.norm" in (bundles["x86_64-avx2"] / "report.html").read_text()


def test_a_compiled_n4c_takes_the_tokens_that_it_generates(tmp_path: Path) -> None:
    torch.manual_seed(7)
    model = N4C(vocab_size=256, hidden_size=32, inter_size=24, heads=2, layers=2).eval()
    report = chimerac.compile(model, targets=["x86_64-avx2"], out=tmp_path, context=48)
    with chimerac.load(report.bundles[0].path) as session:
        found = [piece.token for piece in session.generate(PROMPT, max_tokens=20)]
    assert found == list(model.generate_n4c(torch.tensor([PROMPT]), 20, top_k=1, eos_token_id=-1))
    assert chimerac.explain(model).compiles


def test_what_is_odd_is_said_and_a_warm_up_that_outlasts_the_training(tmp_path: Path) -> None:
    (tmp_path / "a.chimera").write_text(CONFIG + 'counter: "bf16", training: {},\n')
    said = check(tmp_path / "a.chimera").render()
    for text in (
        "n4-mean  token i counts i times",
        "n4-scale  scores are divided by sqrt(48)",
        "n4-norm  32 values of n4.norm",
        "n4-counter  from 256 on",
        "n4-warmup  the warm-up of 2000 steps outlasts the 976 of the training, whose learning rate ends at 0.00029",
    ):
        assert text in said


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("heads: 5,", "CHM120", "48 channels cannot be shared by 5 heads"),
        ('bias: true, quantization: "ternary",', "CHM120", "ternary products have no bias"),
        ('counter: "fp16",', "CHM113", "'counter' can't be 'fp16'"),
        ("training: {step: 3},", "CHM110", "unknown key 'step' in 'training'"),
        ('scale: "nano",', "CHM110", "have no scales"),
    ],
)
def test_mistakes_are_shown_where_they_are(line: str, code: str, text: str, tmp_path: Path) -> None:
    sizes = SIZES.replace("heads: 3, ", "") if line.startswith("heads") else SIZES
    (tmp_path / "a.chimera").write_text(f'model_type: "n4",\n{sizes}{line}\n')
    with pytest.raises(UserError, match=text) as error:
        import_model(tmp_path / "a.chimera")
    assert error.value.code == code
    assert error.value.span is not None
    assert error.value.span.line == 3


def test_the_documents_settings_become_a_plan(tmp_path: Path) -> None:
    (tmp_path / "a.chimera").write_text(CONFIG + "training: {},\n")
    plan = make_plan(read_description(tmp_path / "a.chimera"), tmp_path, has_text=True)
    assert plan.shape == N4Config(256, 48, 40, 3, 2, context=64, seed=3)
    (phase,) = plan.phases
    assert (plan.precision, phase.learning_rate, phase.beta1, phase.beta2) == ("bfloat16", 6e-4, 0.9, 0.95)
    assert (phase.weight_decay, phase.warmup_steps, phase.schedule) == (0.1, 2000, "constant")
    assert (phase.batch, phase.micro_tokens, phase.sequence_length, phase.steps) == (128, 4096, 512, 976)


@pytest.mark.parametrize("quantization", [pytest.param("none", marks=pytest.mark.slow), "ternary"])
def test_training_lowers_the_loss_and_its_weights_are_compiled(quantization: str, tmp_path: Path) -> None:
    training = "steps: 16, batch: 4, accumulation: 2, sequence_length: 32, warmup_steps: 4, learning_rate: 8e-3"
    path, out = tmp_path / "nova.chimera", tmp_path / "run"
    path.write_text(f'{CONFIG}quantization: "{quantization}",\ntraining: {{{training}, precision: "float32"}},\n')
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("A lamp is in the hall. " * 400)
    train(str(path), data=tmp_path / "texts", out=out, settings={"log_interval": 1}, tell=lambda _: None)
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])

    trained, packed = (import_model(path, weights=out / f"{name}.safetensors") for name in ("weights", "packed"))
    assert trained.reference is not None
    assert packed.reference is not None
    one, other = trained.reference.session(None), packed.reference.session(None)
    shape = read_plan(out / "plan.json").shape
    assert isinstance(shape, N4Config)
    whole = FAMILY.make(shape).eval()
    load_safetensors(whole, FAMILY.tensors(shape), out / "weights.safetensors")
    with torch.no_grad():
        wanted = whole(torch.tensor([PROMPT]))[0].numpy()
    for token, logits in zip(PROMPT, wanted, strict=True):
        np.testing.assert_allclose(one.step(token), logits, atol=1e-4 * np.ptp(logits))
        np.testing.assert_allclose(other.step(token), logits, atol=1e-4 * np.ptp(logits))
