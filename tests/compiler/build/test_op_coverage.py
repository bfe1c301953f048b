"""Every op that can reach a stage has what that stage needs, or says why not; docs/ops.md shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chimerac.compiler.build.op_coverage import missing_kernel, ops_page
from chimerac.compiler.ir.ops import OPS
from chimerac.frontends.export.handlers import HANDLERS
from chimerac.frontends.layers import ops as _custom_ops  # noqa: F401  registers the custom ops
from chimerac.targets.kernels import find_kernel
from chimerac.targets.kernels.table import KERNELS
from chimerac.targets.onnx.translate import EXACT, FUSED

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_the_table() -> None:
    how = "python -m chimerac.compiler.build.op_coverage docs"
    assert (DOCS / "ops.md").read_text(encoding="utf-8") == ops_page(), f"write it again: {how}"


@pytest.mark.parametrize("name", OPS)
def test_an_op_has_a_kernel_or_a_reason(name: str) -> None:
    op = OPS[name]
    assert (name in KERNELS) == op.has_kernel == (missing_kernel(op) == "")
    if op.has_kernel:
        assert find_kernel(name) is KERNELS[name]


def test_tables_name_no_other_ops() -> None:
    assert KERNELS.keys() <= OPS.keys()
    assert FUSED.keys() <= EXACT.keys() <= OPS.keys()
    assert {name for handler in HANDLERS.values() for name in handler.ops} <= OPS.keys()


def test_every_op_of_a_model_can_be_imported() -> None:
    """But for those that passes or the importer itself make."""
    made = {name for handler in HANDLERS.values() for name in handler.ops}
    assert {name for name, op in OPS.items() if not op.legal("lowered")} <= made
    by_passes = {"fused", "quantize", "rms_norm_quantize", "ternary_matmul", "int8_matmul", "look_up"}
    by_passes |= {"ternary_look_up", "route", "cached_attention_int8", "cached_attention_int4"}
    by_passes |= {"ternary_sparse_matmul", "int8_sparse_matmul", "levels_matmul", "levels_look_up"}
    by_passes |= {"ternary_chosen_matmul", "int8_chosen_matmul"}
    by_passes |= {"grouped_ternary_matmul", "grouped_int8_matmul", "grouped_rms_norm"}
    assert OPS.keys() - made == by_passes | {name for name, op in OPS.items() if op.structural} - {"scan"}


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.torch is not None])
def test_declarations_are_the_signatures_of_the_custom_ops(name: str) -> None:
    """Operands are the tensors of PyTorch's signature, attributes the numbers after them, by name, type and order."""
    op = OPS[name]
    schema = getattr(torch.ops.chimera, name).default._schema
    kinds = [(argument.name, str(argument.type)) for argument in schema.arguments]
    assert [kind for _, kind in kinds[: len(op.operands)]] == ["Tensor"] * len(op.operands)
    assert kinds[len(op.operands) :] == [
        (key, kind.__name__) for key, kind in op.attributes.items() if key not in op.optional
    ]
