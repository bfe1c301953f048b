"""How a config wants its model trained: its ``training.phases`` as phases that frontends/training runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.config.sections.training import Phase as ConfigPhase
from chimerac.frontends.families.phases import Phase, Training

DEFAULT_BATCH_TOKENS = 8192
LION_BETA2 = 0.99  #: of arXiv 2302.06675; a plan may say otherwise


def training_of(config: ModelConfig, usual: tuple[Phase, ...]) -> Training:
    """The config's phases, or the usual ones where it has none.

    Raises:
        UserError CHM250: as ``phases_of``.
    """
    written = config.training.phases if config.training is not None else ()
    phases = tuple(phase for entry in written for phase in phases_of(entry)) or usual
    depth: Literal["sequence", "default"] = "default" if config.looping.depth_selection == "fixed" else "sequence"
    truncate = config.looping.backward_truncation == "half"
    phases = tuple(replace(phase, depth=depth, truncate=truncate) for phase in phases)
    return Training(phases, config.seed, "bfloat16" if config.torch_dtype == "bfloat16" else "float32")


def phases_of(entry: ConfigPhase) -> list[Phase]:
    """A phase of the config as phases of a plan: one for each stage of a growing context, else one.

    Raises:
        UserError CHM250: the name is none of pretrain, ctx_extend, sft and dpo; or it has two lengths.
    """
    kinds = {"pretrain": "pretrain", "ctx_extend": "pretrain", "sft": "sft", "dpo": "dpo"}
    if entry.name not in kinds:
        raise UserError("CHM250", f"the training phase {entry.name!r} is none of {', '.join(kinds)}")
    if entry.tokens and entry.epochs:
        message = f"the training phase {entry.name!r} has {entry.tokens} tokens and {entry.epochs:g} epochs"
        raise UserError("CHM250", message, hint="say how long it is in one way")
    length = entry.seq_len or 256
    batch_tokens = entry.batch_tokens or DEFAULT_BATCH_TOKENS
    values: dict[str, Any] = {
        "kind": kinds[entry.name],
        "sequence_length": length,
        "batch": max(1, batch_tokens // length),
        "steps": (entry.tokens or 0) // batch_tokens,
        "epochs": float(entry.epochs or 0),
        "data": entry.data,
    }
    given = {
        "learning_rate": entry.lr,
        "warmup_steps": entry.warmup_steps,
        "weight_decay": entry.weight_decay,
        "clip": entry.grad_clip,
        "beta": entry.beta,
        "schedule": entry.schedule and entry.schedule.removesuffix("_warmup"),
    }
    values |= {name: value for name, value in given.items() if value is not None}
    if entry.optimizer is not None:
        values["optimizer"] = entry.optimizer.lower().replace("-", "_")
    if entry.optimizer == "Lion":
        values["beta2"] = LION_BETA2
    stages = [stage for stage in entry.stages if len(stage) == 3]
    if not stages:
        return [Phase(entry.name, **values)]
    result = []
    for tokens, steps, rate in stages:
        values |= {"sequence_length": tokens, "batch": max(1, batch_tokens // tokens), "steps": steps}
        result.append(Phase(f"{entry.name} {tokens}", **{**values, "learning_rate": rate, "epochs": 0.0}))
    return result
