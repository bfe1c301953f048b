"""``chimerac train``: a config and a folder of data to trained weights.

Also a program of its own, ``python -m chimerac.compiler.verbs.train``, for machines that have PyTorch and nothing
else of the compiler: it takes the whole plan that ``--write-plan`` makes here, and is what torchrun starts.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimerac.compiler.errors import ChimeracError, UserError
from chimerac.frontends.training import Phase, Plan, read_plan, train_plan, write_plan
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.distributed import joined
from chimerac.frontends.training.evaluation import SPLITS, Codec
from chimerac.frontends.training.run import Outcome
from chimerac.runtime.reference.tokenizer import Tokenizer, byte_tokenizer, read_tokenizer

if TYPE_CHECKING:
    from chimerac.compiler.build.importing import Described

TOKENIZER_FILE = "tokenizer.model"
ROLE_END, ROLE_ANSWER, ROLE_HEARD = "end", "answer", "heard"
ANSWER_NAME = "<|json|>"  #: marks the place of the answer when no token has the role

#: Phases of a description that names none; one is taken when the data folder has what it needs.
DEFAULT_PHASES = (
    Phase("pretrain", steps=400, sequence_length=128, batch=16, learning_rate=3e-3, warmup_steps=20, bias_rate=1e-2),
    Phase("sft", "sft", epochs=3, sequence_length=96, batch=32, learning_rate=1e-3, warmup_steps=20),
)
#: The phases that are asked for by name, when a model is trained.
OWN_PHASES = {
    "router": Phase("router", "router", steps=64, sequence_length=128, batch=16, learning_rate=2e-3, warmup_steps=0),
    "draft": Phase("draft", "draft", steps=600, sequence_length=128, batch=16, learning_rate=2e-3, warmup_steps=0),
}


def train(
    config: str | None,
    *,
    data: str | Path,
    out: str | Path,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    plan: str | Path | None = None,
    phase: str | None = None,
    settings: dict[str, Any] | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    stop_after: float | None = None,
    evaluated_rows: int | None = None,
    kernels: int = 0,
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Train CONFIG's model on a data folder; frontends.training.run says what it leaves.

    Args:
        plan: file that says how to train, in place of the config's phases. With a shape in it, no config is needed.
        phase: name of one of OWN_PHASES, in place of the config's and the plan's phases.
        settings: fields of the plan to change, for example {"precision": "bfloat16", "ternary": False}.
        steps: steps of every phase, in place of what the config says.
        seconds: train that long; the phases share it in the ratio of their own seconds.
        kernels: processes that make fused kernels before training begins.

    Raises:
        UserError CHM1xx of the config, CHM250 to CHM259 of the training.
    """
    described = None if config is None else _described(config, scale, overrides)
    codec = _codec(_tokenizer(Path(data), described))
    folder = DataFolder(Path(data), codec.encode, codec.end)
    made = _plan(described, plan, folder.path, has_text=folder.text is not None)
    made = dataclasses.replace(made, **(settings or {}))
    if phase is not None:
        made = dataclasses.replace(made, phases=(_own_phase(phase),))
    if steps is not None:
        phases = (dataclasses.replace(phase, steps=steps, epochs=0.0, seconds=0.0) for phase in made.phases)
        made = dataclasses.replace(made, phases=tuple(phases))
    if seconds is not None:
        made = lasting(made, seconds)
    with joined(device) as processes:
        return train_plan(
            made,
            folder,
            Path(out),
            codec,
            processes,
            weights=None if weights is None else Path(weights),
            stop_after=stop_after,
            evaluated_rows=evaluated_rows,
            kernels=kernels,
            tell=tell,
        )


def _own_phase(name: str) -> Phase:
    if name not in OWN_PHASES:
        message = f"there is no phase {name!r} that is asked for by name"
        raise UserError("CHM250", message, hint=f"there are: {', '.join(OWN_PHASES)}; a plan has the others")
    return OWN_PHASES[name]


def _described(config: str, scale: str | None, overrides: Sequence[str]) -> Described:
    # needs what reads configs, which a machine that trains plans may not have
    from chimerac.compiler.build.importing import read_description

    return read_description(config, scale=scale, overrides=overrides)


def _plan(described: Described | None, plan: str | Path | None, data: Path, *, has_text: bool) -> Plan:
    if plan is not None:
        known = None if described is None else (described.family.name, described.description.shape)
        return read_plan(Path(plan), known)
    if described is None:
        raise UserError("CHM250", "training needs a config or a plan")
    return make_plan(described, data, has_text=has_text)


def make_plan(described: Described, data: Path, *, has_text: bool) -> Plan:
    """The plan of a description; one that names no phases gets the usual ones for what ``data`` holds.

    Raises:
        UserError CHM250: as of the description's ``training``. CHM254: neither names a phase.
    """
    available = {"pretrain": has_text, "sft": (data / "sft.npz").exists()}
    usual = tuple(phase for phase in DEFAULT_PHASES if available[phase.kind])
    asked = described.description.training(usual)
    if not asked.phases:
        raise UserError("CHM254", f"{data} has nothing to train on: neither pretrain.bin, .txt files nor sft.npz")
    shape, family = described.description.shape, described.family.name
    return Plan(shape, asked.phases, family, seed=asked.seed, precision=asked.precision)


def lasting(plan: Plan, seconds: float) -> Plan:
    """``plan`` with phases of ``seconds`` together. Raises UserError CHM250 for phases without seconds."""
    whole = sum(phase.seconds for phase in plan.phases)
    if seconds <= 0 or not all(phase.seconds > 0 for phase in plan.phases):
        raise UserError("CHM250", "a time for the whole run needs seconds above zero in every phase of the plan")
    phases = (dataclasses.replace(phase, seconds=phase.seconds * seconds / whole) for phase in plan.phases)
    return dataclasses.replace(plan, phases=tuple(phases))


def _tokenizer(data: Path, described: Described | None) -> Tokenizer:
    """The data folder's tokenizer, else that of a bundle of the description; of a plan alone, one token per byte."""
    if os.path.exists(data / TOKENIZER_FILE):  # which is asked of whatever path
        return read_tokenizer(data / TOKENIZER_FILE)
    if described is None:
        return byte_tokenizer(256, ())
    from chimerac.compiler.build.importing import tokenizer_of

    return tokenizer_of(described)


def _codec(tokenizer: Tokenizer) -> Codec:
    answer = tokenizer.special_id(ROLE_ANSWER)
    if answer is None:
        answer = next((special.id for special in tokenizer.specials if special.name == ANSWER_NAME), None)
    return Codec(
        tokenizer.encode, tokenizer.decode, answer, tokenizer.special_id(ROLE_END), tokenizer.special_id(ROLE_HEARD)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The program ``python -m chimerac.compiler.verbs.train``."""
    parser = argparse.ArgumentParser(prog="python -m chimerac.compiler.verbs.train", description=train.__doc__)
    parser.add_argument("config", nargs="?", help="config or the name of a built-in one")
    parser.add_argument("--plan", help="how to train; with a shape in it, no config is needed")
    parser.add_argument("--phase", help="router or draft: train the loop-depth router or the draft head of --weights")
    parser.add_argument("--write-plan", metavar="FILE", help="write the plan of CONFIG and stop")
    parser.add_argument("--scale")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out")
    parser.add_argument("--weights")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float, help="train that long; the phases share it in the ratio of theirs")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS")
    parser.add_argument("--evaluated-rows", type=int, metavar="N")
    parser.add_argument("--kernels", type=int, default=0, metavar="N", help="make fused kernels first, in N processes")
    parser.add_argument("--precision", choices=("float32", "tensorfloat32", "bfloat16"))
    parser.add_argument("--parallel", choices=("ddp", "fsdp"))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--float", dest="ternary", action="store_const", const=False)
    for name in ("compile", "fused", "checkpointing", "graphs"):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=None)
    given = vars(parser.parse_args(arguments))
    names = ("precision", "parallel", "seed", "ternary", "compile", "fused", "checkpointing", "graphs")
    settings = {name: given.pop(name) for name in names}
    settings = {name: value for name, value in settings.items() if value is not None}
    target = given.pop("write_plan")
    try:
        if target is not None:
            described = _described(given["config"], given["scale"], given["overrides"])
            data = Path(given["data"])
            has_text = os.path.exists(data / "pretrain.bin") or (os.path.isdir(data) and any(data.glob("**/*.txt")))
            made = _plan(described, given["plan"], data, has_text=has_text)
            write_plan(dataclasses.replace(made, **settings), Path(target))
            return
        if given["out"] is None:
            parser.error("--out is needed")
        outcome = train(given.pop("config"), settings=settings, tell=lambda line: print(line, flush=True), **given)
    except ChimeracError as error:
        print(error.render(), file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if outcome.finished:
        print(summary(outcome.metrics))


def summary(metrics: dict[str, Any]) -> str:
    """The measures of a finished run in a few lines."""
    lines = [f"{metrics['parameters']:,} parameters, {metrics['training_seconds']:.0f} s of training"]
    if "bits_per_byte" in metrics:
        lines.append(f"held-out text: {metrics['bits_per_byte']:.4f} bits per byte")
    for split in SPLITS:
        if split in metrics:
            lines.append(f"{split}: {100 * metrics[split]['exact']:.1f} % of {metrics[split]['rows']} answers exact")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
