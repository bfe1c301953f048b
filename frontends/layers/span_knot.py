"""The span-knot layer: a Gated DeltaNet whose output may be corrected by a discrete relaxation towards a memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chimerac.frontends.layers import ops
from chimerac.frontends.layers.gated_deltanet import GatedDeltaNet
from chimerac.frontends.layers.knot import KnotTargets, bipolar, normalize, project, project_back, random_signs, relax
from chimerac.frontends.layers.mixer import State
from chimerac.frontends.layers.precision import float32_island
from chimerac.frontends.layers.shapes import SpanKnotShape
from chimerac.runtime.bundle_format.constants import KNOT_HIT, KNOT_MEMORY


class SpanKnot(GatedDeltaNet):
    """u = GatedDeltaNet(x); with targets, y = u + kappa * P^T (z_end - z_0) / n, else y = u.

    P is a fixed random projection that is never stored: signs from a counter generator and a Walsh-Hadamard transform.
    ``kappa`` [D] starts at zero. In the export form the memory is one for all tokens of a call, in ``KNOT_MEMORY`` and
    ``KNOT_HIT`` of the state that ``step`` gets, or there is none; ``targets`` must be None there.

    Attributes:
        targets: the memory to relax towards; None in pre-training.
    """

    def __init__(self, shape: SpanKnotShape, layer: int) -> None:
        super().__init__(shape, exact_flow=shape.efla)
        self.knot, self.hidden = shape.knot, shape.hidden
        self.kappa = nn.Parameter(torch.zeros(shape.hidden))
        half = shape.knot.sketch_bits // 2
        # a plain attribute, not a buffer: it is never stored nor exported
        self.signs = torch.stack([random_signs(half, shape.seed, layer, copy) for copy in range(2)])
        self.targets: KnotTargets | None = None

    def forward(self, x: Tensor, state: State | None = None, position: int = 0) -> tuple[Tensor, State]:
        u, state = super().forward(x, state, position)
        return (u if self.targets is None else u + self.correction(u, self.targets)), state

    def step(self, x: Tensor, state: State, position: Tensor, write: Tensor) -> tuple[Tensor, State]:
        u, after = super().step(x, state, position, write)
        if KNOT_MEMORY in state:
            rounds = self.knot.max_iterations if self.knot.flips else 0
            rule = (max(self.knot.flips, 1), rounds, self.knot.memory_weight, self.knot.early_exit)
            return ops.knot_relax(u, self.kappa, self.signs, state[KNOT_MEMORY], state[KNOT_HIT], *rule), after
        return (u if self.targets is None else u + self.correction(u, self.targets)), after

    def correction(self, u: Tensor, targets: KnotTargets) -> Tensor:
        """What the relaxation adds to u [..., D]; zero where no bit was flipped."""
        return _correction(u, self.signs.to(u.device), self.kappa, targets, self)


@float32_island
def _correction(u: Tensor, signs: Tensor, kappa: Tensor, targets: KnotTargets, layer: SpanKnot) -> Tensor:
    f = normalize(project(u, signs))
    z = bipolar(f)
    moved = z * (relax(f.detach(), targets, layer.knot).flips - 1)
    return kappa * project_back(moved, signs, layer.hidden) / f.shape[-1]
