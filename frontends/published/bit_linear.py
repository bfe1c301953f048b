"""``quantization_config`` of a config.json: how the numbers of BitNet's projections are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.fields import key
from chimerac.frontends.config.reader import Reader
from chimerac.frontends.config.tree import Object, Scalar

#: What becomes of a stored matrix: its trits divided by ``weight_scale``, or multiplied with it, or its floats rounded
#: to trits by the mean of their magnitudes.
Rule = Literal["divided", "multiplied", "online"]


@dataclass(frozen=True)
class BitLinear:
    """How all projections of the layers are stored.

    Attributes:
        norms: epsilon of a norm that each of them has for its input; None without.
    """

    rule: Rule
    norms: float | None


@dataclass(frozen=True, kw_only=True)
class _Keys:
    quant_method: str = key("Whose rule it is.", choices=("bitnet",))
    linear_class: str = key("Which layer.", default="bitlinear", choices=("bitlinear", "autobitlinear"))
    quantization_mode: str = key("When floats are rounded.", default="offline", choices=("online", "offline"))
    use_rms_norm: bool = key("Whether each projection norms its input.", default=False)
    rms_norm_eps: float = key("Epsilon of these norms.", default=1e-6, above=0, maximum=1)
    modules_to_not_convert: tuple[str, ...] | None = key("What stays as floats.", default=None)


#: What ``modules_to_not_convert`` may name: the head, which is no projection of a layer.
_HEAD: Final = ("lm_head", "embed_tokens", "model.embed_tokens")


def bit_linear(config: Object) -> BitLinear | None:
    """The rule of a config; None where its numbers are plain.

    Raises:
        UserError: CHM234, another method, or modules of which the rule speaks one by one; CHM110, CHM112, CHM113.
    """
    node = config.get("quantization_config")
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return None
    if not isinstance(node, Object):
        raise UserError("CHM112", "'quantization_config' must be an object", span=node.span)
    method = node.get("quant_method")
    if not isinstance(method, Scalar) or method.value != "bitnet":
        said = repr(str(method.value)[:80]) if isinstance(method, Scalar) else "no quant_method"
        message = f"weights that are quantised by {said} are not supported"
        hint = "take the model's plain weights, or a GGUF file of it"
        raise UserError("CHM234", message, span=(method or node).span, hint=hint)
    keys: _Keys = Reader().read(_Keys, node)
    for name in keys.modules_to_not_convert or ():
        if name not in _HEAD:
            entry = node.entries["modules_to_not_convert"]
            raise UserError("CHM234", f"{name[:80]!r} in modules_to_not_convert is not supported", span=entry.span)
    norms = keys.rms_norm_eps if keys.use_rms_norm else None
    if keys.linear_class == "bitlinear":  # which has no other mode
        return BitLinear("divided", norms)
    return BitLinear("multiplied" if keys.quantization_mode == "offline" else "online", norms)
