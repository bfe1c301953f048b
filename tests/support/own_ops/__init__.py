"""Ops of a package that is not chimerac: one with a kernel in C, one in TensorIR; both have an ONNX form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import chimerac
from chimerac.compiler.ir.custom import like_first


@torch.library.custom_op("own::squash", mutates_args=())
def squash(x: Tensor, slope: float = 0.5) -> Tensor:
    """x / (1 + slope |x|)."""
    return x / (1 + slope * x.abs())


@squash.register_fake
def _(x: Tensor, slope: float = 0.5) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("own::halves", mutates_args=())
def halves(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and weighted difference of the halves of each row."""
    a, b = x.chunk(2, -1)
    return a + b, (a - b) * weight


@halves.register_fake
def _(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    a, b = x.chunk(2, -1)
    return torch.empty_like(a), torch.empty_like(b)


def _squash(x: np.ndarray, slope: float) -> np.ndarray:
    made: np.ndarray = x / (np.float32(1) + np.float32(slope) * np.abs(x))
    return made


SQUASH = """
for (int32_t i = 0; i < out_size; ++i) {
  float steep = slope * chm_absolute(x[i]);
  out[i] = x[i] / (1.0f + steep);
}
"""


def _squash_onnx(context: Any, op: Any) -> tuple[str, ...]:
    nodes, x = context.nodes, context.value(op.operands[0])
    steep = nodes.op("Mul", nodes.f32(op.number("slope")), nodes.op("Abs", x))
    return (nodes.op("Div", x, nodes.op("Add", nodes.f32(1.0), steep)),)


def _half(operands: Any, attributes: Any) -> Any:
    x = operands[0]
    kind = x.with_shape((*x.shape[:-1], x.shape[-1] // 2))
    return kind, kind


def _halves(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.split(x, 2, axis=-1)
    return a + b, (a - b) * weight


def _halves_kernel(spec: Any, isa: Any) -> Any:
    from chimerac.targets.kernels.arithmetic import TirOps
    from chimerac.targets.kernels.tensorir import KernelBuilder

    b = KernelBuilder(spec, isa)
    (x, weight), (total, difference) = b.operands, b.results
    half = int(spec.results[0].shape[-1])
    ops = TirOps(b, 1)
    with b.loop(b.extent(spec.results[0].shape[:-1])) as row, b.loop(half) as i:
        one = b.let(x.load(row * (2 * half) + i))
        other = b.let(x.load(row * (2 * half) + half + i))
        b.store(total, row * half + i, ops.add(one, other))
        b.store(difference, row * half + i, ops.mul(ops.sub(one, other), weight.load(i)))
    return b.finish()


def _halves_onnx(context: Any, op: Any) -> tuple[str, ...]:
    nodes = context.nodes
    a, b = nodes.emit("Split", context.value(op.operands[0]), outputs=2, axis=-1, num_outputs=2)
    return nodes.op("Add", a, b), nodes.op("Mul", nodes.op("Sub", a, b), context.value(op.operands[1]))


OPS = (
    chimerac.CustomOp("own::squash", ("x",), _squash, like_first, {"slope": float}, kernel=SQUASH, onnx=_squash_onnx),
    chimerac.CustomOp("own::halves", ("x", "weight"), _halves, _half, kernel=_halves_kernel, onnx=_halves_onnx),
)


def register() -> None:
    """Let this process know them."""
    for op in OPS:
        chimerac.register_op(op)
