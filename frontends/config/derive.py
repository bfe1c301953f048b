"""Values that follow from others where a config leaves them away."""

from __future__ import annotations

import re
from dataclasses import replace

from chimerac.frontends.config.model import NAME_PATTERN, ModelConfig


def resolve(config: ModelConfig) -> ModelConfig:
    """The config with absent sizes filled in; what can't be filled in stays absent and ``shape`` says why."""
    layers, head_dim = config.num_hidden_layers, config.head_dim
    if head_dim is None and config.hidden_size % config.num_heads == 0:
        head_dim = config.hidden_size // config.num_heads
    if layers is None:
        repeated = len(config.backbone.layer_pattern.split()) * config.backbone.layer_pattern_repeat
        layers = int(repeated) if repeated.is_integer() and repeated <= 4096 else None
    looping = config.looping
    if looping.enabled and layers is not None and layers >= 3:
        quarter = max(1, layers // 4)
        prelude = looping.prelude or (0, quarter - 1)
        coda = looping.coda or (layers - quarter, layers - 1)
        loop = looping.loop or (prelude[1] + 1, coda[0] - 1)
        looping = replace(looping, prelude=prelude, loop=loop, coda=coda)
    state = config.gated_deltanet.state_size or head_dim
    memory = config.xlstm.memory_size_per_head
    if memory is None and head_dim is not None:
        memory = (head_dim, head_dim)
    name = config.name or (config.name_or_path or "").rstrip("/").rpartition("/")[2]
    return replace(
        config,
        name=name if re.fullmatch(NAME_PATTERN, name) else "model",
        head_dim=head_dim,
        num_hidden_layers=layers,
        looping=looping,
        gated_deltanet=replace(config.gated_deltanet, state_size=state),
        xlstm=replace(config.xlstm, memory_size_per_head=memory),
    )
