"""Caches of codes of 4 bits: their bytes, and products with queries and weights that become codes of 8 bits.

Codes are float32 numbers here, whose products and sums are integers below 2**24.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from chimerac.compiler.ir.ops.cached_attention import CHUNK, GROUP, LEAST_TOP
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK, LARGEST_HALF, LARGEST_NIBBLE, LEAST_SCALE, spans
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.targets.onnx.graph import Nodes
from chimerac.targets.onnx.rotations import transformed

LARGEST = 127.0  #: code of 8 bits


@dataclass(frozen=True)
class Nibbles:
    """Rows of ``width`` numbers as codes of 4 bits."""

    width: int

    @property
    def blocks(self) -> int:
        return blocks(self.width, CODE_BLOCK)

    def parts(self, nodes: Nodes, rows: str) -> str:
        """[A, B, width] -> [A, B, blocks, CODE_BLOCK], with zeros beyond the width."""
        return nodes.reshape(nodes.pad_last(rows, 3, -self.width % CODE_BLOCK), 0, 0, -1, CODE_BLOCK)

    def rotated(self, nodes: Nodes, rows: str, heads: int) -> str:
        """``rotated`` of rows [A, heads, width]."""
        found = []
        for start, stop, size in spans(self.width):
            part = nodes.slice(rows, start, stop, 2) if stop - start < self.width else rows
            found.append(nodes.reshape(transformed(nodes, part, size), -1, heads, stop - start))
        return nodes.op("Concat", *found, axis=2) if len(found) > 1 else found[0]

    def coded(self, nodes: Nodes, rows: str, kept: int) -> tuple[str, str]:
        """``coded4`` of rows [A, kept, width] that are rotated: u8 [A, B, bytes], f16 [A, B, blocks]."""
        parts, axis = self.parts(nodes, self.rotated(nodes, rows, kept)), nodes.i64([3])
        high = nodes.op("Max", nodes.op("ReduceMax", parts, axis, keepdims=1), nodes.f32(0.0))
        low = nodes.op("Neg", nodes.op("Min", nodes.op("ReduceMin", parts, axis, keepdims=1), nodes.f32(0.0)))
        sizes = nodes.op("Div", nodes.op("Max", high, low), nodes.f32(float(LARGEST_NIBBLE)))
        sizes = nodes.op("Clip", sizes, nodes.f32(LEAST_SCALE), nodes.f32(LARGEST_HALF))
        scales = nodes.op("Where", nodes.op("Greater", high, low), nodes.op("Neg", sizes), sizes)
        scales = nodes.op("Cast", scales, to=TensorProto.FLOAT16)
        codes = nodes.op("Round", nodes.op("Div", parts, nodes.to_float(scales)))
        codes = nodes.op("Clip", codes, nodes.f32(-LARGEST_NIBBLE), nodes.f32(LARGEST_NIBBLE - 1))
        wrapped = nodes.op("Add", codes, nodes.f32(2 * LARGEST_NIBBLE))
        codes = nodes.op("Where", nodes.op("Less", codes, nodes.f32(0.0)), wrapped, codes)
        bytes_ = nodes.op("Cast", self._joined(nodes, codes), to=TensorProto.UINT8)
        return bytes_, nodes.op("Squeeze", scales, axis)

    def _joined(self, nodes: Nodes, codes: str) -> str:
        """The numbers of bytes, of codes from 0 to 15."""
        flat = nodes.reshape(codes, 0, 0, self.blocks * CODE_BLOCK)
        pairs = nodes.reshape(nodes.pad_last(flat, 3, self.blocks % 2 * CODE_BLOCK), 0, 0, -1, 2, CODE_BLOCK)
        low, high = (nodes.op("Gather", pairs, nodes.i64(half), axis=3) for half in (0, 1))
        joined = nodes.op("Add", low, nodes.op("Mul", high, nodes.f32(16.0)))
        return nodes.reshape(joined, 0, 0, blocks(self.blocks, 2) * CODE_BLOCK)

    def codes(self, nodes: Nodes, packed: str) -> str:
        """Codes f32 [A, B, blocks, CODE_BLOCK] of bytes."""
        number = nodes.reshape(nodes.op("Cast", packed, to=TensorProto.FLOAT), 0, 0, -1, 1, CODE_BLOCK)
        high = nodes.op("Floor", nodes.op("Div", number, nodes.f32(16.0)))
        low = nodes.op("Sub", number, nodes.op("Mul", high, nodes.f32(16.0)))
        both = nodes.op("Concat", low, high, axis=3)
        wrapped = nodes.op("Sub", both, nodes.f32(2 * LARGEST_NIBBLE))
        both = nodes.op("Where", nodes.op("Less", both, nodes.f32(LARGEST_NIBBLE)), both, wrapped)
        whole = nodes.reshape(both, 0, 0, 2 * blocks(self.blocks, 2), CODE_BLOCK)
        return nodes.slice(whole, 0, self.blocks, 2) if self.blocks % 2 else whole

    def query(self, nodes: Nodes, q: str, kept: int, group: int) -> tuple[str, str]:
        """Queries [T, H, width] as codes of 8 bits [T, G, g, 1, blocks, CODE_BLOCK] and scales [T, G, g, 1, blocks]."""
        parts = self.parts(nodes, self.rotated(nodes, q, kept * group))
        largest = nodes.op("ReduceMax", nodes.op("Abs", parts), nodes.i64([3]), keepdims=1)
        scales = nodes.op("Div", largest, nodes.f32(LARGEST))
        scales = nodes.op("Clip", scales, nodes.f32(LEAST_SCALE), nodes.f32(LARGEST_HALF))
        scales = nodes.to_float(nodes.op("Cast", scales, to=TensorProto.FLOAT16))
        codes = _rounded(nodes, nodes.op("Div", parts, scales))
        shape = (-1, kept, group, 1, self.blocks)
        return nodes.reshape(codes, *shape, CODE_BLOCK), nodes.reshape(scales, *shape)

    def dots(self, nodes: Nodes, query: tuple[str, str], keys: tuple[str, str]) -> str:
        """Of ``query`` with the codes and scales f32 [G, rows, blocks] of keys -> [T, G, g, rows]."""
        codes, scales = (nodes.unsqueeze(one, 1) for one in keys)
        sums = nodes.op("ReduceSum", nodes.op("Mul", query[0], codes), nodes.i64([5]), keepdims=0)
        terms = nodes.op("Mul", sums, nodes.op("Mul", query[1], scales))
        found, *rest = (nodes.op("Gather", terms, nodes.i64(block), axis=4) for block in range(self.blocks))
        for term in rest:
            found = nodes.op("Add", found, term)
        return found

    def added(self, nodes: Nodes, out: str, weights: str, values: tuple[str, str], kept: int, group: int) -> str:
        """``out`` [T, H, width], and the rows of a chunk times weights [T, H, CHUNK].

        Args:
            values: codes and scales f32 [G, rows, blocks].
        """
        weights = nodes.reshape(weights, -1, kept, group, CHUNK, 1)
        scaled = nodes.op("Mul", weights, nodes.unsqueeze(values[1], 1))  # [T, G, g, rows, blocks]
        codes = nodes.unsqueeze(values[0], 1)
        for begin in range(0, CHUNK, GROUP):
            own = nodes.slice(scaled, begin, begin + GROUP, 3)
            top = nodes.op("ReduceMax", nodes.op("Abs", own), nodes.i64([3]), keepdims=1)
            top = nodes.op("Max", top, nodes.f32(LEAST_TOP))
            rounded = _rounded(nodes, nodes.op("Mul", own, nodes.op("Div", nodes.f32(LARGEST), top)))
            some = nodes.slice(codes, begin, begin + GROUP, 2)
            products = nodes.op("Mul", nodes.unsqueeze(rounded, 5), some)
            sums = nodes.op("ReduceSum", products, nodes.i64([3]), keepdims=1)  # [T, G, g, 1, blocks, CODE_BLOCK]
            terms = nodes.op("Mul", sums, nodes.unsqueeze(nodes.op("Div", top, nodes.f32(LARGEST)), 5))
            whole = nodes.reshape(terms, -1, kept * group, self.blocks * CODE_BLOCK)
            out = nodes.op("Add", out, nodes.slice(whole, 0, self.width, 2) if self.width % CODE_BLOCK else whole)
        return out


def _rounded(nodes: Nodes, x: str) -> str:
    """Codes of 8 bits, but for what is no number."""
    return nodes.op("Clip", nodes.op("Round", x), nodes.f32(-LARGEST), nodes.f32(LARGEST))
