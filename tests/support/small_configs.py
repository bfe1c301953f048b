"""Texts of configs that build in seconds, for tests of whole bundles."""

from __future__ import annotations

#: 'nano', and sizes that fill no vector, panel, block or group
SMALL_CONFIGS = {
    "nano": 'extends: "chimera51", scale: "nano", name: "nano"',
    "odd": """extends: "chimera51", name: "odd", scale: {
      preset: "nano", hidden_size: 84, num_heads: 3, head_dim: 28, intermediate_size: 203, moe_intermediate_size: 37,
      n_routed_experts: 3, vocab_size: 259, local_window_size: 19, persistent_memory_slots: 3
    }""",
}
