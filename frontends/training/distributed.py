"""Several processes: who this one is, sums over all, and the model copied or sharded (FSDP2) among them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from chimerac.compiler.errors import UserError

AT_ONCE = 1 << 26  #: numbers that are added up over the processes in one call: 256 MiB of float32


@dataclass(frozen=True)
class Processes:
    """This process among the ``world`` that train together; alone unless started by torchrun."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True for the one process that writes files and prints."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def queue(self) -> Queue:
        """The work that this process has given to its device from now on."""
        return Queue(self.device)

    def agree(self, flag: bool) -> bool:
        """True when any process says so."""
        if self.world == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=self.device)))

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.world > 1:
            dist.barrier()


class Queue:
    """Keeps the host at most one step ahead of its GPU, so that the clock tells how far training is."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.previous: torch.cuda.Event | None = None

    def shorten(self) -> None:
        """Call once a step: returns when the step before has been computed."""
        if self.device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record()
        if self.previous is not None:
            self.previous.synchronize()
        self.previous = event


@contextlib.contextmanager
def joined(device: str | None = None) -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun, one process.

    Args:
        device: cpu or cuda; None takes a GPU if there is one.

    Raises:
        UserError: CHM258 for another device, and for cuda where PyTorch finds none.
    """
    usable = torch.cuda.is_available()
    kind = device or ("cuda" if usable else "cpu")
    if kind not in ("cpu", "cuda"):
        raise UserError("CHM258", f"the device {kind!r} is neither cpu nor cuda")
    if kind == "cuda" and not usable:
        raise UserError("CHM258", "PyTorch finds no GPU here", hint="leave the device out, or name cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(local)
    if world == 1:
        yield Processes(0, 1, local)
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world, local)
    finally:
        dist.destroy_process_group()


def spread(
    module: nn.Module, processes: Processes, how: Literal["ddp", "fsdp"], shards: Sequence[nn.Module]
) -> nn.Module:
    """``module`` copied to every process, or sharded: each of ``shards`` on its own, and everything else together.

    Of copies, ``add_gradients`` adds up the gradients. Shards do so themselves, and take the mean.
    """
    if processes.world == 1:
        return module
    if how == "ddp":
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
        return module
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(processes.device.type, (processes.world,))
    frozen = {p for p in module.parameters() if not p.requires_grad}
    for shard in shards:
        fully_shard(shard, mesh=mesh, ignored_params={p for p in shard.parameters() if p in frozen})
    fully_shard(module, mesh=mesh, ignored_params=frozen)
    return module


@torch.no_grad()
def add_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Make every gradient the sum of those of all processes. One that no process has stays None.

    Done once a step, after all of its passes, and not by PyTorch's DDP during the last of them: passes can then be CUDA
    graphs, and what is exchanged is little beside a step of many micro-batches.
    """
    if processes.world == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    # sequences within one anchor chunk never read what the memory learned, so its gates get no gradient
    had = processes.total(torch.tensor([float(p.grad is not None) for p in trained], device=processes.device))
    if any(p.grad is None for p in trained):  # only then is the answer waited for
        for parameter, count in zip(trained, had.tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    for part in _parts([p.grad for p in trained if p.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in part])
        dist.all_reduce(flat)
        sums = [s.view_as(g) for s, g in zip(flat.split([g.numel() for g in part]), part, strict=True)]
        torch._foreach_copy_(part, sums)


def _parts(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, each part of ``AT_ONCE`` numbers at most or of one tensor."""
    part: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if part and size + tensor.numel() > AT_ONCE:
            yield part
            part, size = [], 0
        part.append(tensor)
        size += tensor.numel()
    if part:
        yield part


@contextlib.contextmanager
def gradients_synchronised(module: nn.Module, yes: bool) -> Iterator[None]:
    """Whether a sharded module's backward pass inside exchanges gradients; only the last of a step has to."""
    sharded: Any = module
    if hasattr(module, "set_requires_gradient_sync"):
        sharded.set_requires_gradient_sync(yes)
    yield


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together on every process; any other as it is."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach()


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a sharded tensor, as a view; any other tensor as it is."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


@torch.no_grad()
def fill(tensor: Tensor, value: Tensor) -> None:
    """Overwrite a tensor, sharded or not, with the whole ``value``."""
    if hasattr(tensor, "full_tensor"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(tensor, DTensor)
        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)
