"""A family of another package (tests/support/toy_family): everything that works for Chimera works for it."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import COMMAND_LINE, environment
from toy_family import toy
from toy_family.family import FAMILY, ToyShape
from toy_family.model import ToyModel, ToySession

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.check import check
from chimerac.compiler.verbs.train import train
from chimerac.compiler.verbs.verify import verify
from chimerac.frontends.families.registry import FAMILIES, register
from chimerac.frontends.training import read_plan
from chimerac.frontends.weights.checkpoint import load_safetensors, save_safetensors
from chimerac.frontends.weights.sources import filled_module
from chimerac.runtime.bundle_format import Manifest, read_manifest

torch.set_num_threads(1)

TARGETS = ("x86_64-avx2", "wasm")
CONFIG = 'model_type: "toy",\nname: "pocket",\nheads: 4, head_width: 8,\nlayers: 2,\nseed: 3,\n'
SHAPE = ToyShape(vocabulary=256, heads=4, head_width=8, layers=2, seed=3)
PROMPT = list(b"It was a bright cold day in April, and the clocks were striking thirteen.")
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.chimera"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def command_line(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds by the command line, in a process that knows the family from a distribution's metadata alone."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "toy_family-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-family\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[chimerac.families]\ntoy = toy_family:toy\n")
    path = os.pathsep.join([str(site), str(SUPPORT), *sys.path])

    def run(out: Path, targets: Sequence[str] = TARGETS, **variables: str) -> Path:
        wanted = [argument for target in targets for argument in ("--target", target)]
        command = [*COMMAND_LINE, "build", str(config), *wanted, "--out", str(out)]
        changed = environment(PYTHONPATH=path, **variables)
        built = subprocess.run(command, env=changed, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        return out

    return run


@pytest.fixture(scope="module")
def bundles(command_line: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = command_line(tmp_path_factory.mktemp("dist"))
    return {target: out / f"pocket.{target}" for target in TARGETS}


@pytest.fixture
def registered() -> Iterator[None]:
    register("toy", toy)
    yield
    del FAMILIES["toy"]


def test_the_family_is_unknown_without_its_package(config: Path) -> None:
    with pytest.raises(UserError, match="no model family 'toy'") as error:
        import_model(config)
    assert error.value.code == "CHM117"
    assert error.value.span is not None
    assert error.value.span.line == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_builds_are_reproducible(
    target: str, bundles: dict[str, Path], command_line: Callable[..., Path], tmp_path: Path
) -> None:
    """In another environment, with empty caches."""
    elsewhere = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": str(tmp_path / "home")}
    again = command_line(tmp_path / "again", [target], CHIMERAC_CACHE=str(tmp_path / "cache"), **elsewhere)
    path = bundles[target]
    names = sorted(p.name for p in path.iterdir())
    assert names == sorted(p.name for p in (again / path.name).iterdir())
    assert [n for n in names if not filecmp.cmp(path / n, again / path.name / n, shallow=False)] == []


def test_bundles_continue_a_text_as_pytorch_does(bundles: dict[str, Path]) -> None:
    session = ToySession(model())
    expected, token = [], -1
    for token in PROMPT:
        logits = session.step(token)
    for _ in range(24):
        expected.append(int(np.argmax(logits)))
        logits = session.step(expected[-1])
    for target in TARGETS:
        with chimerac.load(bundles[target]) as compiled:
            for _ in compiled.generate(PROMPT, max_tokens=24):
                pass
            assert compiled.tokens() == expected, target


def model() -> ToyModel:
    made = filled_module(FAMILY, SHAPE).module
    assert isinstance(made, ToyModel)
    return made


def test_both_forms_of_the_module_agree() -> None:
    """The recurrence as it is trained, and the gated delta rule that stands for it."""
    session = ToySession(model())
    whole = model()(torch.tensor([PROMPT]))[0].detach().numpy()
    stepped = np.stack([session.step(token) for token in PROMPT])
    error = np.abs(whole - stepped).mean(axis=-1) / np.ptp(stepped)
    assert error.max() < 0.02  # a rounding that a last digit turns is a step


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("target", TARGETS)
def test_verify_compares_with_pytorch(target: str, config: Path, bundles: dict[str, Path]) -> None:
    found = verify(bundles[target], config=config)
    assert found.self_test is not None
    assert found.agreement is not None
    assert found.agreement.holds


@pytest.mark.usefixtures("registered")
def test_another_config_of_the_family_is_noticed(config: Path, bundles: dict[str, Path]) -> None:
    with pytest.raises(UserError) as error:
        verify(bundles["wasm"], config=config, overrides=["layers=3"])
    assert error.value.code == "CHM330"


@pytest.mark.usefixtures("registered")
def test_check_says_that_nothing_is_wrong(config: Path) -> None:
    assert check(config).render() == "pocket: consistent"


@pytest.mark.usefixtures("registered")
def test_a_checkpoint_gives_the_same_bundle(config: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    save_safetensors(model(), tmp_path / "saved.safetensors")
    read = FAMILY.make(SHAPE)
    load_safetensors(read, FAMILY.tensors(SHAPE), tmp_path / "saved.safetensors")
    assert all(torch.equal(value, model().state_dict()[name]) for name, value in read.state_dict().items())

    build(config, weights=tmp_path / "saved.safetensors", targets=["x86_64-avx2"], out=tmp_path)
    again, first = (read_manifest(folder) for folder in (tmp_path / "pocket.x86_64-avx2", bundles["x86_64-avx2"]))
    assert made_of(again) == made_of(first)
    assert (again.weights_sha256, again.self_test) == (first.weights_sha256, first.self_test)
    assert dict(again.provenance)["weights"] == "saved.safetensors"


def made_of(manifest: Manifest) -> dict[str, str]:
    """The files but those that say where the weights are from."""
    return {file.name: file.sha256 for file in manifest.files if file.role != "document"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_speaks_of_this_module_only(target: str, bundles: dict[str, Path]) -> None:
    manifest = read_manifest(bundles[target])
    assert manifest.file("grammar") is None
    card = (bundles[target] / "MODEL_CARD.md").read_text()
    for fact in ("The weights are random.", "vocabulary of 256 tokens", "ops with state: 2 × gated_delta"):
        assert fact in card
    report = (bundles[target] / "report.html").read_text()
    for part in ("layers.1.value", "state_1", "the model has no experts"):
        assert part in report
    for other in ("expert", "mixture", "channels", "looped", "json grammar", "home"):
        assert other not in card.lower()
        assert other not in report.lower().replace("the model has no experts", "")


@pytest.mark.usefixtures("registered")
def test_training_lowers_the_loss_and_its_weights_are_compiled(config: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "texts", tmp_path / "run"
    data.mkdir()
    (data / "a.txt").write_text("A lamp is in the hall. " * 400)
    settings = {"log_interval": 1, "checkpointing": True}
    outcome = train(str(config), data=data, out=out, steps=12, settings=settings, tell=lambda _: None)
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert outcome.metrics["bits_per_byte"] < 8

    plan = read_plan(out / "plan.json")
    assert (plan.family, plan.shape) == ("toy", SHAPE)
    trained = import_model(config, weights=out / "weights.safetensors")
    packed = import_model(config, weights=out / "packed.safetensors")
    assert trained.reference is not None
    assert packed.reference is not None
    one, other = trained.reference.session(None), packed.reference.session(None)
    for token in PROMPT:
        expected = one.step(token)
        np.testing.assert_allclose(other.step(token), expected, atol=1e-5 * np.ptp(expected))


@pytest.mark.usefixtures("registered")
def test_a_plan_goes_on_without_the_config(config: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "texts", tmp_path / "run"
    data.mkdir()
    (data / "a.txt").write_text("A lamp is in the hall. " * 400)
    train(str(config), data=data, out=out, steps=1, tell=lambda _: None)
    again = train(None, plan=out / "plan.json", data=data, out=tmp_path / "again", tell=lambda _: None)
    assert again.finished
    for file in ("weights.safetensors", "plan.json"):
        assert (tmp_path / "again" / file).read_bytes() == (out / file).read_bytes()


@pytest.mark.usefixtures("registered")
def test_trits_in_base_3_compute_the_same(config: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    target = TARGETS[0]
    report = build(config, targets=[target], out=tmp_path, trits="t5")
    runs = []
    for path in (bundles[target], report.bundles[0].path):
        with chimerac.load(path) as session:
            assert session.self_test()
            list(session.generate(PROMPT, max_tokens=8))
            runs.append((session.tokens(), session.logits_hash(), session.state_hash()))
    assert runs[0] == runs[1]
    weights = [next(path.glob("*.b158")) for path in (bundles[target], report.bundles[0].path)]
    assert weights[1].stat().st_size < weights[0].stat().st_size
