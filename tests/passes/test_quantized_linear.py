"""quantized_linear: float weights become small integers with scales, products take quantised activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from ir_text import ir_text
from ir_tools import assert_rewrites, assert_same_bits, entered, module_of, rewrite, trace
from nano_model import nano_module

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import InternalError, UserError
from chimerac.compiler.ir.module import Constant, Module
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16
from chimerac.compiler.ir.quantised import Kind, Quantised, dequantise
from chimerac.compiler.ir.types import TensorType
from chimerac.passes.common_subexpressions import CommonSubexpressions
from chimerac.passes.quantized_linear import QuantizedLinear

BEFORE = ir_text(
    "table: f32[10,20], up: f32[12,20]",
    """
    %x: f32[T,20] = int8_embedding(%tokens, %table) {group=8}
    %a: f32[T,12] = ternary_linear(%x, %up) {block=4, group=8}
    %y: f32[T,10] = int8_linear(%x, %table) {block=4, group=8}
    return %y
    """,
)


def test_tied_tables_of_other_formats() -> None:
    """A product and a look-up of one weight read one constant."""
    before = ir_text(
        "table: f32[10,20], wide: f32[10,20]",
        """
        %a: f32[T,20] = ternary_embedding(%tokens, %table) {group=8}
        %b: f32[T,20] = bfloat16_embedding(%tokens, %wide)
        %x: f32[T,20] = add(%a, %b)
        %y: f32[T,10] = ternary_linear(%x, %table) {block=4, group=8}
        %z: f32[T,10] = bfloat16_linear(%x, %wide)
        %s: f32[T,10] = add(%y, %z)
        return %s
        """,
    )
    module = module_of(before)
    changed = rewrite(QuantizedLinear(), module)
    made = set(changed.constants) - set(module.constants)
    assert made == {"table.trits", "table.trits_scales", "wide.bf16"}
    assert str(changed.constants["wide.bf16"].type) == "bf16[10,20]"
    names = [op.name for op in changed.graphs["main"].ops if op.name != "constant"]
    assert names == ["ternary_look_up", "embedding", "add", "quantize", "ternary_matmul", "linear", "add"]
    assert_same_bits(changed.constants["wide.bf16"].data, to_bfloat16(module.constants["wide"].data))


def test_numbers_that_float16_has_not() -> None:
    text = ir_text("wide: f32[10,20]", "%y: f32[T,20] = float16_embedding(%tokens, %wide)\nreturn %y")
    module = module_of(text)
    data = module.constants["wide"].data.copy()
    data[3, 4] = 7e4
    held = replace(module.constants["wide"], source=data)
    with pytest.raises(UserError, match="wide has numbers up to 70000, and float16 none over 65504") as caught:
        QuantizedLinear().run(replace(module, constants={"wide": held}))
    assert caught.value.code == "CHM242"


def test_text_and_data() -> None:
    after = ir_text(
        "table: f32[10,20], up: f32[12,20]",
        """
        %c_table_int8: i8[10,20] = constant() {name='table.int8'}
        %c_table_int8_scales: f16[10,3] = constant() {name='table.int8_scales'}
        %look_up: f32[T,20] = look_up(%tokens, %c_table_int8, %c_table_int8_scales) {group=8}
        %q: i8[T,20], %q_2: f32[T,5] = quantize(%look_up) {block=4}
        %c_up_trits: i8[12,20] = constant() {name='up.trits'}
        %c_up_trits_scales: f16[12,3] = constant() {name='up.trits_scales'}
        %a_2: f32[T,12] = ternary_matmul(%q, %q_2, %c_up_trits, %c_up_trits_scales) {SIZES12}
        %q_3: i8[T,20], %q_4: f32[T,5] = quantize(%look_up) {block=4}
        %c_table_int8_2: i8[10,20] = constant() {name='table.int8'}
        %c_table_int8_scales_2: f16[10,3] = constant() {name='table.int8_scales'}
        %y_2: f32[T,10] = int8_matmul(%q_3, %q_4, %c_table_int8_2, %c_table_int8_scales_2) {SIZES10}
        return %y_2
        """,
        "constant table.int8: i8[10,20]",
        "constant table.int8_scales: f16[10,3]",
        "constant up.trits: i8[12,20]",
        "constant up.trits_scales: f16[12,3]",
    )
    changed = assert_rewrites(QuantizedLinear(), BEFORE, after.replace("SIZES", "block=4, columns=20, group=8, rows="))
    for name, split in (("up.trits", ternarise), ("table.int8", quantise_rows)):
        codes, scales = split(changed.constants[name.split(".")[0]].data, 8)
        assert_same_bits(changed.constants[name].data, codes)
        assert_same_bits(changed.constants[f"{name}_scales"].data, scales)
    merged = CommonSubexpressions().run(changed).module
    assert [op.name for op in merged.graphs["main"].ops].count("quantize") == 1


def test_activations_with_one_scale_for_a_row() -> None:
    blocks = BEFORE.replace("return %y", "return %a")
    module = entered(module_of(blocks.replace("ternary_linear", "ternary_row_linear")))
    changed = rewrite(QuantizedLinear(), module)
    rules = [op.attributes for op in changed.graphs["decode"].ops if op.name == "quantize"]
    assert {"block": 4, "row": 1} in rules
    assert trace(changed) == trace(module)
    assert trace(changed) != trace(rewrite(QuantizedLinear(), entered(module_of(blocks))))


def test_same_numbers() -> None:
    module = entered(module_of(BEFORE))
    assert trace(rewrite(QuantizedLinear(), module)) == trace(module)


def test_a_weight_in_groups_of_two_sizes_has_codes_of_both() -> None:
    text = BEFORE.replace("int8_embedding(%tokens, %table) {group=8}", "int8_embedding(%tokens, %table) {group=16}")
    module = entered(module_of(text))
    lowered = rewrite(QuantizedLinear(), module)
    assert trace(lowered) == trace(module)
    assert lowered.constants["table.int8_scales"].type.shape == (10, 2)
    assert lowered.constants["table.g8.int8_scales"].type.shape == (10, 3)


def test_ternary_and_int8_codes_of_one_weight() -> None:
    text = BEFORE.replace("int8_linear", "ternary_linear")
    module = entered(module_of(text))
    lowered = rewrite(QuantizedLinear(), module)
    assert {"table.int8", "table.trits"} <= lowered.constants.keys()
    assert trace(lowered) == trace(module)


def test_the_note_counts_matrices_and_zeros() -> None:
    up = np.tile(np.array([1, 0, 0, -1], np.float32), (12, 5))
    module = module_of(BEFORE, {"up": up})
    assert QuantizedLinear().run(module).notes == ("quantised 2 matrices; 50.0% of the trits are zero",)


def test_weights_must_be_constants() -> None:
    ops = ("%n: f32[12,20] = neg(%up)", "%z: f32[T,12] = ternary_linear(%x, %n) {block=4, group=8}", "return")
    text = BEFORE.replace("return", "\n".join(ops))
    with pytest.raises(InternalError, match=r"ternary_linear needs a constant weight, not %n"):
        QuantizedLinear().run(module_of(text))


def test_every_matrix_of_the_nano_model() -> None:
    module = nano_module()
    for step in pipeline.passes():
        module = rewrite(step, module)
        if isinstance(step, QuantizedLinear):
            break
    codes = {n for n in module.constants if n.endswith((".trits", ".int8"))}
    ternary = [op for op in nano_module().constants if op.endswith("_proj.weight") and f"{op}.trits" in codes]
    assert len([n for n in codes if n.endswith(".int8")]) == 1
    assert len(ternary) > 40
    for name in codes:
        assert set(np.unique(module.constants[name].data)) <= (
            {-1, 0, 1} if name.endswith(".trits") else set(range(-127, 128))
        )


def given(module: Module, kind: Kind, name: str, group: int, seed: int) -> tuple[Module, Quantised]:
    """The module with a weight given as integers whose scales no rounding of floats would find."""
    rng = np.random.default_rng(seed)
    rows, columns = (int(d) for d in module.constants[name].type.shape)
    most = 1 if kind == "trits" else 90  # int8 rows are scaled to 127, so that the floats have other codes
    codes = rng.integers(-most, most + 1, (rows, columns)).astype(np.int8)
    codes[0, :group] = 0
    scales = rng.uniform(1e-6, 2, (rows, -(-columns // group))).astype(np.float16)
    whole = [Constant(TensorType.of(a), a) for a in (codes, scales)]
    source = Quantised(kind, group, *whole)
    changed = {**module.constants, name: replace(module.constants[name], source=source)}
    return replace(module, constants=changed), source


@pytest.mark.parametrize(("kind", "name"), [("trits", "up"), ("int8", "table")])
def test_given_integers_are_taken_as_they_are(kind: Kind, name: str) -> None:
    module, source = given(entered(module_of(BEFORE)), kind, name, 8, 1)
    lowered = rewrite(QuantizedLinear(), module)
    assert lowered.constants[f"{name}.{kind}"].data is source.codes.data
    assert lowered.constants[f"{name}.{kind}_scales"].data is source.scales.data
    if kind == "trits":
        assert trace(lowered) == trace(module)  # the value of trits rounds to them again


def test_given_integers_of_another_group_or_kind_are_rounded_from_their_value() -> None:
    for kind, group in (("trits", 4), ("int8", 8)):
        module, source = given(entered(module_of(BEFORE)), kind, "up", group, 2)  # type: ignore[arg-type]
        lowered = rewrite(QuantizedLinear(), module)
        value = dequantise(source.codes.data, source.scales.data, group)
        for suffix, expected in zip(("trits", "trits_scales"), ternarise(value, 8), strict=True):
            assert_same_bits(lowered.constants[f"up.{suffix}"].data, expected)
        assert trace(lowered) == trace(module)


@pytest.mark.parametrize(
    ("name", "place", "number"), [("up", (3, slice(8, 16)), 7e4), ("up", (0, 0), 1e38), ("table", (1, 1), 1e7)]
)
def test_scales_that_overflow_are_refused_by_name(name: str, place: tuple[int, int], number: float) -> None:
    module = module_of(BEFORE)
    module.constants[name].data[place] = number
    with pytest.raises(UserError, match=rf"^{name} has a .*65504") as caught:
        QuantizedLinear().run(module)
    assert caught.value.code == "CHM242"
    constant = module.constants[name]
    read: list[int] = []

    def parts() -> Iterator[np.ndarray]:
        for row in constant.data:
            read.append(len(read))
            yield row[None]

    streamed = {**module.constants, name: replace(constant, source=parts)}
    lowered = QuantizedLinear().run(replace(module, constants=streamed)).module
    with pytest.raises(UserError, match=rf"^{name} has a .*65504"):
        list(lowered.constants[f"{name}.{'trits' if name == 'up' else 'int8'}"].parts())
    assert read == list(range({"up": 3 if place[0] else 0, "table": 1}[name] + 1))  # refused when the part is read


def test_products_of_experts() -> None:
    before = ir_text(
        "a: f32[3,6,20], b: f32[3,6,20], c: f32[3,6,20], table: f32[10,20]",
        """
        %x: f32[T,20] = embedding(%tokens, %table)
        %p: f32[T,3] = slice(%x) {axis=1, start=0, step=1, stop=3}
        %e: i32[T,1] = argmax(%p)
        %order: i32[T,1], %place: i32[T,1], %offsets: i32[4] = sort_pairs(%e) {experts=3}
        %r: f32[T,1,20] = gather_rows(%x, %order)
        %u: f32[T,1,6] = grouped_ternary_linear(%r, %a, %offsets) {block=4, group=8}
        %v: f32[T,1,6] = grouped_int8_linear(%r, %b, %offsets) {block=4, group=8}
        %w: f32[T,1,6] = grouped_bfloat16_linear(%r, %c, %offsets)
        %s: f32[T,1,6] = add(%u, %v)
        %y: f32[T,1,6] = add(%s, %w)
        %z: f32[T,6] = reshape(%y) {shape="T,6"}
        return %z
        """,
    )
    changed = rewrite(QuantizedLinear(), module_of(before))
    names = [op.name for op in changed.graphs["main"].ops if "grouped" in op.name or op.name == "quantize"]
    expected = ["grouped_ternary_matmul", "grouped_int8_matmul", "grouped_linear"]
    assert [name for name in names if name != "quantize"] == expected
    assert str(changed.constants["c.bf16"].type) == "bf16[3,6,20]"
    assert str(changed.constants["b.int8_scales"].type) == "f16[3,6,3]"
