"""What a config's ``generation``, ``modes`` and ``looping`` say of how tokens are chosen: a bundle's defaults."""

from __future__ import annotations

from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.runtime.bundle_format import Generation

MODES = ("fast", "balanced", "reasoning")


def generation_defaults(config: ModelConfig, shape: ChimeraShape) -> Generation | None:
    """The defaults of a bundle's generations; None where the config leaves all of them to the runtime."""
    written, loop = config.generation, shape.loop
    temperature = top_p = penalty = None
    if written is not None:
        temperature = written.temperature if written.do_sample else 0.0
        top_p = written.top_p if temperature else None
        penalty = written.repetition_penalty if written.repetition_penalty != 1 else None
    modes, threshold = {}, None
    if loop is not None:
        threshold = loop.exit_threshold or None
        chosen = {name: getattr(config.modes, name) for name in MODES}
        modes = {name: loops_in_range(mode.loops, shape) for name, mode in chosen.items() if mode is not None}
    found = Generation(
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=penalty,
        max_tokens=None if written is None else written.max_new_tokens,
        exit_threshold=threshold,
        modes=modes,
    )
    return None if found == Generation() else found


def loops_in_range(loops: int, shape: ChimeraShape) -> int:
    """The number of iterations of the model that is nearest to ``loops``."""
    return min(max(loops, shape.loop.minimum), shape.loop.maximum) if shape.loop else 1
