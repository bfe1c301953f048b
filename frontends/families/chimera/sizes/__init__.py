"""What a model weighs: parameters, bytes and recurrent state, computed from its shape and held against claims."""

from chimerac.frontends.families.chimera.sizes.claims import Audit, Claim, audit
from chimerac.frontends.families.chimera.sizes.parameters import Counts, count_parameters
from chimerac.frontends.families.chimera.sizes.state import StreamState, stream_state

__all__ = ["Audit", "Claim", "Counts", "StreamState", "audit", "count_parameters", "stream_state"]
