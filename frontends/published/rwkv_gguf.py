"""The metadata of a GGUF file of an RWKV-7 as a shape."""

from __future__ import annotations

from typing import Final

from chimerac.frontends.published.gguf_numbers import HEAD, Numbers
from chimerac.frontends.published.rwkv_keys import shape_of_rwkv
from chimerac.frontends.published.shape import LlamaShape, RwkvShape
from chimerac.frontends.sources.gguf import GgufFile

#: That of attention is 0, and the context is no bound.
_KEYS: Final = frozenset(
    """
    vocab_size context_length embedding_length feed_forward_length block_count attention.head_count
    attention.layer_norm_epsilon attention.decay_lora_rank attention.iclr_lora_rank
    attention.value_residual_mix_lora_rank attention.gate_lora_rank wkv.head_size token_shift_count
    """.split()  # noqa: SIM905  (a list of so many words is read more easily so)
)
_EPSILON: Final = 64e-5  #: of heads, whatever their width: llama.cpp reads none
_RANK: Final = 1 << 14


def shape_of_rwkv7(file: GgufFile) -> LlamaShape:
    """The shape that a file's metadata describe; errors as of ``gguf_keys.shape_of_gguf``."""
    keys = Numbers(file)
    keys.refuse_unknown(_KEYS)
    for name, said in (("attention.head_count", 0), ("token_shift_count", 2)):
        if keys.value(name, int, said) != said:
            raise keys.unsupported(f"{keys.prefix}{name} is not {said}")
    hidden, width = keys.size("embedding_length"), keys.size("wkv.head_size", most=1 << 12)
    if hidden % width:
        raise keys.contradiction(f"{hidden} channels are not heads of {width}")
    rwkv = RwkvShape(
        heads=hidden // width,
        width=width,
        epsilon=_EPSILON,
        decay_rank=keys.size("attention.decay_lora_rank", most=_RANK),
        rate_rank=keys.size("attention.iclr_lora_rank", most=_RANK),
        value_rank=keys.size("attention.value_residual_mix_lora_rank", most=_RANK),
        gate_rank=keys.size("attention.gate_lora_rank", most=_RANK),
    )
    inner, layers = keys.size("feed_forward_length"), keys.size("block_count", most=1 << 12)
    epsilon = keys.number("attention.layer_norm_epsilon", low=0.0, high=1.0)
    tied = HEAD not in file.tensors
    return shape_of_rwkv(rwkv, keys.vocabulary(), hidden, inner, layers, epsilon=epsilon, tied=tied)
