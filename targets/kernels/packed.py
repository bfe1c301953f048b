"""A matrix of packed trits as kernels see it: its sizes, and places in memory."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.layouts import COLUMNS_PER_STEP, form_of, ternary_bytes
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, Memory, constant

STRAIGHT = 512  #: most columns of a group that is all of a row and is read without a loop
RUN = 128  #: columns of a turn of that loop, about


@dataclass(frozen=True)
class Place:
    """Memory from an element on."""

    memory: Memory
    start: int | Expr = 0

    def load(self, index: int | Expr, lanes: int = 1) -> Expr:
        return self.memory.load(self.start + index, lanes)


@dataclass(frozen=True)
class Product:
    """Sizes of a matrix product with packed trits."""

    rows: int
    columns: int
    group: int
    block: int
    panel_rows: int
    form: str

    @staticmethod
    def of(spec: KernelSpec, isa: Isa) -> Product:
        """From the attributes of an op."""
        return Product.of_sizes(spec, isa, form_of(spec.operands[2].layout))

    @staticmethod
    def of_sizes(spec: KernelSpec, isa: Isa, form: str) -> Product:
        """From the attributes of an op whose weights are in another layout than the product reads."""
        rows, columns, group, block = (spec.integer(name) for name in ("rows", "columns", "group", "block"))
        product = Product(rows, columns, group, block, isa.panel_rows, form)
        if not isa.blocks.take_trits(block, group, columns):
            raise InternalError(f"no ternary kernel for group {product.group}, block {product.block}")
        return product

    @property
    def panels(self) -> int:
        return -(-self.rows // self.panel_rows)

    @property
    def groups(self) -> int:
        return -(-self.columns // self.group)

    @property
    def blocks(self) -> int:
        return -(-self.columns // self.block)

    @property
    def one_group(self) -> bool:
        """Whether a row has one scale, and its columns are read in a loop."""
        return self.group > STRAIGHT and self.group >= self.columns

    @property
    def one_block(self) -> bool:
        """Whether, beside that, all activations have one scale, so that a row is one integer sum."""
        return self.one_group and self.block > STRAIGHT

    @property
    def run(self) -> int:
        """Columns whose code is straight: those of a group, or of a turn of the loop over a row."""
        if not self.one_group:
            return self.group
        return RUN if self.one_block else self.block * max(1, RUN // self.block)

    @property
    def piece(self) -> int:
        """Columns that are added up as integers before anything else."""
        return self.run if self.one_block else self.block

    @property
    def pieces(self) -> int:
        return -(-self.columns // self.piece)

    @property
    def steps(self) -> int:
        return -(-self.columns // COLUMNS_PER_STEP)

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector of weights of a panel."""
        return 4 * self.panel_rows

    @property
    def panel_bytes(self) -> int:
        return ternary_bytes(self.panel_rows, self.columns, self.panel_rows, self.form)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of one packed matrix; expert e starts at e times this."""
        return self.panels * self.panel_bytes

    @property
    def matrix_scales(self) -> int:
        """fp16 scales of one matrix."""
        return self.panels * self.groups * self.panel_rows

    def store_panel(self, b: KernelBuilder, result: Place, column: int, panel: Expr, value: Expr) -> None:
        """The results of a column of activations for a panel, but not those of rows that pad the last one."""
        start, rest = result.start + column * self.rows + panel * self.panel_rows, self.rows % self.panel_rows
        if not rest:
            b.store(result.memory, start, value)
            return
        with b.when(tirx.LT(panel, constant(self.panels - 1, "int32"))):
            b.store(result.memory, start, value)
        with b.when(tirx.EQ(panel, constant(self.panels - 1, "int32"))):
            for lane in range(rest):
                b.store(result.memory, start + lane, tirx.Shuffle([value], [constant(lane, "int32")]))
