"""The intermediate representation: typed SSA graphs over tensors, with explicit recurrent state.

``module`` holds the data structures, ``ops`` the vocabulary with its numpy meaning, ``text`` the readable form,
``verify`` the rules, ``interpreter`` the execution that defines what a module computes.
"""

from chimerac.compiler.ir.module import Constant, Graph, Module, Op, Region, State, Value
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType

__all__ = ["TOKENS", "Constant", "Dim", "Graph", "Module", "Op", "Region", "State", "TensorType", "Value"]
