"""A whole run: phases in order, progress, saves, evaluation, and going on after a stop."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.phases import BESIDE
from chimerac.frontends.families.registry import find_family
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers.moe import imbalance
from chimerac.frontends.layers.prepared import PreparedWeights
from chimerac.frontends.training.checkpointing import Place, load_state, read_place, save_state
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.distributed import Processes, fill, whole
from chimerac.frontends.training.draft import train_draft
from chimerac.frontends.training.evaluation import Codec, Measuring, evaluate
from chimerac.frontends.training.files import write_whole
from chimerac.frontends.training.kernels import make_kernels
from chimerac.frontends.training.loop import PhaseRunner, compile_blocks, prepare
from chimerac.frontends.training.module import make_module, tensors_of
from chimerac.frontends.training.progress import Progress
from chimerac.frontends.training.router import train_router
from chimerac.frontends.training.settings import Plan, check_plan, write_plan
from chimerac.frontends.weights.checkpoint import load_safetensors, save_safetensors
from chimerac.frontends.weights.packed import packed_bytes
from chimerac.frontends.weights.sources import RandomWeights

WEIGHTS_FILE, METRICS_FILE, PLAN_FILE = "weights.safetensors", "metrics.json", "plan.json"
PACKED_FILE = "packed.safetensors"
EVALUATED_AT_ONCE = {"cpu": 32, "cuda": 2048}  #: sequences


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``finished`` is False when it was stopped by time; the same call goes on."""

    finished: bool
    metrics: dict[str, Any]


def train_plan(
    plan: Plan,
    data: DataFolder,
    out: Path,
    codec: Codec,
    processes: Processes,
    *,
    weights: Path | None = None,
    stop_after: float | None = None,
    evaluated_rows: int | None = None,
    kernels: int = 0,
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Train as ``plan`` says, from the start or from what an earlier call with the same plan left in ``out``.

    Leaves ``weights.safetensors``, ``packed.safetensors`` (not of a float model), ``metrics.json``, ``log.jsonl``,
    ``plan.json`` and ``state.safetensors``.

    Args:
        weights: start from these in place of random ones.
        stop_after: seconds after which to save and return.
        evaluated_rows: most rows of each held-out split.
        kernels: processes that make the kernels of a plan that is fused before it begins; none makes them as they come.

    Raises:
        UserError CHM250 to CHM259.
    """
    check_plan(plan)
    if kernels < 0 or (kernels and (not plan.fused or plan.compile or plan.phases[0].kind in BESIDE)):
        message = "processes that make kernels are for phases with fused kernels, and not fewer than none"
        raise UserError("CHM250", message, hint="take kernels with fused and without compile, or leave them out")
    with _made(out):
        if plan.phases[0].kind in BESIDE:
            return _beside(plan, data, out, processes, weights, stop_after, tell)
        place = read_place(out, plan.digest())
        model = make_module(plan)
        RandomWeights(find_family(plan.family), plan.shape, plan.shape.seed).fill(model)
        if weights is not None:
            load_safetensors(model, tensors_of(plan), weights)
        trained = prepare(model, plan, processes)
        run = _Run(plan, data, out, codec, processes, model, trained, place, tell if processes.leads else _silent)
        if processes.leads:
            write_plan(plan, out / PLAN_FILE)
            if kernels:
                make_kernels(plan, out / PLAN_FILE, kernels, processes.device.type, tell)
        processes.wait()
        if not run.train(stop_after):
            run.tell("stopped; the same command goes on from here")
            return Outcome(False, {})
        return Outcome(True, run.finish(evaluated_rows))


def _beside(
    plan: Plan,
    data: DataFolder,
    out: Path,
    processes: Processes,
    weights: Path | None,
    stop_after: float | None,
    tell: Callable[[str], None],
) -> Outcome:
    """The phase of a part on its own, which leaves what other runs leave but a log and a state."""
    kind = plan.phases[0].kind
    train, what = (train_router, "a router") if kind == "router" else (train_draft, "a draft head")
    if stop_after is not None:
        raise UserError("CHM250", f"the phase of {what} takes minutes and is not stopped", hint="leave --stop-after")
    began = time.monotonic()
    model, found = train(plan, data, processes, weights, tell)
    write_plan(plan, out / PLAN_FILE)
    _write_results(model, plan, out)
    metrics = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "ternary": plan.ternary,
        "training_seconds": round(time.monotonic() - began, 1),
        kind: found,
    }
    write_whole(out / METRICS_FILE, (json.dumps(metrics, indent=1) + "\n").encode())
    return Outcome(True, metrics)


def _write_results(model: TrainableModule, plan: Plan, out: Path) -> None:
    save_safetensors(model, out / WEIGHTS_FILE)
    if plan.ternary:
        write_whole(out / PACKED_FILE, packed_bytes(model, tensors_of(plan)))


@contextlib.contextmanager
def _made(out: Path) -> Iterator[None]:
    """Make a folder, which is gone again if an error leaves it empty."""
    try:
        new = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("CHM256", f"can't make the folder {out}: {error.strerror or error}") from error
    try:
        yield
    except UserError:
        if new:
            with contextlib.suppress(OSError):
                out.rmdir()
        raise


def _silent(_: str) -> None:
    return


class _Run:
    def __init__(
        self,
        plan: Plan,
        data: DataFolder,
        out: Path,
        codec: Codec,
        processes: Processes,
        model: TrainableModule,
        trained: torch.nn.Module,
        place: Place,
        tell: Callable[[str], None],
    ) -> None:
        self.plan, self.data, self.out, self.codec = plan, data, out, codec
        self.processes, self.model, self.trained, self.place, self.tell = processes, model, trained, place, tell
        self.resumed = place.phase > 0 or place.step > 0
        self.began = time.monotonic() - place.seconds
        interval = plan.log_interval
        self.progress = Progress(out, place.log_bytes, tell, interval) if processes.leads else None

    def train(self, stop_after: float | None) -> bool:
        """Run what is left of the phases; False when time ran out before the end."""
        limit = None if stop_after is None else time.monotonic() + stop_after
        for index in range(self.place.phase, len(self.plan.phases)):
            phase = self.plan.phases[index]
            seed = self.plan.seed * 1000 + index
            source = self.data.source(phase, self.plan.shape.vocabulary, seed)
            if self.resumed and phase.kind == "dpo":  # its reference is the model as it was when the phase began
                self._load_reference(index)
            runner = PhaseRunner(self.plan, index, self.model, self.trained, source, self.processes, self.tell)
            if self.resumed:
                load_state(self.out, self.model, runner.optimizer)
                self.tell(f"going on with {phase.name}, step {self.place.step} of {runner.steps}")
                self.resumed = False
            elif phase.kind == "dpo" and self.processes.leads:
                self._write_weights(self._reference_file(index))
            if self.progress is not None:
                self.progress.restart()
            if not self._phase(runner, limit):
                return False
            self._save(index + 1, 0, None)
            self.place = dataclasses.replace(self.place, phase=index + 1, step=0, phase_seconds=0.0)
            del runner
            gc.collect()  # graphs and optimiser state, before the next phase or the evaluation needs their memory
        if self.resumed:  # everything was trained before, only the evaluation is left
            load_state(self.out, self.model, None)
        return True

    def _phase(self, runner: PhaseRunner, limit: float | None) -> bool:
        began = time.monotonic() - self.place.phase_seconds
        try:
            return self._steps(runner, limit, began)
        except KeyboardInterrupt:
            done = runner.done
            # several processes save together, which a signal to one of them does not bring about
            if done is not None and done > self.place.step and self.processes.world == 1:
                self._save(self.place.phase, done, runner.optimizer, time.monotonic() - began)
                self.tell(f"saved step {done} of {runner.phase.name}; the same command goes on from there")
            raise

    def _steps(self, runner: PhaseRunner, limit: float | None, began: float) -> bool:
        index, timed = self.place.phase, runner.phase.seconds
        done, last = self.place.step, False
        queue = self.processes.queue()
        while not last:
            elapsed = self._same(time.monotonic() - began) if timed else 0.0
            loss, tokens = runner.step(done, elapsed)
            done += 1
            # the step after this one would end 2 steps from ``elapsed``: the end nearest to the wanted one is taken
            last = elapsed + 1.5 * elapsed / max(1, done - 1) >= timed if timed else done == runner.steps
            if timed:
                queue.shorten()
            if self.progress is not None:
                self.progress.count(loss, tokens)
            if done % self.plan.log_interval == 0 or last:
                self._report(runner, done, elapsed, loss)
            late = limit is not None and self.processes.agree(time.monotonic() > limit)
            if not last and (late or done % self.plan.save_interval == 0):
                self._check_loss(runner, done, loss)
                self._save(index, done, runner.optimizer, time.monotonic() - began)
            if late and not last:
                return False
        return True

    def _same(self, seconds: float) -> float:
        """The leading process's clock on every process: all must end after the same step."""
        own = torch.tensor(seconds if self.processes.leads else 0.0, dtype=torch.float64)
        return float(self.processes.total(own.to(self.processes.device))) if self.processes.world > 1 else seconds

    @staticmethod
    def _check_loss(runner: PhaseRunner, done: int, loss: torch.Tensor) -> None:
        if not bool(loss.isfinite()):
            raise UserError(
                "CHM259",
                f"the loss is not finite any more at step {done} of {runner.phase.name!r}",
                hint="lower the learning rate; the last save is from before",
            )

    def _report(self, runner: PhaseRunner, done: int, elapsed: float, loss: torch.Tensor) -> None:
        self._check_loss(runner, done, loss)
        if self.progress is not None:
            balance = max(map(imbalance, runner.loads), default=0.0)
            timed = runner.phase.seconds
            left = (runner.steps - done) if not timed else (timed - elapsed) * done / max(elapsed, 1e-9)
            steps = runner.steps or done + max(0, round(left))
            rate = runner.rate(done - 1, elapsed)
            without = int(runner.without_gradient)
            self.progress.report(runner.phase.name, done, steps, rate, runner.norm, balance, without)

    def _save(self, phase: int, step: int, optimizer: torch.optim.Optimizer | None, phase_seconds: float = 0.0) -> None:
        written = self.progress.bytes if self.progress is not None else 0
        seconds = time.monotonic() - self.began
        place = dataclasses.replace(
            self.place, phase=phase, step=step, log_bytes=written, seconds=seconds, phase_seconds=phase_seconds
        )
        save_state(self.out, place, self.model, optimizer, self.processes)

    def _reference_file(self, index: int) -> Path:
        return self.out / f"reference-{index}.safetensors"

    def _load_reference(self, index: int) -> None:
        if self.place.step:
            load_safetensors(self.model, tensors_of(self.plan), self._reference_file(index))
        else:
            load_state(self.out, self.model, None)
            if self.processes.leads:
                self._write_weights(self._reference_file(index))

    def _write_weights(self, file: Path) -> None:
        save_safetensors(self.model, file)

    def finish(self, rows: int | None) -> dict[str, Any]:
        """Write the weights, then measure them."""
        plain = self._gathered()
        if self.processes.leads:
            _write_results(plain, self.plan, self.out)
        device = self.processes.device
        plain.to(device)
        if self.plan.compile:
            compile_blocks(plain)
        measuring = Measuring(device, EVALUATED_AT_ONCE[device.type], fixed=self.plan.compile)
        metrics: dict[str, Any] = {
            "parameters": sum(p.numel() for p in plain.parameters()),
            "ternary": self.plan.ternary,
            "training_seconds": round(time.monotonic() - self.began, 1),
        }
        if self.processes.leads:
            lengths = self._longest("pretrain"), self._longest("sft", "dpo")
            with contextlib.nullcontext() if self.plan.compile else PreparedWeights(plain, torch.float32):
                metrics |= evaluate(plain, self.data.path, self.data.valid_text, self.codec, lengths, measuring, rows)
            write_whole(self.out / METRICS_FILE, (json.dumps(metrics, indent=1) + "\n").encode())
        self.processes.wait()
        return metrics

    def _longest(self, *kinds: str) -> int:
        """The longest sequences of the phases of some kinds; of all phases, when there are none."""
        phases = self.plan.phases
        return max(p.sequence_length for p in [p for p in phases if p.kind in kinds] or phases)

    def _gathered(self) -> TrainableModule:
        """A copy of the model that is whole on every process."""
        plain = make_module(self.plan)
        values = {name: whole(tensor).cpu() for name, tensor in self.model.state_dict().items()}
        for name, tensor in plain.state_dict().items():
            fill(tensor, values[name])
        return plain
