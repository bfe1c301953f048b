"""What the tests of parts that are trained beside a model share: the router and the draft head."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from made_once import Once
from safetensors.torch import load_file
from small_configs import SMALL_CONFIGS
from training_tools import ALONE, CODEC

from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import read_description
from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.naming import tensor_specs
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.training import Plan, train_plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.run import WEIGHTS_FILE
from chimerac.frontends.weights.checkpoint import save_safetensors
from chimerac.runtime.sessions.runner import find_emulator

PROMPT = [random.Random(2).randrange(250) for _ in range(37)]
CHOICES: list[dict[str, Any]] = [
    {"temperature": 0.0, "repetition_penalty": 1.0, "exit_threshold": 0.0},
    {"temperature": 1.0, "top_p": 0.9, "seed": 5, "repetition_penalty": 1.2, "exit_threshold": 0.0},
]
TARGETS = ("x86_64-avx2", "wasm", "aarch64-neon", "onnx")


def run_phase(plan: Plan, folder: DataFolder, out: Path, weights: Path | None, **options: Any) -> dict[str, Any]:
    """The metrics of a phase."""
    return train_plan(plan, folder, out, CODEC, ALONE, weights=weights, tell=lambda _: None, **options).metrics


def trained_part(part: str, plan: Plan, folder: DataFolder, out: Path, weights: Path) -> tuple[Mapping[str, Any], Any]:
    """Metrics, and the weights that ``weights`` lacks: those of ``part``, all others as they were; twice the same."""
    metrics = run_phase(plan, folder, out / "out", weights)
    made, before = load_file(out / "out" / WEIGHTS_FILE), load_file(weights)
    assert all(torch.equal(made[name], tensor) for name, tensor in before.items())
    new = made.keys() - before.keys()
    assert isinstance(plan.shape, ChimeraShape)
    assert new == {name for name in tensor_specs(plan.shape) if name.startswith(f"{part}.")}
    run_phase(plan, folder, out / "again", weights)
    assert (out / "again" / WEIGHTS_FILE).read_bytes() == (out / "out" / WEIGHTS_FILE).read_bytes()
    return metrics, {name: made[name] for name in new}


def assert_refused(
    cases: list[tuple[Plan, Path | None, dict[str, Any], str, str]], folder: DataFolder, out: Path
) -> None:
    """Each of (plan, weights, options, code, message), which leaves nothing."""
    for number, (plan, weights, options, code, message) in enumerate(cases):
        with pytest.raises(UserError, match=message) as error:
            run_phase(plan, folder, out / str(number), weights, **options)
        assert error.value.code == code
        assert not (out / str(number)).exists()


def odd_bundles(once: Once, name: str, changes: list[str], make: Callable[[Any], ChimeraModel]) -> dict[str, Path]:
    """Target name → bundle of the small model that ``make`` makes of its shape; "weights": of all of them."""

    def fill(folder: Path) -> None:
        config = folder / "odd.chimera"
        config.write_text(SMALL_CONFIGS["odd"])
        shape = read_description(config, overrides=changes).description.shape
        save_safetensors(make(shape), folder / "odd.safetensors")
        paths = {"weights": str(folder / "odd.safetensors")}
        for targets, speculate in ((TARGETS[:3], True), (TARGETS[3:], False)):
            report = build(
                config, targets=targets, speculate=speculate, out=folder, overrides=changes, weights=paths["weights"]
            )
            paths |= {bundle.target: str(bundle.path) for bundle in report.bundles}
        (folder / "paths.json").write_text(json.dumps(paths))

    folder = once(name, fill)
    return {target: Path(path) for target, path in json.loads((folder / "paths.json").read_text()).items()}


def skip_without_emulator(target: str) -> None:
    """Where bundles of a target cannot run on this machine."""
    if target == "aarch64-neon" and not find_emulator("aarch64"):
        pytest.skip("needs qemu-aarch64: scripts/setup-qemu.sh")
