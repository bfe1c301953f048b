"""Several processes: who this one is, sums over all, and the model copied (DDP) or sharded (FSDP2) among them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn


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
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
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
    """``module`` so that its gradients become means over the processes. With one process: unchanged.

    fsdp shards each of ``shards`` on its own and everything else together, in place.
    """
    if processes.world == 1:
        return module
    if how == "ddp":
        # sequences within one anchor chunk never read what the memory learned, so its gates get no gradient
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(processes.device.type, (processes.world,))
    frozen = {p for p in module.parameters() if not p.requires_grad}
    for shard in shards:
        fully_shard(shard, mesh=mesh, ignored_params={p for p in shard.parameters() if p in frozen})
    fully_shard(module, mesh=mesh, ignored_params=frozen)
    return module


@contextlib.contextmanager
def gradients_synchronised(module: nn.Module, yes: bool) -> Iterator[None]:
    """Whether the backward pass inside exchanges gradients; only the last of an accumulated step has to."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        with contextlib.nullcontext() if yes else module.no_sync():
            yield
        return
    sharded: Any = module
    if hasattr(module, "set_requires_gradient_sync"):
        sharded.set_requires_gradient_sync(yes)
    yield


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together on every process; any other as it is."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach()


@torch.no_grad()
def fill(tensor: Tensor, value: Tensor) -> None:
    """Overwrite a tensor, sharded or not, with the whole ``value``."""
    if hasattr(tensor, "full_tensor"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(tensor, DTensor)
        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)
