"""Saving a run in one file that appears whole or not at all, and going on from it bit for bit.

``state.safetensors`` holds weights, optimiser state and the generator's state; its header, where the run stands. All
draws for data, depths and noise are keyed by phase and step, so the step is all there is to remember of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.training.distributed import Processes, fill, whole
from chimerac.frontends.training.files import write_whole
from chimerac.runtime.bundle_format.regular import check_input

STATE_FILE = "state.safetensors"
MODEL, MOMENT, GENERATOR = "model/", "optimizer/", "generator"
KEY = "chimerac"  #: of the header's metadata


@dataclass(frozen=True)
class Place:
    """Where a run stands.

    Attributes:
        digest: of the plan. phase, step: the next to run. log_bytes: length of the log at that time.
        seconds: time spent in training so far. phase_seconds: of it, in this phase.
    """

    digest: str
    phase: int = 0
    step: int = 0
    log_bytes: int = 0
    seconds: float = 0.0
    phase_seconds: float = 0.0


def save_state(
    folder: Path, place: Place, model: nn.Module, optimizer: torch.optim.Optimizer | None, processes: Processes
) -> None:
    """Write the state file. All processes must call it; one writes, then all return. Raises UserError CHM256."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensors[MODEL + name] = whole(tensor)
    if optimizer is not None:
        for name, parameter in model.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{MOMENT}{name}/{key}"] = whole(value)
    if processes.leads:
        tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
        tensors[GENERATOR] = torch.get_rng_state()
        write_whole(folder / STATE_FILE, save(tensors, {KEY: json.dumps(asdict(place))}))
    processes.wait()


def read_place(folder: Path, digest: str) -> Place:
    """Where the run in ``folder`` stands; the start if there is none.

    Raises:
        UserError CHM257: the file is damaged, or belongs to a run with another plan.
    """
    file = folder / STATE_FILE
    if not file.exists():
        return Place(digest)
    try:
        check_input(file)
        with safe_open(file, framework="pt") as reader:
            place = Place(**json.loads((reader.metadata() or {})[KEY]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError("CHM257", f"{file} is no state of a training run: {why}") from error
    if place.digest != digest:
        raise UserError(
            "CHM257",
            f"{folder} holds a run with another model, phases or seed",
            hint="choose another folder, or remove this one to start anew",
        )
    return place


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Take over weights, generator and, if given, optimiser state. Raises UserError CHM257."""
    file = folder / STATE_FILE
    try:
        check_input(file)
        with safe_open(file, framework="pt") as reader:
            names = set(reader.keys())
            torch.set_rng_state(reader.get_tensor(GENERATOR))
            for name, tensor in model.state_dict().items():
                fill(tensor, reader.get_tensor(MODEL + name))
            if optimizer is None:
                return
            for name, parameter in model.named_parameters():
                prefix = f"{MOMENT}{name}/"
                for key in sorted(n.removeprefix(prefix) for n in names if n.startswith(prefix)):
                    value = reader.get_tensor(prefix + key)
                    optimizer.state[parameter][key] = _placed(value, parameter, key)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError("CHM257", f"{file} does not fit this run: {error}") from error


def _placed(value: Tensor, parameter: nn.Parameter, key: str) -> Tensor:
    """An optimiser's tensor where the optimiser expects it: like its parameter, the step counter on the same device."""
    if key == "step":
        return value.to(parameter.device) if parameter.is_cuda else value
    like = torch.zeros_like(parameter)
    fill(like, value)
    return like
