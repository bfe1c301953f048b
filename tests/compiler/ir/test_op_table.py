"""What holds for every entry of the op table, and type rules against operands of any kind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.types import DTYPES, TensorType, f32, i32

STRUCTURAL = {"constant", "loop", "replay", "scan", "state.read", "state.write", "walk"}

types = st.builds(
    TensorType,
    st.sampled_from(["f32", "f32", "f32", *DTYPES]),
    st.lists(st.sampled_from(["T", 1, 2, 3, 4, 8]), max_size=4).map(tuple),
)


@pytest.mark.parametrize("name", OPS)
def test_entries_are_complete(name: str) -> None:
    entry = OPS[name]
    assert entry.name == name
    assert entry.doc
    assert (entry.reference is None) == (name in STRUCTURAL)
    assert all(operand < len(entry.operands) for operand in entry.in_place.values())
    assert len(set(entry.in_place.values())) == len(entry.in_place)
    assert entry.guard is None or entry.guard in entry.operands
    assert set(entry.optional) <= entry.attributes.keys()
    assert set(entry.attributes.values()) <= {int, float, str}
    assert entry.structural == (name in STRUCTURAL)
    assert entry.regions == (name in ("loop", "replay", "scan", "walk"))
    assert entry.row_wise or not entry.elementwise
    assert entry.torch is None or entry.torch == f"chimera.{name}.default"
    assert entry.legal("imported")
    assert entry.legal("unrolled") <= entry.legal("lowered"), "what is gone stays gone"
    named = [entry.work.experts, *(() if entry.packed is None else (entry.packed.weights, entry.packed.scales))]
    assert {operand for operand in named if operand is not None} <= set(entry.operands)
    assert entry.has_kernel or entry.work.shared is None
    assert not any(o.startswith("*") for o in entry.operands[:-1])


def test_what_the_declarations_say() -> None:
    """The sets of ops that traits make, written out, so that a change of one is seen."""
    found = {
        "gone when lowered": {op.name for op in OPS.values() if not op.legal("lowered")},
        "gone when unrolled": {op.name for op in OPS.values() if op.legal("lowered") and not op.legal("unrolled")},
        "relabels": {op.name for op in OPS.values() if op.relabels is not None},
        "packed": {op.name for op in OPS.values() if op.packed is not None},
        "one row": {op.name for op in OPS.values() if op.work.one_row},
        "experts": {op.name for op in OPS.values() if op.work.experts is not None},
        "row-wise": {op.name for op in OPS.values() if op.row_wise and not op.elementwise},
        "folds": {op.name for op in OPS.values() if op.folds and not op.elementwise},
        "guarded": {op.name for op in OPS.values() if op.guard is not None},
    }
    embeddings = {"ternary_embedding", "int8_embedding", "bfloat16_embedding", "float16_embedding", "levels_embedding"}
    linears = {
        "ternary_linear",
        "ternary_row_linear",
        "int8_linear",
        "bfloat16_linear",
        "float16_linear",
        "levels_linear",
        "moe",
    }
    grouped = {f"grouped_{kind}_linear" for kind in ("ternary", "int8", "bfloat16", "float16")}
    sparse = {f"{kind}_sparse_linear" for kind in ("ternary", "int8", "bfloat16", "float16")}
    chosen = {f"{kind}_chosen_linear" for kind in ("ternary", "int8")}
    reductions = {f"reduce_{name}" for name in ("sum", "max", "min", "prod")}
    reductions |= {"argmax", "argmin", "cumsum", "softmax", "log_softmax"}
    moves = {"gather", "take_along", "unfold"}
    assert found == {
        "gone when lowered": embeddings | linears | grouped | sparse | chosen | {"int8_row_lengths"},
        "gone when unrolled": {"loop"},
        "relabels": {"reshape", "last_token"},
        "packed": {"ternary_matmul", "grouped_ternary_matmul", "ternary_look_up", "ternary_sparse_matmul"}
        | {"ternary_chosen_matmul"},
        "one row": embeddings | {"embedding", "look_up", "ternary_look_up", "levels_look_up"},
        "experts": {"grouped_ternary_matmul", "grouped_int8_matmul", "grouped_linear", "grouped_rms_norm"},
        "row-wise": linears
        | reductions
        | {"rms_norm", "l2_norm", "linear", "quantize", "slice", "concat", "pad", "unfold", "layer_norm", "sort"}
        | {"walsh_hadamard", "knot_relax", "sparse_linear", "levels_matmul", "chosen_linear"}
        | sparse
        | chosen,
        "folds": reductions | moves | {"reshape", "slice", "concat", "transpose", "pad", "matmul"},
        "guarded": {"titans_anchor", "titans_update", "window_attention"},
    }


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
@pytest.mark.parametrize("name", sorted(set(OPS) - STRUCTURAL))
def test_type_rules_take_operands_or_say_why_not(name: str, data: st.DataObject) -> None:
    entry = OPS[name]
    variadic = bool(entry.operands) and entry.operands[-1].startswith("*")
    extra = data.draw(st.integers(0, 3)) if variadic else 0
    count = len(entry.operands) - variadic + extra
    pool = data.draw(st.lists(types, min_size=1, max_size=3))  # few types, so that some operands agree
    operands = [data.draw(st.sampled_from(pool)) for _ in range(count)]
    sizes = st.sampled_from([1, 2, 3, 4, 8])
    attributes: dict[str, Attribute] = {a: data.draw(sizes) for a in entry.attributes}
    if "perm" in attributes:
        attributes["perm"] = data.draw(st.sampled_from(["0", "1,0", "0,2,1", "2,1,0,3", "", "T"]))
    for name in {"kernel", "stride", "dilation"} & attributes.keys():
        attributes[name] = data.draw(st.sampled_from(["1", "2", "1,2", "", "T"]))
    if "value" in attributes:
        attributes["value"] = 0.5
    if "expression" in attributes:
        attributes["expression"] = data.draw(st.sampled_from(["neg(a0)", "less(a0,a1);where(t0,a0,a1)", "b", "a(t1)"]))
    if "shape" in attributes:
        attributes["shape"] = data.draw(st.sampled_from(["T,8", "4", "", "2,4", "T,T"]))
    try:
        results = entry.infer(operands, attributes)
    except TypeRuleError:
        return
    assert all(isinstance(r, TensorType) for r in results)
    for result, operand in entry.in_place.items():
        assert results[result] == operands[operand]


def refuse(name: str, *operands: TensorType, **attributes: int | float | str) -> None:
    with pytest.raises(TypeRuleError):
        OPS[name].infer(operands, attributes)


def test_elementwise_operands_must_broadcast() -> None:
    assert OPS["add"].infer((f32("T", 1), f32(8)), {}) == (f32("T", 8),)
    assert OPS["add"].infer((f32("T", 1, 8), f32(4, 1)), {}) == (f32("T", 4, 8),)
    assert OPS["add"].infer((f32(), f32()), {}) == (f32(),)
    assert OPS["fused"].infer((f32(8), f32("T", 8), f32(1)), {"expression": "add(a0,a1)"}) == (f32("T", 8),)
    refuse("add", f32("T", 8), f32("T", 9))
    refuse("add", f32("T", 8), f32(3, 8))
    refuse("add", f32("T", 8), i32("T", 8))
    refuse("silu", i32("T"))


def test_movement() -> None:
    assert OPS["reshape"].infer((f32("T", 8),), {"shape": "T,2,4"}) == (f32("T", 2, 4),)
    assert OPS["slice"].infer((f32("T", 8),), {"start": 2, "stop": 5}) == (f32("T", 3),)
    assert OPS["concat"].infer((f32("T", 8), f32("T", 3)), {}) == (f32("T", 11),)
    assert OPS["last_token"].infer((f32("T", 2, 4),), {}) == (f32(1, 2, 4),)
    for shape in ("T,9", "8", "T,T", "T,7", ""):
        refuse("reshape", f32("T", 8), shape=shape)
    refuse("reshape", f32("T", 7), shape="T,T")
    refuse("slice", f32("T", 8), start=3, stop=3)
    refuse("slice", f32("T", 8), start=0, stop=9)
    refuse("slice", f32(8, "T"), start=0, stop=1)
    refuse("concat", f32("T", 8), f32(8))
    refuse("concat")
    refuse("last_token", f32())
    refuse("last_token", f32(2, "T", 4))
    assert OPS["last_token"].infer((f32(1, "T", 4),), {}) == (f32(1, 1, 4),)
    assert OPS["slice"].infer((f32(4, "T"),), {"start": 3, "stop": -1, "axis": 0, "step": -2}) == (f32(2, "T"),)
    assert OPS["concat"].infer((f32(4, "T"), f32(1, "T")), {"axis": 0}) == (f32(5, "T"),)
    assert OPS["transpose"].infer((f32("T", 2, 4),), {"perm": "1,0,2"}) == (f32(2, "T", 4),)
    assert OPS["broadcast"].infer((f32("T", 1),), {"shape": "3,T,4"}) == (f32(3, "T", 4),)
    assert OPS["broadcast"].infer((f32(4), i32("T")), {"shape": "T,4"}) == (f32("T", 4),)
    assert OPS["gather"].infer((f32(3, 8), i32("T", 2)), {"axis": 0}) == (f32("T", 2, 8),)
    assert OPS["take_along"].infer((f32("T", 8), i32("T", 2)), {"axis": 1}) == (f32("T", 2),)
    assert OPS["pad"].infer((f32("T", 8),), {"axis": 1, "before": 1, "after": 2, "value": 0.0}) == (f32("T", 11),)
    refuse("reshape", i32(), shape="1")
    refuse("slice", f32("T", 8), start=0, stop=1, axis=0)
    refuse("slice", f32("T", 8), start=0, stop=1, step=0)
    refuse("slice", f32("T", 8), start=3, stop=-2, step=-1)
    refuse("concat", f32("T", 8), f32("T", 8), axis=0)
    refuse("transpose", f32("T", 8), perm="0,0")
    refuse("broadcast", f32(4), shape="T,4")
    refuse("broadcast", f32(3), shape="4")
    refuse("gather", f32("T", 8), i32("T"), axis=1)
    refuse("gather", f32("T", 8), i32(2), axis=0)
    refuse("take_along", f32("T", 8), i32("T", 2, 1), axis=1)
    refuse("pad", f32("T", 8), axis=0, before=1, after=0, value=0.0)
    refuse("iota", f32(8))


def test_reductions_and_patches() -> None:
    assert OPS["reduce_sum"].infer((i32("T", 8),), {}) == (i32("T", 1),)
    assert OPS["argmax"].infer((f32(2, "T", 8),), {}) == (i32(2, "T", 1),)
    assert OPS["sort"].infer((f32("T", 8),), {"descending": 1}) == (f32("T", 8), i32("T", 8))
    assert OPS["matmul"].infer((f32("T", 1, 2, 8), f32(3, 5, 8)), {}) == (f32("T", 3, 2, 5),)
    window = {"kernel": "3,2", "stride": "2,1", "dilation": "1,2"}
    assert OPS["unfold"].infer((f32("T", 3, 7, 6),), window) == (f32("T", 3, 4, 3, 3, 2),)
    refuse("reduce_sum", f32(8, "T"))
    refuse("reduce_sum", f32())
    refuse("softmax", i32("T", 8))
    refuse("layer_norm", f32("T", 8), f32(7), eps=1e-5)
    refuse("layer_norm", f32("T", 8), f32(8), f32(8), f32(8), eps=1e-5)
    refuse("sort", f32("T", 8), descending=2)
    refuse("matmul", f32("T", 8), f32("T", 8))
    refuse("matmul", f32(8, "T"), f32(8, "T"))
    refuse("matmul", f32(2, 3, 8), f32(3, 3, 8))
    refuse("unfold", f32("T", 3, 2, 6), **window)
    refuse("unfold", f32(3, "T"), kernel="2", stride="1", dilation="1")
    refuse("unfold", f32("T", 8), kernel="2", stride="0", dilation="1")


def test_products() -> None:
    good = {"rows": 6, "columns": 10, "group": 8, "block": 4}
    codes, scales = TensorType("i8", ("T", 10)), f32("T", 3)
    weights, weight_scales = TensorType("i8", (6, 10)), TensorType("f16", (6, 2))
    assert OPS["ternary_matmul"].infer((codes, scales, weights, weight_scales), good) == (f32("T", 6),)
    packed = TensorType("u8", (512,), "t2.r8")
    assert OPS["ternary_matmul"].infer((codes, scales, packed, weight_scales), good) == (f32("T", 6),)
    refuse("ternary_matmul", codes, scales, weights, f32(6, 2), **good)
    refuse("ternary_matmul", codes, f32("T", 2), weights, weight_scales, **good)
    refuse("ternary_matmul", f32("T", 10), scales, weights, weight_scales, **good)
    refuse("ternary_matmul", codes, scales, TensorType("i8", (6, 11)), weight_scales, **good)
    refuse("ternary_matmul", codes, scales, weights, weight_scales, **{**good, "group": 6})
    refuse("ternary_linear", f32("T", 10), f32(6, 10), group=6, block=4)
    refuse("linear", f32("T", 10), f32(6, 9))
    refuse("linear", f32("T", 10), f32(6, 10), f32(7))
    refuse("linear", f32("T", 10), f32(6, 10), f32(6), f32(6))
    refuse("look_up", i32("T"), TensorType("i8", (10, 8)), TensorType("f16", (10, 1)), group=4)
    trits, sizes = TensorType("i8", (10, 8)), {"rows": 10, "columns": 8}
    refuse("ternary_look_up", i32("T"), trits, TensorType("f16", (10, 1)), group=4, **sizes)
    refuse("ternary_look_up", i32("T"), TensorType("i8", (9, 8)), TensorType("f16", (9, 2)), group=4, **sizes)
    refuse("linear", f32("T", 8), TensorType("i8", (10, 8)))
    refuse("ternary_linear", f32("T", 8), TensorType("bf16", (10, 8)), group=4, block=4)
    refuse("bfloat16_linear", f32("T", 8), TensorType("bf16", (10, 8)))
    refuse("embedding", f32("T"), f32(10, 8))


def test_recurrences_and_attention() -> None:
    q, gate, state = f32("T", 2, 4), f32("T", 2), f32(2, 4, 4)
    assert OPS["gated_delta"].infer((q, q, q, gate, gate, state), {"scale": 1.0}) == (q, state)
    wide = OPS["gated_delta"].infer((q, q, f32("T", 2, 6), gate, gate, f32(2, 4, 6)), {"scale": 1.0})
    assert wide == (f32("T", 2, 6), f32(2, 4, 6))
    refuse("gated_delta", q, q, q, gate, gate, f32(2, 4, 6), scale=1.0)
    refuse("gated_delta", q, q, f32("T", 3, 4), gate, gate, state, scale=1.0)
    refuse("gated_delta", q, q, q, f32("T", 3), gate, state, scale=1.0)
    shared, gates = f32("T", 6, 4), f32("T", 6)
    assert OPS["gated_delta"].infer((q, q, shared, gates, gates, f32(6, 4, 4)), {"scale": 1.0})[0] == shared
    refuse("gated_delta", q, q, shared, gates, gates, state, scale=1.0)
    refuse("gated_delta", shared, shared, q, gate, gate, state, scale=1.0)
    assert OPS["gated_linear_attention"].infer((q, q, shared, gates, f32(6, 4, 4)), {"scale": 1.0})[0] == shared
    refuse("gated_linear_attention", q, q, q, f32("T", 3), state, scale=1.0)
    assert OPS["generalized_delta"].infer((q, q, q, q, q, q, state), {}) == (q, state)
    refuse("generalized_delta", q, gate, q, q, q, q, state)
    refuse("generalized_delta", q, q, q, f32("T", 2, 6), q, q, state)
    refuse("mlstm", q, q, q, gate, gate, state, f32(2, 4), f32(4), scale=1.0)
    refuse("causal_conv", f32("T", 8), f32(8, 4), f32(4, 8))
    refuse("causal_conv", f32("T", 8), f32(9, 4), f32(3, 8))
    refuse("rope", f32("T", 2, 5), i32(), theta=1e4)
    refuse("rope", q, i32(1), theta=1e4)
    ring, slots = f32(7, 2, 4), f32(1, 2, 4)
    given = (q, q, q, slots, slots, q, ring, ring, i32(), i32())
    assert OPS["window_attention"].infer(given, {"window": 6, "scale": 1.0}) == (q, ring, ring)
    refuse("window_attention", *given, window=7, scale=1.0)
    refuse("window_attention", *given[:8], i32(1), i32(), window=6, scale=1.0)
    memory = f32(2, 2, 4, 4)
    refuse("titans_apply", q, f32(2, 2, 4, 5))
    refuse("titans_anchor", memory, memory, i32(1), i32(), chunk=16)
    refuse("titans_update", q, q, gate, gate, gate, memory, memory, state, i32())


def test_experts() -> None:
    x, gate, down = f32("T", 8), f32(3, 6, 8), f32(3, 8, 6)
    weights = (f32(3, 8), f32(3), gate, gate, down, f32(3, 6))
    sizes = {"group": 8, "block": 4, "eps": 1e-6}
    rows, matrices = f32("T", 2, 8), f32(3, 6, 8)
    for name in ("grouped_linear", "grouped_bfloat16_linear"):
        assert OPS[name].infer((rows, matrices, i32(4)), {}) == (f32("T", 2, 6),)
        refuse(name, rows, matrices, i32(5))
        refuse(name, rows, f32(3, 6, 9), i32(4))
        refuse(name, f32("T", 8), matrices, i32(4))
    refuse("grouped_int8_linear", rows, TensorType("bf16", (3, 6, 8)), i32(4), group=8, block=4)
    assert OPS["moe"].infer((x, *weights), {"top_k": 2, **sizes}) == (x,)
    refuse("moe", x, *weights, top_k=4, **sizes)
    refuse("moe", x, *weights, top_k=0, **sizes)
    refuse("moe", x, *weights[:4], f32(3, 6, 8), f32(3, 6), top_k=2, **sizes)
    refuse("route", x, f32(3, 8), f32(4), top_k=1)
    refuse("route", x, f32(3, 8), f32(3), top_k=4)
    refuse("sort_pairs", f32("T", 2), experts=3)
    refuse("gather_rows", f32("T", 8), i32(4, 2))
    refuse("combine_experts", f32("T", 2, 8), i32("T", 3), f32("T", 2))
