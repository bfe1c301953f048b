"""The names, shapes and formats of a model's tensors in a checkpoint; docs/weights.md is the same for readers.

Names are those of ``ChimeraModel.state_dict()`` and change only with a new version of the format.
"""

from __future__ import annotations

from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.protocol import TensorSpec
from chimerac.frontends.layers.shapes import DraftShape


def tensor_specs(shape: ChimeraShape) -> dict[str, TensorSpec]:
    """Every tensor of a model of this shape by name, in the order of ``state_dict``."""
    hidden = shape.hidden
    specs = {"embedding.weight": _embedding(shape)}
    for layer, kind in enumerate(shape.mixers):
        prefix = f"layers.{layer}."
        specs[f"{prefix}mixer_norm.weight"] = _float(hidden)
        mixer = {"xlstm_m": _mlstm, "titans_mac": _titans}.get(kind, _gated_deltanet)(shape)
        if kind == "tsp_span_knot":
            # kappa scales a correction towards a memory, which training does not have
            mixer = {"kappa": TensorSpec((hidden,), "float32", trained=False), **mixer}
        specs |= {f"{prefix}mixer.{name}": spec for name, spec in mixer.items()}
        specs[f"{prefix}ffn_norm.weight"] = _float(hidden)
        with_experts = shape.moe is not None and layer in shape.moe.layers
        network = _experts(shape) if with_experts else _swiglu(hidden, shape.width)
        specs |= {f"{prefix}ffn.{name}": spec for name, spec in network.items()}
    if shape.loop is not None:
        specs |= {f"loop.{name}": _float(hidden) for name in ("A_log", "dt_bias", "B", "C", "norm.weight")}
    if shape.router is not None:
        specs |= {f"router.{name}": spec for name, spec in _router(shape, shape.router.width).items()}
    if shape.draft is not None:
        specs |= {f"draft.{name}": spec for name, spec in _draft(hidden, shape.draft).items()}
    specs["norm.weight"] = _float(hidden)
    return specs


def _draft(hidden: int, draft: DraftShape) -> dict[str, TensorSpec]:
    """Trained by a phase of its own."""
    sizes: dict[str, tuple[int, ...]] = {"ids": (draft.tokens,), "norm.weight": (hidden,)}
    linears = {"before": (draft.width, hidden), "token": (draft.width, hidden)}
    linears |= {"after": (hidden, draft.width), "scores": (draft.tokens, hidden)}
    for name, (outputs, inputs) in linears.items():
        sizes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return {name: TensorSpec(size, "int8" if len(size) > 1 else "float32", False) for name, size in sizes.items()}


def _router(shape: ChimeraShape, width: int) -> dict[str, TensorSpec]:
    """Trained by a phase of its own."""
    assert shape.loop is not None
    classes = shape.loop.maximum - shape.loop.minimum + 1
    sizes = {"inner.weight": (width, shape.hidden), "inner.bias": (width,)}
    sizes |= {"scores.weight": (classes, width), "scores.bias": (classes,)}
    return {name: TensorSpec(size, "int8" if len(size) > 1 else "float32", False) for name, size in sizes.items()}


def _float(*size: int) -> TensorSpec:
    return TensorSpec(size, "float32")


def _ternary(*size: int) -> TensorSpec:
    return TensorSpec(size, "ternary", decayed=True)


def _embedding(shape: ChimeraShape) -> TensorSpec:
    return TensorSpec((shape.vocabulary, shape.hidden), shape.embedding_format)


def _output(inner: int, hidden: int, name: str) -> dict[str, TensorSpec]:
    return {f"{name}.weight": _ternary(hidden, inner), f"{name}.in_norm.weight": _float(inner)}


def _gated_deltanet(shape: ChimeraShape) -> dict[str, TensorSpec]:
    hidden, heads = shape.hidden, shape.heads
    specs = {"A_log": _float(heads), "dt_bias": _float(heads)}
    specs |= {f"{name}_proj.weight": _ternary(hidden, hidden) for name in "qkvg"}
    specs |= {f"{name}_proj.weight": _float(heads, hidden) for name in "ab"}
    specs |= {f"{name}_conv.weight": _float(hidden, shape.conv_size) for name in "qkv"}
    return specs | {"o_norm.weight": _float(shape.head_width)} | _output(hidden, hidden, "o_proj")


def _mlstm(shape: ChimeraShape) -> dict[str, TensorSpec]:
    hidden, heads = shape.hidden, shape.heads
    specs = {f"{name}_proj.weight": _ternary(hidden, hidden) for name in "qkvg"}
    for name in "if":
        specs |= {f"{name}_proj.weight": _float(heads, hidden), f"{name}_proj.bias": _float(heads)}
    return specs | {"o_norm.weight": _float(shape.head_width)} | _output(hidden, hidden, "o_proj")


def _titans(shape: ChimeraShape) -> dict[str, TensorSpec]:
    hidden, heads, width, slots = shape.hidden, shape.heads, shape.head_width, shape.titans.persistent_slots
    specs = {"persistent_k": _float(slots, heads, width), "persistent_v": _float(slots, heads, width)}
    specs["memory_init"] = _float(heads, 2, width, width)
    specs |= {f"{name}_proj.weight": _ternary(hidden, hidden) for name in ("q", "k", "v", "g", "qm", "km", "vm")}
    for name in ("eta", "theta", "alpha"):
        specs |= {f"{name}_proj.weight": _float(heads, hidden), f"{name}_proj.bias": _float(heads)}
    specs |= {"memory_norm.weight": _float(hidden), "read_norm.weight": _float(width)}
    return specs | _output(hidden, hidden, "o_proj")


def _swiglu(hidden: int, width: int) -> dict[str, TensorSpec]:
    specs = {f"{name}_proj.weight": _ternary(width, hidden) for name in ("gate", "up")}
    return specs | _output(width, hidden, "down_proj")


def _experts(shape: ChimeraShape) -> dict[str, TensorSpec]:
    assert shape.moe is not None
    experts, width, hidden = shape.moe.experts, shape.moe.width, shape.hidden
    specs = {f"{name}_proj": _ternary(experts, width, hidden) for name in ("gate", "up")}
    specs |= {"down_proj": _ternary(experts, hidden, width), "down_norm": _float(experts, width)}
    specs["router_bias"] = TensorSpec((experts,), "float32", trained=False)
    specs["router.weight"] = _float(experts, hidden)
    if shape.moe.shared_experts:
        shared = _swiglu(hidden, shape.moe.shared_experts * width)
        specs |= {f"shared.{name}": spec for name, spec in shared.items()}
    return specs
