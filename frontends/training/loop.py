"""The training step: loss of a batch, gradients, update, routing biases, for every kind of phase."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.layers.fusing import fusing, why_not
from chimerac.frontends.layers.looping import sample_depths
from chimerac.frontends.layers.prepared import PreparedWeights
from chimerac.frontends.training.data import Batch, Source, share
from chimerac.frontends.training.distributed import (
    Processes,
    add_gradients,
    gradients_synchronised,
    own_part,
    spread,
    whole,
)
from chimerac.frontends.training.dpo import preference_loss, row_sums
from chimerac.frontends.training.graphs import IGNORED, Graphs, Inputs
from chimerac.frontends.training.mezo import Mezo
from chimerac.frontends.training.module import make_module, tensors_of
from chimerac.frontends.training.optimizer import learning_rate, make_optimizer
from chimerac.frontends.training.settings import Plan
from chimerac.frontends.training.signals import after_this, look_at_signals

COMPILED_FORMS = 256  #: of a block: kinds of layers, shapes, with and without gradients


class TokenModel(nn.Module):
    """Log-probabilities of targets, float32 [M]: the whole of what a step differentiates, as one module."""

    def __init__(self, model: TrainableModule) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, tokens: Tensor, positions: Tensor | None, targets: Tensor, depths: Tensor | None, truncate: bool
    ) -> Tensor:
        """tokens: [B, T]; positions, targets: [M], see data.Batch, IGNORED gives 0; depths: [B] or None."""
        table = self.model.table()
        hidden = self.model.hidden(tokens, table, depths, truncate=truncate).flatten(0, 1)
        if positions is not None:
            hidden = hidden[positions]
        logits = self.model.head(hidden, table)
        return -F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)


def prepare(model: TrainableModule, plan: Plan, processes: Processes) -> nn.Module:
    """``model`` on its device, compiled, checkpointed and spread as the plan says; train what is returned."""
    model.to(processes.device)
    specs = tensors_of(plan).specs
    for name, parameter in model.named_parameters():
        if not specs[name].trained:
            parameter.requires_grad_(False)
    if plan.compile:
        compile_blocks(model)
    if plan.checkpointing:
        for block in model.blocks():
            block.forward = functools.partial(_checkpointed, model, block.forward)
    if processes.device.type == "cpu" and not plan.compile:
        look_at_signals(model)
    if processes.device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if plan.precision == "float32" else "high")
    return spread(TokenModel(model), processes, plan.parallel, model.shards())


def compile_blocks(model: TrainableModule) -> None:
    """torch.compile for each block; equal blocks share their code."""
    torch._dynamo.config.recompile_limit = COMPILED_FORMS
    torch._dynamo.config.accumulated_recompile_limit = 16 * COMPILED_FORMS
    model.compile_blocks()


def _checkpointed(model: TrainableModule, forward: Callable[..., object], *inputs: object, **options: Any) -> object:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    contexts = lambda: (contextlib.nullcontext(), _uncounted(model))  # noqa: E731
    result: object = checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)
    return result


@contextlib.contextmanager
def _uncounted(model: TrainableModule) -> Iterator[None]:
    """Recomputation visits experts a second time, which must not count as load."""
    before = [load.clone() for load in model.router_loads()]
    try:
        yield
    finally:
        for load, counted in zip(model.router_loads(), before, strict=True):
            load.copy_(counted)


def autocast(plan: Plan, processes: Processes) -> AbstractContextManager[object]:
    """bfloat16 matrix products where the plan wants them."""
    return torch.autocast(processes.device.type, torch.bfloat16, enabled=plan.precision == "bfloat16")


class PhaseRunner:
    """Runs the steps of one phase.

    Attributes:
        steps: how many there are; 0 when the clock ends the phase.
        optimizer: its state is saved with the run; None for MeZO, which has none.
        norm: length of the last gradient before clipping; None for MeZO.
        done: steps that the weights have taken; None before the first, and while they are moved for MeZO's estimate.
        without_gradient: int64 [], the steps so far whose gradient was not finite and was taken as zero.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        model: TrainableModule,
        trained: nn.Module,
        source: Source,
        processes: Processes,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.plan, self.phase, self.source, self.processes = plan, plan.phases[index], source, processes
        self.model, self.trained = model, trained
        phase = self.phase
        self.steps = phase.steps or int(phase.epochs * source.count / phase.batch)
        if self.steps < 1 and not phase.seconds > 0:
            raise UserError("CHM258", f"the phase {phase.name!r} has no steps; give it steps, epochs or seconds")
        self.seed = plan.seed * 1000 + index
        self.optimizer: torch.optim.Optimizer | None = None
        self.mezo: Mezo | None = None
        self.norm: Tensor | None = None
        self.done: int | None = None
        self.without_gradient = torch.zeros((), dtype=torch.int64, device=processes.device)
        self.reference: nn.Module | None = None
        self.sharded = plan.parallel == "fsdp" and processes.world > 1
        if self.sharded:
            self._check_sharding()
        if phase.kind == "dpo":
            frozen = make_module(plan)
            frozen.load_state_dict(model.state_dict())
            self.reference = TokenModel(frozen.to(processes.device)).requires_grad_(False)
        self.prepared, self.graphs, self.fused = self._prepared(), self._graphs(tell), self._fused(tell)
        if phase.descends:
            self.optimizer = make_optimizer(model, tensors_of(plan), phase)
        else:
            sparse = phase.optimizer == "mezo_sparse"
            self.mezo = Mezo(model, tensors_of(plan), self.seed, phase.epsilon, phase.weight_decay, sparse=sparse)

    def _prepared(self) -> AbstractContextManager[object]:
        """What holds the rounded weights during a step; sharded weights and compiled blocks round on their own."""
        if self.plan.compile or self.sharded:
            return contextlib.nullcontext()
        return PreparedWeights(self.model, torch.bfloat16 if self.plan.precision == "bfloat16" else torch.float32)

    def _fused(self, tell: Callable[[str], None]) -> bool:
        """Whether chains between products run as one kernel each; blocks that are compiled are so already."""
        if not self.plan.fused or self.plan.compile:
            return False
        reason = why_not(self.processes.device)
        if reason is not None:
            tell(f"nothing is fused: {reason}")
        return reason is None

    def _graphs(self, tell: Callable[[str], None]) -> Graphs | None:
        """CUDA graphs where every pass is the same work: nothing sharded, all sequences equally deep."""
        plan, phase = self.plan, self.phase
        eager = not plan.graphs or plan.compile or plan.checkpointing or self.sharded or not self.model.same_work()
        mixed = phase.depth == "sequence" and self.model.loop_counts() is not None
        if eager or mixed or phase.kind == "dpo" or not phase.descends or self.processes.device.type != "cuda":
            return None
        return self.make_graphs(tell)

    def make_graphs(self, tell: Callable[[str], None]) -> Graphs:
        """Computes the gradients of this phase's micro-batches; without CUDA, eagerly."""

        def loss(tokens: Tensor, targets: Tensor, loops: int | None) -> Tensor:
            depths = None if loops is None else torch.full((len(tokens),), loops)
            with autocast(self.plan, self.processes):
                logs: Tensor = self.trained(tokens, None, targets, depths, self.phase.truncate)
            return -logs.sum()

        trained = [p for p in self.trained.parameters() if p.requires_grad]
        return Graphs(loss, trained, self.model.router_loads, self.processes.device, tell)

    def _check_sharding(self) -> None:
        """Raise UserError CHM258 for what needs whole tensors or would run blocks differently often on each process."""
        phase = self.phase
        if phase.kind == "dpo" or not phase.descends:
            raise UserError("CHM258", f"the phase {phase.name!r} needs whole tensors: run it with ddp, not with fsdp")
        if phase.depth == "sequence" and self.model.loop_counts() is not None:
            message = f"the phase {phase.name!r} draws loop depths per sequence, but with fsdp all must be equally deep"
            raise UserError("CHM258", message, hint='set its depth to "batch"')

    def rate(self, number: int, elapsed: float = 0.0) -> float:
        """The learning rate of step ``number`` (from 0), ``elapsed`` seconds after the phase began."""
        phase = self.phase
        if phase.seconds:
            return learning_rate(phase, number, elapsed / phase.seconds)
        return learning_rate(phase, number, (number - phase.warmup_steps) / max(1, self.steps - phase.warmup_steps))

    def step(self, number: int, elapsed: float = 0.0) -> tuple[Tensor, int]:
        """Do step ``number`` (from 0). Returns the mean loss and the tokens read, over all processes."""
        phase, processes = self.phase, self.processes
        numbers = torch.arange(number * phase.batch, (number + 1) * phase.batch).numpy()
        batch = self.source.batch(numbers, processes.rank, processes.world)
        depths = self._depths(number, len(batch.tokens))
        rate = self.rate(number, elapsed)
        self.model.train()
        self.done = number
        if self.mezo is not None:
            with after_this(patience=1):  # weights that were moved cannot be moved back to the same bits
                self.done = None
                with torch.no_grad():
                    loss = self.mezo.step(lambda: processes.total(self._losses(batch, depths)), rate, number)
                self._end(number)
        else:
            loss = processes.total(self._gradients(batch, depths))
            with after_this():
                assert self.optimizer is not None
                self._descend(self.optimizer, rate)
                self._end(number)
        return loss, batch.tokens.numel() * processes.world

    def _end(self, number: int) -> None:
        self._balance()
        self.done = number + 1

    def _gradients(self, batch: Batch, depths: Tensor | None) -> Tensor:
        """Leave the step's gradients with the parameters."""
        assert self.optimizer is not None
        if self.graphs is not None:
            self.graphs.clear_gradients()
        else:
            self.optimizer.zero_grad(set_to_none=True)
        loss = self._losses(batch, depths, backward=True)
        if not self.sharded:
            add_gradients(self.trained.parameters(), self.processes)
        return loss

    def _descend(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), self.phase.clip)
        self.norm = whole(norm)
        self._forget_unless(self.norm.isfinite())
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

    def _forget_unless(self, finite: Tensor) -> None:
        """Zero every gradient unless their length is finite: clipping by infinity would make each weight NaN for good.

        Nothing here waits for the device.
        """
        self.without_gradient += ~finite
        for parameter in self.trained.parameters():
            if parameter.grad is not None:
                own_part(parameter.grad).masked_fill_(~finite, 0.0)

    def _losses(self, batch: Batch, depths: Tensor | None, *, backward: bool = False) -> Tensor:
        """This process's part of the step's mean loss, micro-batch by micro-batch, with gradients if asked for."""
        parts = list(self._micro_batches(batch, depths))
        total = torch.zeros((), device=self.processes.device)
        with self.prepared, fusing() if self.fused else contextlib.nullcontext():
            for index, (part, part_depths) in enumerate(parts):
                if backward and self.graphs is not None:
                    total = total + self.graphs.add(graph_inputs(part, part_depths))
                    continue
                part = part.to(self.processes.device)
                with gradients_synchronised(self.trained, index == len(parts) - 1):
                    with autocast(self.plan, self.processes):
                        loss = self._loss(part, part_depths) / part.total
                    if backward:
                        # shards average gradients over the processes; ``total`` counts all targets, so undo the mean
                        (loss * self.processes.world if self.sharded else loss).backward()
                total = total + loss.detach()
        return total

    def _loss(self, batch: Batch, depths: Tensor | None) -> Tensor:
        """The summed loss of some sequences."""
        inputs = (batch.tokens, batch.positions, batch.targets, depths, self.phase.truncate)
        logs: Tensor = self.trained(*inputs)
        if self.reference is None:
            return -logs.sum()
        assert batch.positions is not None
        with torch.no_grad():
            known = self.reference(*inputs)
        shape = (batch.positions, len(batch.tokens), batch.tokens.shape[1])
        return preference_loss(row_sums(logs, *shape), row_sums(known, *shape), self.phase.beta)

    def _micro_batches(self, batch: Batch, depths: Tensor | None) -> Iterator[tuple[Batch, Tensor | None]]:
        rows, length = batch.tokens.shape
        size = rows if self.phase.micro_tokens is None else max(1, self.phase.micro_tokens // length)
        if self.reference is not None:
            size = max(2, size // 2 * 2)  # pairs stay together
        total = self.phase.batch if self.reference is not None else batch.total
        for start in range(0, rows, size):
            end = min(start + size, rows)
            part = Batch(batch.numbers, batch.tokens[start:end], None, batch.targets[:0], total)
            if batch.positions is None:
                targets = batch.targets[start * length : end * length]
                part = Batch(part.numbers, part.tokens, None, targets, total)
            else:
                inside = (batch.positions >= start * length) & (batch.positions < end * length)
                part = Batch(
                    part.numbers, part.tokens, batch.positions[inside] - start * length, batch.targets[inside], total
                )
            yield part, None if depths is None else depths[start:end]

    def _depths(self, number: int, rows: int) -> Tensor | None:
        loop, phase = self.model.loop_counts(), self.phase
        if loop is None or phase.depth == "default" or phase.kind == "dpo":
            return None
        if phase.depth == "batch":
            return sample_depths(loop, self.seed, number, [0]).expand(rows)
        sequences = torch.arange(rows * self.processes.world).numpy()
        own = share(sequences, self.processes.rank, self.processes.world)
        return sample_depths(loop, self.seed, number, own.tolist())

    def _balance(self) -> None:
        loads = self.model.router_loads()
        for load in loads:
            load.copy_(self.processes.total(load))
        self.loads = [load.clone() for load in loads]
        # a rate of zero leaves the biases alone and still starts counting anew
        self.model.balance(self.phase.bias_rate if self.phase.moves_bias else 0.0)


def graph_inputs(part: Batch, depths: Tensor | None) -> Inputs:
    """A micro-batch in the form whose sizes depend on its rows and length only. ``depths``: equal ones."""
    targets = part.targets
    if part.positions is not None:
        targets = torch.full((part.tokens.numel(),), IGNORED).index_copy(0, part.positions, part.targets)
    return Inputs(part.tokens, targets, torch.tensor(1 / part.total), None if depths is None else int(depths[0]))
