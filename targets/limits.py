"""Sizes of blocks and groups that a target has kernels for, checked before anything is read, traced or compiled.

What an instruction set takes, its file says (``Isa.blocks``).
"""

from __future__ import annotations

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Module, walk
from chimerac.targets.isa import Blocks, load_isa
from chimerac.targets.registry import Target

#: Of the targets that have no instruction set. MatMulNBits multiplies each block exactly; the fused form has one for
#: the whole matrix, with the blocks that it knows.
ONNX = {"onnx": Blocks(multiple=1, largest=256), "onnx-fused": Blocks(multiple=16, largest=256, powers=True)}

BLOCK_KEY, GROUP_KEY = "quantization.activation_block_size", "quantization.group_size"


def blocks_of(target: Target) -> list[Blocks]:
    """What all the code of a target's bundle takes: that of each of its modules."""
    if target.isa in ONNX:
        return [ONNX[target.isa]]
    return [load_isa(name).blocks for name in dict.fromkeys((target.isa, *(m.isa for m in target.modules)))]


def check_quantization(block: int, group: int, target: Target) -> None:
    """Raise UserError CHM305 if a target has no kernels for a config's block of activations and group of weights."""
    for blocks in blocks_of(target):
        if not blocks.take_block(block):
            raise UserError(
                "CHM305",
                f"{BLOCK_KEY} {block} is nothing that the target {target.name} has kernels for",
                hint=f"it takes {blocks}",
            )
        if not blocks.take(block, group):
            raise UserError(
                "CHM305",
                f"{GROUP_KEY} {group} is nothing that the target {target.name} has kernels for",
                hint=f"it takes multiples of {BLOCK_KEY}, which is {block}",
            )


def check_products(module: Module, target: Target) -> None:
    """Raise UserError CHM305 if a target has no kernels for the blocks and groups of an imported module's products."""
    for graph in module.graphs.values():
        for op in walk(graph.ops):
            if "block" in op.attributes and "group" in op.attributes:
                block, group = op.integer("block"), op.integer("group")
                if op.name == "ternary_row_linear" and target.isa == "onnx-fused":
                    message = f"the target {target.name} rounds activations itself, block by block ({op.location})"
                    hint = "take the target onnx, or activations in blocks (--activations blocks)"
                    raise UserError("CHM305", message, hint=hint)
                for blocks in blocks_of(target):
                    trits = op.name in ("ternary_linear", "ternary_row_linear")
                    columns = int(op.operands[1].type.shape[-1]) if trits else 0
                    if not (blocks.take_trits(block, group, columns) if trits else blocks.take(block, group)):
                        what = f"{op.name} has blocks of {block} and groups of {group} channels"
                        raise UserError(
                            "CHM305",
                            f"{what}, for which the target {target.name} has no kernels ({op.location})",
                            hint=f"it takes blocks of {blocks}, and groups of whole blocks",
                        )
