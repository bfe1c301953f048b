"""Hidden vectors whose neurons are open or shut, as modules write them: 0 wherever a comparison says so.

``torch.where(z > t, f(z), 0)``, ``masked_fill(z <= t, 0)``, ``(z > t) * f(z)``, and such a vector times another. A
product with one becomes a ``sparse_linear``, which reads the rows of open neurons only (compiler/ir/ops/sparse.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from chimerac.frontends.export.handler import Importer

_COMPARISONS = frozenset({"aten.gt", "aten.ge", "aten.lt", "aten.le"})
_ZEROS = frozenset({"aten.zeros_like", "aten.new_zeros", "aten.zeros"})
_CASTS = frozenset({"aten.to", "aten._to_copy", "aten.type_as"})
#: Op → places of the condition and of what there is where it decides for 0.
_CHOICES: Mapping[str, tuple[int, tuple[int, ...]]] = {"aten.where": (0, (1, 2)), "aten.masked_fill": (1, (2,))}


def reads_open_rows(importer: Importer, hidden: Any, weight: Any) -> bool:
    """Whether the product of these two arguments of a node is one of a hidden vector with weights that it may skip."""
    return importer.evaluated.is_free(weight) and not importer.evaluated.is_free(hidden) and _has_shut(importer, hidden)


def _has_shut(importer: Importer, argument: Any) -> bool:
    """Whether an argument of a product is 0 for each neuron, an element of its last axis, that a comparison shuts."""
    if not isinstance(argument, Node) or not isinstance(argument.meta["val"].shape[-1], int):
        return False
    name = _name(argument)
    if name in _CHOICES:
        condition, zeros = _CHOICES[name]
        decides = _compares(argument.args[condition], argument)
        return decides and any(_is_zero(importer, argument.args[place]) for place in zeros)
    if name == "aten.mul":
        return any(_is_gate(importer, factor, argument) for factor in argument.args[:2])
    return False


def _is_gate(importer: Importer, factor: Any, product: Node) -> bool:
    """Whether a factor of a product makes it 0 for shut neurons."""
    if not isinstance(factor, Node) or not _as_wide(factor, product):
        return False
    source = factor.args[0] if _name(factor) in _CASTS else factor
    return _compares(source, product) or _has_shut(importer, factor)


def _compares(condition: Any, like: Node) -> bool:
    """Whether a condition is a comparison of floats for each neuron."""
    if not isinstance(condition, Node) or _name(condition) not in _COMPARISONS or not _as_wide(condition, like):
        return False
    compared = condition.args[0]
    return isinstance(compared, Node) and compared.meta["val"].dtype.is_floating_point


def _as_wide(part: Node, whole: Node) -> bool:
    held = part.meta["val"]
    return isinstance(held, torch.Tensor) and held.dim() > 0 and held.shape[-1] == whole.meta["val"].shape[-1] > 1


def _is_zero(importer: Importer, argument: Any) -> bool:
    if isinstance(argument, Node) and _name(argument) in _ZEROS:
        return True
    if not importer.evaluated.is_free(argument):
        return False
    found = importer.evaluated.of(argument)
    return bool(found == 0) if not isinstance(found, torch.Tensor) else not found.is_meta and not bool(found.any())


def _name(node: Node) -> str:
    """``aten.where`` of ``aten.where.self``."""
    return str(node.target).rpartition(".")[0]
