"""The module that a plan trains, as its family makes it."""

from __future__ import annotations

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.protocol import TensorTable
from chimerac.frontends.families.registry import find_family
from chimerac.frontends.families.trainable import TrainableModule
from chimerac.frontends.training.settings import Plan


def make_module(plan: Plan) -> TrainableModule:
    """The module of a plan's shape, its weights unset.

    Raises:
        UserError: CHM250, its family makes modules that cannot be trained.
    """
    family = find_family(plan.family)
    module = family.make(plan.shape, sparse_gradient=plan.sparse_gradient, ternary=plan.ternary)
    if not isinstance(module, TrainableModule):
        raise UserError("CHM250", f"models of the family {plan.family!r} are compiled, but not trained, by chimerac")
    return module


def tensors_of(plan: Plan) -> TensorTable:
    """What a checkpoint of the plan's module holds."""
    return find_family(plan.family).tensors(plan.shape)
