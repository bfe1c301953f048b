"""The metadata of a GGUF file of a Mamba-2 as a shape."""

from __future__ import annotations

from typing import Final

from chimerac.frontends.published.gguf_numbers import HEAD, Numbers
from chimerac.frontends.published.shape import LlamaShape, SsmShape
from chimerac.frontends.published.ssm_keys import shape_with_states
from chimerac.frontends.sources.gguf import GgufFile

#: The two of attention and of networks are 0, and the context is no bound.
_KEYS: Final = frozenset(
    """
    vocab_size context_length embedding_length feed_forward_length block_count attention.head_count
    attention.layer_norm_rms_epsilon ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count
    """.split()  # noqa: SIM905  (a list of so many words is read more easily so)
)
_HEADS: Final = 1 << 14


def shape_of_mamba2(file: GgufFile) -> LlamaShape:
    """The shape that a file's metadata describe; errors as of ``gguf_keys.shape_of_gguf``."""
    keys = Numbers(file)
    keys.refuse_unknown(_KEYS)
    for name in ("attention.head_count", "feed_forward_length"):
        if keys.value(name, int, 0) != 0:
            raise keys.unsupported(f"{keys.prefix}{name} is not 0")
    hidden, inner = keys.size("embedding_length"), keys.size("ssm.inner_size")
    heads, groups = keys.size("ssm.time_step_rank", most=_HEADS), keys.size("ssm.group_count", most=_HEADS)
    taps = keys.size("ssm.conv_kernel", most=64)
    if taps < 2:
        raise keys.unsupported(f"{keys.prefix}ssm.conv_kernel is {taps}")
    if inner % heads or heads % groups:
        raise keys.contradiction(f"{inner} channels do not make {heads} heads in {groups} groups")
    ssm = SsmShape(heads, inner // heads, groups, keys.size("ssm.state_size", most=1 << 12), taps)
    layers = keys.size("block_count", most=1 << 12)
    epsilon = keys.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0)
    tied = HEAD not in file.tensors
    return shape_with_states(ssm, keys.vocabulary(), hidden, layers, epsilon=epsilon, tied=tied)
