"""``chimerac train`` as a function and as a program: a config's phases, plans, overrides, and mistakes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chimerac.compiler.build.importing import read_description
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.train import DEFAULT_PHASES, lasting, main, make_plan, summary, train
from chimerac.frontends.training import Phase, Plan, read_plan
from chimerac.frontends.training.make_data import make_data

torch.set_num_threads(1)

CONFIG = """
name: "small",
hidden_size: 32, num_heads: 2,
intermediate_size: 48,
vocab_size: 280,
backbone: {layer_pattern: "GD SK"},
"""
PHASES = """
training: {phases: [
  {name: "pretrain", seq_len: 16, batch_tokens: 64, tokens: 256, lr: 4e-3, warmup_steps: 2, weight_decay: 0.2},
  {name: "ctx_extend", batch_tokens: 96, stages: [[16, "main"], [24, 3, 2e-3], [48, 2, 1e-3]]},
  {name: "sft", seq_len: 48, batch_tokens: 192, epochs: 1, lr: 1e-3, grad_clip: 0.5},
  {name: "dpo", seq_len: 48, batch_tokens: 96, epochs: 1, lr: 1e-4, beta: 0.2},
]},
"""
ROWS = [(f"say {word}", json.dumps(word)) for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder, ["A lamp. " * 60, "A fan. " * 60, "A radio. " * 60], ROWS, 280)
    return folder


def written(folder: Path, text: str) -> str:
    path = folder / "small.chimera"
    path.write_text(text)
    return str(path)


def with_pairs(data: Path, folder: Path) -> Path:
    """The same data, and its rows as pairs of a better and a worse answer."""
    folder.mkdir()
    for file in data.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "dpo.npz").write_bytes((data / "sft.npz").read_bytes())
    return folder


def test_a_config_with_every_phase_trains_them_in_order(data: Path, tmp_path: Path) -> None:
    folder = with_pairs(data, tmp_path / "pairs")
    outcome = train(written(tmp_path, CONFIG + PHASES), data=folder, out=tmp_path / "run", tell=lambda _: None)
    assert outcome.finished
    plan = read_plan(tmp_path / "run" / "plan.json")
    described = [(p.name, p.kind, p.steps, p.sequence_length, p.batch, p.learning_rate) for p in plan.phases]
    assert described == [
        ("pretrain", "pretrain", 4, 16, 4, 4e-3),
        ("ctx_extend 24", "pretrain", 3, 24, 4, 2e-3),
        ("ctx_extend 48", "pretrain", 2, 48, 2, 1e-3),
        ("sft", "sft", 0, 48, 4, 1e-3),
        ("dpo", "dpo", 0, 48, 2, 1e-4),
    ]
    assert (plan.phases[0].weight_decay, plan.phases[3].clip, plan.phases[4].beta) == (0.2, 0.5, 0.2)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(row["phase"], row["step"]) for row in log] == [
        ("pretrain", 4), ("ctx_extend 24", 3), ("ctx_extend 48", 2), ("sft", 1), ("dpo", 1),
    ]  # fmt: skip
    shown = summary(outcome.metrics)
    assert "bits per byte" in shown
    assert "seen: " in shown


def test_a_phase_reads_the_data_sets_it_names(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    for name in ("books", "chat"):
        shutil.copytree(data, folder / name)
    phases = (
        '{name: "pretrain", seq_len: 16, batch_tokens: 64, tokens: 128, data: ["books", "chat"], schedule: "wsd"}',
        '{name: "sft", seq_len: 48, batch_tokens: 192, epochs: 1, data: "chat", optimizer: "Lion", lr: 1e-4}',
    )
    config = written(tmp_path, CONFIG + f"training: {{phases: [{', '.join(phases)}]}},")
    outcome = train(config, data=folder, out=tmp_path / "run", tell=lambda _: None)
    assert outcome.finished
    plan = read_plan(tmp_path / "run" / "plan.json")
    assert [(p.data, p.schedule, p.optimizer, p.beta2) for p in plan.phases] == [
        (("books", "chat"), "wsd", "adamw", 0.95),
        (("chat",), "cosine", "lion", 0.99),
    ]
    shutil.rmtree(folder / "chat")
    with pytest.raises(UserError, match=r"reads the data set 'chat', and .* has no folder of that name") as error:
        train(config, data=folder, out=tmp_path / "again", tell=lambda _: None)
    assert error.value.code == "CHM254"


def test_without_phases_the_data_decides(data: Path, tmp_path: Path) -> None:
    config = read_description(written(tmp_path, CONFIG))
    assert make_plan(config, data, has_text=True).phases == DEFAULT_PHASES
    assert [phase.kind for phase in make_plan(config, data, has_text=False).phases] == ["sft"]
    assert [phase.kind for phase in make_plan(config, tmp_path, has_text=True).phases] == ["pretrain"]


def test_a_folder_of_texts_trains_a_byte_model(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("A lamp is in the hall. " * 300)
    config = written(tmp_path, CONFIG)
    outcome = train(config, data=tmp_path / "texts", out=tmp_path / "run", steps=2, tell=lambda _: None)
    assert outcome.metrics["bits_per_byte"] > 0
    assert [phase.steps for phase in read_plan(tmp_path / "run" / "plan.json").phases] == [2]


def test_settings_change_the_plan(data: Path, tmp_path: Path) -> None:
    settings = {"ternary": False, "precision": "bfloat16", "seed": 7}
    config = written(tmp_path, CONFIG)
    train(config, data=data, out=tmp_path / "run", steps=1, settings=settings, tell=lambda _: None)
    plan = read_plan(tmp_path / "run" / "plan.json")
    assert (plan.ternary, plan.precision, plan.seed) == (False, "bfloat16", 7)


def test_a_time_is_shared_in_the_ratio_of_the_phases(tmp_path: Path) -> None:
    plan = Plan(
        read_description(written(tmp_path, CONFIG)).description.shape,
        (Phase("a", seconds=1.0), Phase("b", seconds=3.0)),
    )
    assert [phase.seconds for phase in lasting(plan, 60.0).phases] == [15.0, 45.0]
    for wrong, seconds in ((replace(plan, phases=(*plan.phases, Phase("c", steps=3))), 60.0), (plan, 0.0)):
        with pytest.raises(UserError, match="seconds above zero") as error:
            lasting(wrong, seconds)
        assert error.value.code == "CHM250"


def test_the_program_writes_a_plan_and_trains_it_without_a_config(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, plan = written(tmp_path, CONFIG + PHASES), tmp_path / "plan.json"
    main([config, "--data", str(data), "--write-plan", str(plan), "--seed", "5"])
    assert read_plan(plan).seed == 5
    assert len(read_plan(plan).phases) == 5
    document = json.loads(plan.read_text())
    document["phases"] = [{"name": "only", "seconds": 5, "sequence_length": 16, "batch": 2, "warmup_steps": 0}]
    plan.write_text(json.dumps(document))
    capsys.readouterr()
    main(["--plan", str(plan), "--data", str(data), "--out", str(tmp_path / "run"), "--seconds", "0.05", "--no-graphs"])
    assert "parameters" in capsys.readouterr().out
    trained = read_plan(tmp_path / "run" / "plan.json")
    assert (trained.phases[0].seconds, trained.graphs) == (0.05, False)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--out", "OUT", "--data", "DATA"], "CHM250", "a config or a plan"),
        (["CONFIG", "--out", "OUT", "--data", "EMPTY"], "CHM254", "nothing to train on"),
        (["CONFIG", "--plan", "GONE", "--out", "OUT", "--data", "DATA"], "CHM250", "cannot read the plan"),
        (["CONFIG", "--set", "vocab_size=270", "--out", "OUT", "--data", "DATA"], "CHM255", "ends at 269"),
    ],
)
def test_mistakes_are_one_message_with_a_code(
    arguments: list[str], code: str, part: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    values = {
        "CONFIG": written(tmp_path, CONFIG), "OUT": str(tmp_path / "out"), "DATA": str(data),
        "EMPTY": str(tmp_path / "empty"), "GONE": str(tmp_path / "gone.json"),
    }  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main([values.get(argument, argument) for argument in arguments])
    assert stop.value.code == 1
    shown = capsys.readouterr().err
    assert code in shown
    assert part in shown
    assert "Traceback" not in shown


def test_a_phase_without_its_data_names_the_file(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dpo\.npz, which does not exist") as error:
        train(written(tmp_path, CONFIG + PHASES), data=data, out=tmp_path / "run", steps=1, tell=lambda _: None)
    assert error.value.code == "CHM254"


def test_weights_of_another_model_are_refused(data: Path, tmp_path: Path) -> None:
    config = written(tmp_path, CONFIG)
    train(config, data=data, out=tmp_path / "run", steps=1, tell=lambda _: None)
    other = written(tmp_path, CONFIG.replace("intermediate_size: 48", "intermediate_size: 64"))
    weights = tmp_path / "run" / "weights.safetensors"
    with pytest.raises(UserError) as error:
        train(other, data=data, out=tmp_path / "other", weights=weights, tell=lambda _: None)
    assert error.value.code == "CHM241"
