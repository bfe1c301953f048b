"""Nonu models, from a config or from PyTorch, on the targets: the interpreter's bits and PyTorch's numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import chimerac
from chimerac.compiler.build import pipeline
from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import model_of_module, read_description
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.verbs.check import check
from chimerac.compiler.verbs.explain import explain
from chimerac.compiler.verbs.train import train
from chimerac.compiler.verbs.verify import verify
from chimerac.frontends.families.nonu.shape import logit
from chimerac.frontends.families.stepwise import StepSession
from chimerac.models.nonu import NonuConfig, NonuModel

TARGETS = ["x86_64-avx2", "wasm", "onnx"]
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 2,
    "vocab_size": 256,
    "embedding_dim": 20,
    "intermediate_size": 320,
    "max_position": 128,
}
CONFIG = {"model_type": "nonu", "name": "small", **SIZES}


def logits_of(folder: Path, text: bytes) -> np.ndarray:
    with chimerac.load(folder) as session:
        session.prefill(list(text))
        return np.array(session.logits())


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "ternary"},
        pytest.param({"weights": "int8"}, marks=pytest.mark.slow),
        {"gate_on": "attention", "active_threshold": 0.5},
        pytest.param({"weights": "ternary", "predictor_rank": 64, "initial_open": 0.3}, marks=pytest.mark.slow),
        pytest.param({"weights": "int8", "predictor_rank": 64, "initial_open": 0.3}, marks=pytest.mark.slow),
        pytest.param({"predictor_rank": 64, "initial_open": 0.3}, marks=pytest.mark.slow),
    ],
    ids=["ternary", "int8", "attention", "ternary-predicted", "int8-predicted", "predicted"],
)
def test_a_config_on_every_target(options: dict[str, Any], tmp_path: Path) -> None:
    """A build ends with the self-test; logits are those of the native bundle, bit for bit."""
    path = tmp_path / "small.chimera"
    path.write_text(json.dumps({**CONFIG, **options}))
    build(path, targets=TARGETS, out=tmp_path / "dist")
    found = [logits_of(folder, b"turn off the lights") for folder in sorted((tmp_path / "dist").iterdir())]
    assert len(found) == len(TARGETS)
    assert all(other.tobytes() == found[0].tobytes() for other in found)


def test_answers_follow_the_grammar_of_the_config(tmp_path: Path) -> None:
    """Random weights, so that only the grammar can make objects of known names."""
    name = {"type": "string", "x-copy": "names"}
    schema = {"type": "object", "properties": {"name": name}, "required": ["name"], "additionalProperties": False}
    (tmp_path / "a.json").write_text(json.dumps(schema))
    path = tmp_path / "small.chimera"
    path.write_text(
        json.dumps({**CONFIG, "grammar": {"schema": "a.json", "schema_whitespace": 0, "default": "schema"}})
    )
    build(path, targets=TARGETS[:1], out=tmp_path / "dist")
    (bundle,) = (tmp_path / "dist").iterdir()
    with chimerac.load(bundle) as session:
        session.set_names({"entities": [{"name": "Lamp"}, {"name": "Fan"}]})
        answers = ["".join(map(str, session.generate(text, max_tokens=80))) for text in ("lamp on", "Fan!", "hello")]
    assert [json.loads(answer)["name"] for answer in answers[:2]] == ["Lamp", "Fan"]
    assert json.loads(answers[2])["name"] in ("Lamp", "Fan")


@pytest.mark.parametrize(
    "options",
    [
        {"thresholds": (1e-7, 5e-7), "adaptive_precision": (1e-9, 1e-3)},
        pytest.param({"attention": "linear", "tie": False}, marks=pytest.mark.slow),
    ],
    ids=["learned", "linear"],
)
def test_a_model_of_pytorch(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(6)
    model = NonuModel(NonuConfig(**SIZES, **options)).eval()
    with torch.no_grad():  # a third of the neurons open
        for layer in model.blocks():
            layer.mlp.up.bias.fill_(logit(1e-7) - 0.08)
    if model.config.attention == "softmax":
        assert "open neurons only: 2 products" in explain(model).render()
    chimerac.compile(model, name="small", targets=["x86_64-avx2"], out=tmp_path)
    text = b"a smart speaker"
    found = logits_of(next(tmp_path.iterdir()), text)
    session = StepSession(model.export_form())
    expected = [session.step(token) for token in text][-1]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"weights": "ternary", "predictor_rank": 64}, {"gate_on": "attention", "active_threshold": 0.6}],
    ids=["predicted", "attention"],
)
def test_bundles_agree_with_pytorch(options: dict[str, Any], tmp_path: Path) -> None:
    """A third of the neurons open; tables are codes of 3 bytes, which product and look-up share."""
    path, weights = tmp_path / "small.chimera", tmp_path / "weights.safetensors"
    path.write_text(json.dumps({**CONFIG, **options}))
    torch.manual_seed(6)
    model = NonuModel(NonuConfig(**SIZES, **options))
    with torch.no_grad():
        for layer in model.blocks():
            layer.mlp.up.bias.fill_(logit(1e-7) - 0.08)
    save_file(model.state_dict(), weights)
    build(path, weights=weights, targets=TARGETS[:1], out=tmp_path / "dist")
    (bundle,) = (tmp_path / "dist").iterdir()
    found = verify(bundle, config=path, weights=weights)
    assert found.agreement is not None
    assert found.agreement.holds
    with torch.no_grad():
        expected = model(torch.tensor([list(b"a smart speaker")])).logits[0, -1].numpy()
    if "weights" not in options:
        np.testing.assert_allclose(logits_of(bundle, b"a smart speaker"), expected, rtol=1e-3, atol=1e-4)
        numbers = sum(parameter.numel() for parameter in model.parameters())
        assert (
            bundle / "small.b158"
        ).stat().st_size < 4 * numbers - 256 * 20 + 4096  # a byte less for each of the table


def test_training_lowers_the_loss_and_its_weights_are_compiled(tmp_path: Path) -> None:
    """Rounded to trits while it is trained; the packed weights are those of the float ones, bit for bit."""
    path, out = tmp_path / "small.chimera", tmp_path / "run"
    path.write_text(json.dumps({**CONFIG, "weights": "ternary", "initial_open": 0.2}))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("A lamp is in the hall. " * 400)
    plan = {"phases": [{"name": "pretrain", "steps": 16, "batch": 8, "sequence_length": 32, "learning_rate": 1e-2}]}
    plan["phases"][0]["warmup_steps"] = 2
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    settings = {"log_interval": 1}
    train(str(path), data=tmp_path / "texts", out=out, plan=tmp_path / "plan.json", settings=settings, tell=print)
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    found = []
    for name in ("weights", "packed"):
        weights = out / f"{name}.safetensors"
        build(path, weights=weights, targets=TARGETS[:1], out=tmp_path / name)
        found.append(logits_of(tmp_path / name / "small.x86_64-avx2", b"A lamp"))
    assert found[0].tobytes() == found[1].tobytes()
    agreement = verify(tmp_path / "packed" / "small.x86_64-avx2", config=path, weights=weights).agreement
    assert agreement is not None
    assert agreement.holds


def test_a_bound_spares_rows_and_changes_no_bit(tmp_path: Path) -> None:
    torch.manual_seed(6)
    models = [NonuModel(NonuConfig(**SIZES, predictor_exact=exact)).eval() for exact in (False, True)]
    for layer in models[0].blocks():  # 2 % open
        torch.nn.init.constant_(layer.mlp.up.bias, logit(1e-7) - 0.33)
    models[1].load_state_dict(models[0].state_dict())
    found: list[np.ndarray] = []
    for exact, model in enumerate(models):
        chimerac.compile(model, name="small", targets=TARGETS, out=tmp_path / str(exact))
        found += [logits_of(folder, b"a smart speaker") for folder in sorted((tmp_path / str(exact)).iterdir())]
    assert all(other.tobytes() == found[0].tobytes() for other in found)
    module = model_of_module(models[1], name="small").module
    session = Session(pipeline.run(module, pipeline.passes(without=sorted(pipeline.OPTIONAL)))[0])
    session.forward(list(b"a smart"))
    activity = session.activity
    assert 0.005 < activity.opened / activity.neurons < 0.05
    assert activity.read / activity.weights < 0.2


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.slow
def test_the_household_example_is_as_large_as_home_and_its_plan_runs(tmp_path: Path) -> None:
    """With fewer channels and short rows: every phase takes steps and the last one has weights to compile."""
    config, data, plan = EXAMPLES / "household_nonu.chimera", tmp_path / "data", tmp_path / "plan.json"
    shape = read_description(config).description.shape
    assert shape.matrix_params == pytest.approx(22e6, rel=0.01)
    config = Path(shutil.copy(config, tmp_path))
    (tmp_path / "household.schema.json").write_text(json.dumps({"type": "object"}))
    made = json.loads((EXAMPLES / "household_nonu_training.json").read_text())
    for phase in made["phases"]:
        phase.update(batch=4, micro_tokens=256, warmup_steps=1)
        if phase["kind"] == "sft":
            phase.update(sequence_length=64, ends=[32, 64])
    plan.write_text(json.dumps(made))
    random = np.random.default_rng(3)
    for folder in ("short", "middle", "long"):
        (data / folder).mkdir(parents=True)
        rows = random.integers(0, 256, (12, 64)).astype(np.uint16)
        starts, lengths = np.full(12, 20, np.int32), np.full(12, 60, np.int32)
        np.savez(data / folder / "sft.npz", tokens=rows, loss_start=starts, length=lengths)
    random.integers(0, 256, 4096).astype(np.uint16).tofile(data / "pretrain.bin")
    small = ("hidden_size=48", "num_layers=2", "num_heads=2", "intermediate_size=120", "vocab_size=256")
    train(str(config), data=data, out=tmp_path / "run", plan=plan, overrides=small, steps=2, tell=print)
    names = [json.loads(line)["phase"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert set(names) == {"pretrain", "short", "all"}
    weights = tmp_path / "run" / "packed.safetensors"
    build(config, overrides=small, weights=weights, targets=TARGETS[:1], out=tmp_path / "dist")


def test_check_prints_what_the_documents_contradict(tmp_path: Path) -> None:
    path = tmp_path / "document.chimera"
    path.write_text('{"model_type": "nonu"}')
    said = check(path).render()
    assert "69,107 neurons a layer" in said
    assert "codes of 3 bytes take 15 MB" in said
    assert len(said.splitlines()) == 17
