"""Seeded random weights: each parameter's numbers depend on the seed and its name only, not on threads or order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.drawing import generator_of, normal_parts

RATE_RANGE = (1e-3, 16.0)  #: of exp(A_log) in the delta-rule layers
STEP_RANGE = (1e-3, 0.1)  #: of softplus(dt_bias) there, drawn log-uniformly
LOOP_STEP = 0.5 * math.log(5)  #: softplus(dt_bias) of the loop injection: decay sqrt(1/5)
INPUT_GATE_BIAS, FORGET_GATE_BIAS = -10.0, (3.0, 6.0)  #: mLSTM: closed at first; heads from short to long memory
ALPHA_BIAS = math.log(0.01 / 0.99)  #: Titans: forgets 1 % per token


def initial_parts(
    name: str, size: tuple[int, ...], shape: ChimeraShape, seed: int, elements: int
) -> Iterator[np.ndarray]:
    """The initial values of one tensor, float32, in parts along its first axis of about ``elements`` numbers.

    Matrices are N(0, init_std); matrices that write to the residual stream are divided by sqrt(2 * layer visits at the
    default loop count).
    """
    generator = generator_of(seed, name)
    deviation = _deviation(name, size, shape)
    if deviation is None:
        yield _values(name, size, shape, generator)
    else:
        yield from normal_parts(generator, size, deviation, elements)


def residual_scale(shape: ChimeraShape) -> float:
    """1 / sqrt(2 n), n layer visits of a token: each visit adds a mixer's and a network's output to the stream."""
    visits = shape.layers
    if shape.loop is not None:
        visits += (shape.loop.default - 1) * (shape.loop.last - shape.loop.first + 1)
    return 1 / math.sqrt(2 * visits)


def _values(name: str, size: tuple[int, ...], shape: ChimeraShape, generator: np.random.Generator) -> np.ndarray:
    """Everything that is not normally distributed; these tensors are small."""
    parent, _, leaf = name.rpartition(".")
    owner = parent.rpartition(".")[2]
    if leaf == "down_norm" or owner.endswith("norm") or (parent == "loop" and leaf in ("B", "C")):
        values = np.ones(size)
    elif name == "draft.ids":
        values = np.arange(size[0], dtype=np.float64).reshape(size)
    elif (
        parent.startswith(("router.", "draft."))
        or leaf in ("kappa", "router_bias")
        or (parent == "loop" and leaf == "A_log")
    ):
        values = np.zeros(size)
    elif leaf == "A_log":
        values = np.log(generator.uniform(*RATE_RANGE, size))
    elif leaf == "dt_bias":
        step = np.full(size, LOOP_STEP)
        if parent != "loop":
            step = np.exp(generator.uniform(math.log(STEP_RANGE[0]), math.log(STEP_RANGE[1]), size))
        values = step + np.log(-np.expm1(-step))  # inverse of softplus
    elif leaf == "bias":
        values = _gate_bias(owner, size[0])
    else:
        assert owner.endswith("conv"), name
        bound = 1 / math.sqrt(shape.conv_size)
        values = generator.uniform(-bound, bound, size)
    return values.astype(np.float32)


def _deviation(name: str, size: tuple[int, ...], shape: ChimeraShape) -> float | None:
    """The standard deviation of a normally distributed tensor; None for the others."""
    owner, _, leaf = name.rpartition(".")
    owner = owner.rpartition(".")[2]
    if leaf == "memory_init":
        return 1 / math.sqrt(shape.head_width)  # its inputs have unit length, so its hidden units see O(1/sqrt d)
    if (
        len(size) < 2
        or leaf == "down_norm"
        or owner.endswith("conv")
        or name in ("router.scores.weight", "draft.scores.weight")
    ):
        return None
    written = owner in ("o_proj", "down_proj") or leaf == "down_proj"
    return shape.init_std * residual_scale(shape) if written else shape.init_std


def _gate_bias(owner: str, heads: int) -> np.ndarray:
    if owner == "i_proj":
        return np.full(heads, INPUT_GATE_BIAS)
    if owner == "f_proj":
        return torch.linspace(*FORGET_GATE_BIAS, heads).numpy()
    return np.full(heads, {"eta_proj": 0.0, "theta_proj": 0.0, "alpha_proj": ALPHA_BIAS}[owner])
