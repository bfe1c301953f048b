"""Seeded random weights: each parameter's numbers depend on the seed and its name only, not on threads or order."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from chimerac.frontends.architecture import ChimeraShape
from chimerac.frontends.models.chimera import ChimeraModel

RATE_RANGE = (1e-3, 16.0)  #: of exp(A_log) in the delta-rule layers
STEP_RANGE = (1e-3, 0.1)  #: of softplus(dt_bias) there, drawn log-uniformly
LOOP_STEP = 0.5 * math.log(5)  #: softplus(dt_bias) of the loop injection: decay sqrt(1/5)
INPUT_GATE_BIAS, FORGET_GATE_BIAS = -10.0, (3.0, 6.0)  #: mLSTM: closed at first; heads from short to long memory
ALPHA_BIAS = math.log(0.01 / 0.99)  #: Titans: forgets 1 % per token


def initialise(model: ChimeraModel, seed: int) -> None:
    """Overwrite every parameter and routing bias of ``model``.

    Matrices are N(0, init_std); matrices that write to the residual stream are divided by sqrt(2 * layer visits at the
    default loop count).
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
            generator = np.random.Generator(np.random.Philox(key=[seed, int.from_bytes(digest, "little")]))
            parameter.copy_(_values(name, parameter, model.shape, generator))
        for name, buffer in model.named_buffers():
            if name.endswith("router_bias"):
                buffer.zero_()


def residual_scale(shape: ChimeraShape) -> float:
    """1 / sqrt(2 n), n layer visits of a token: each visit adds a mixer's and a network's output to the stream."""
    visits = shape.layers
    if shape.loop is not None:
        visits += (shape.loop.default - 1) * (shape.loop.last - shape.loop.first + 1)
    return 1 / math.sqrt(2 * visits)


def _values(name: str, like: Tensor, shape: ChimeraShape, generator: np.random.Generator) -> Tensor:
    parent, _, leaf = name.rpartition(".")
    owner = parent.rpartition(".")[2]
    size = tuple(like.shape)
    if leaf == "down_norm" or owner.endswith("norm") or (parent == "loop" and leaf in ("B", "C")):
        return torch.ones(size)
    if leaf == "kappa" or (parent == "loop" and leaf == "A_log"):
        return torch.zeros(size)
    if leaf == "A_log":
        return torch.from_numpy(np.log(generator.uniform(*RATE_RANGE, size))).float()
    if leaf == "dt_bias":
        step = np.full(size, LOOP_STEP)
        if parent != "loop":
            step = np.exp(generator.uniform(math.log(STEP_RANGE[0]), math.log(STEP_RANGE[1]), size))
        return torch.from_numpy(step + np.log(-np.expm1(-step))).float()  # inverse of softplus
    if leaf == "bias":
        return _gate_bias(owner, like.numel())
    if owner.endswith("conv"):
        bound = 1 / math.sqrt(shape.conv_size)
        return torch.from_numpy(generator.uniform(-bound, bound, size)).float()
    deviation = shape.init_std
    if leaf == "memory_init":
        deviation = 1 / math.sqrt(shape.head_width)  # its inputs have unit length, so its hidden units see O(1/sqrt d)
    elif owner in ("o_proj", "down_proj") or leaf == "down_proj":
        deviation *= residual_scale(shape)
    return torch.from_numpy(generator.normal(0, deviation, size)).float()


def _gate_bias(owner: str, heads: int) -> Tensor:
    if owner == "i_proj":
        return torch.full((heads,), INPUT_GATE_BIAS)
    if owner == "f_proj":
        return torch.linspace(*FORGET_GATE_BIAS, heads)
    return torch.full((heads,), {"eta_proj": 0.0, "theta_proj": 0.0, "alpha_proj": ALPHA_BIAS}[owner])
