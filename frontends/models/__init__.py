"""The Chimera model in PyTorch: training form, export form, and the custom operations between model and compiler."""

from chimerac.frontends.models.chimera import ChimeraModel
from chimerac.frontends.models.initialization import initialise
from chimerac.frontends.models.looping import sample_depths
from chimerac.frontends.models.moe import imbalance, router_loads, update_router_bias
from chimerac.frontends.models.naming import TensorSpec, tensor_specs
from chimerac.frontends.models.session import EagerSession
from chimerac.frontends.models.stateful import Stateful

__all__ = [
    "ChimeraModel",
    "EagerSession",
    "Stateful",
    "TensorSpec",
    "imbalance",
    "initialise",
    "router_loads",
    "sample_depths",
    "tensor_specs",
    "update_router_bias",
]
