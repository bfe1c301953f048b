"""Keys of config.json that change nothing, and the refusal of those that are not known."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.tree import Object
from chimerac.frontends.sources.recognised import CONFIG

#: Keys that say nothing of what the model computes when it runs, or that the tokenizer's reader asks for.
SILENT: Final = frozenset(
    {
        "_attn_implementation_autoset",
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "id2label",
        "initializer_range",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "unk_token_id",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
        "max_window_layers",
        "quantization_config",
        "is_llama_config",
        "output_router_logits",
        "router_aux_loss_coef",
    }
)


def refuse_unknown(tree: Object, known: Set[str], kind: str) -> None:
    """Raise UserError CHM234 for the first key of a config that is not known for its kind of models."""
    for name, entry in tree.entries.items():
        if name not in known:
            message = f"{CONFIG} says {name[:80]!r}, which chimerac does not know for {kind}"
            hint = "it may change what the model computes, so it is not ignored"
            raise UserError("CHM234", message, span=entry.span, hint=hint)
