"""Training of the families' models: phases, optimisers, data, several processes, and what a run leaves behind."""

from chimerac.frontends.families.phases import Phase
from chimerac.frontends.training.run import train_plan
from chimerac.frontends.training.settings import Plan, read_plan, write_plan

__all__ = ["Phase", "Plan", "read_plan", "train_plan", "write_plan"]
