"""The numbers that a Llama-like model is made of, whatever file they were read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from chimerac.frontends.published.rotary import Rotary

Activation = Literal["silu", "relu2"]
#: What each of RWKV's mixtures of a token and the one before is for: receptance, decay, key, value, rate, gate.
MIXED: Final = "rwkvag"


@dataclass(frozen=True)
class DeltaShape:
    """A gated delta rule behind a causal convolution, each head of keys for heads of values that are neighbours.

    Attributes:
        keys, values: heads; of values there are as many as of keys or a multiple.
        key_width, value_width: channels of a head.
        taps: of the convolution: tokens that an output depends on.
        joint: folders have what a head of keys needs beside each other in one projection, and so the gates in another.
        tiled: the file has heads of values that share keys as far from each other as can be: head h reads the keys
            h mod ``keys``. In the module they are neighbours.
        columns_tiled: so are the columns of the projection back, in the module, too.
    """

    keys: int
    values: int
    key_width: int
    value_width: int
    taps: int
    joint: bool = False
    tiled: bool = False
    columns_tiled: bool = False

    @property
    def channels(self) -> int:
        """What goes through the convolution: queries, keys and values."""
        return 2 * self.keys * self.key_width + self.inner

    @property
    def inner(self) -> int:
        """Channels of all heads of values."""
        return self.values * self.value_width


@dataclass(frozen=True)
class ExpertShape:
    """Gated networks of which a router chooses some for each token.

    Attributes:
        count, chosen: experts, and how many of them a token visits.
        width: channels within an expert.
        shared: channels within an expert that every token visits, behind a gate; 0 for none.
        normalised: the weights of a token's experts add up to one.
        fused: folders have all experts in one tensor, gates and ups beside each other; else a tensor for each.
    """

    count: int
    chosen: int
    width: int
    shared: int = 0
    normalised: bool = True
    fused: bool = False


@dataclass(frozen=True)
class SsmShape:
    """A state space with a decay for each head, behind a causal convolution (Mamba-2, arXiv 2405.21060).

    Attributes:
        heads, width: of what is written to the states and read of them.
        groups: of heads that share what says where (B and C); also of channels that are normed together.
        state: rows of a head's state.
        taps: of the convolution.
        bias, conv_bias: whether the projections and the convolution add one.
        least, most: of a step; None for no bound.
    """

    heads: int
    width: int
    groups: int
    state: int
    taps: int
    bias: bool = False
    conv_bias: bool = True
    least: float | None = None
    most: float | None = None

    @property
    def inner(self) -> int:
        """Channels of all heads."""
        return self.heads * self.width

    @property
    def channels(self) -> int:
        """What goes through the convolution: x, B and C."""
        return self.inner + 2 * self.groups * self.state


@dataclass(frozen=True)
class MlstmShape:
    """A matrix LSTM with exponential gates (xLSTM, arXiv 2405.04517; the form of xLSTM 7B, arXiv 2503.13427).

    Attributes:
        heads: each of ``key_width`` rows and ``value_width`` columns.
        cap: of what the gates are computed from: x becomes cap * tanh(x / cap).
    """

    heads: int
    key_width: int
    value_width: int
    cap: float


@dataclass(frozen=True)
class RwkvShape:
    """Heads of a generalised delta rule, whose gates are products of low rank (RWKV-7, arXiv 2503.14456).

    Attributes:
        heads, width: each state is of ``width`` rows and columns.
        epsilon: of the norm of heads.
        decay_rank, rate_rank, value_rank, gate_rank: of what decays, of how much of what is removed comes back, of how
            much of the first layer's values is taken, and of what gates the heads.
        stacked: folders have in one tensor what tells how tokens are mixed with those before.
    """

    heads: int
    width: int
    epsilon: float
    decay_rank: int
    rate_rank: int
    value_rank: int
    gate_rank: int
    stacked: bool = False


@dataclass(frozen=True)
class LlamaShape:
    """A decoder of attention or a recurrence, and gated networks, each behind an RMS norm, with residuals.

    Attributes:
        architecture: what its makers call it: the ``model_type`` of a config, ``general.architecture`` of a GGUF file.
        vocabulary: rows of the embedding.
        hidden: channels between layers.
        inner: of the gated network; 0 where all layers have experts or state spaces.
        heads, kv_heads: of queries; of keys and values, each read by heads / kv_heads heads of queries. 0 where none
            is attention.
        head_width: channels of a head.
        epsilon: of all norms.
        context: positions that the model was made for, and up to which every layer sees all tokens before.
        rotary: of layers whose entry in ``rotated`` is true.
        activation: of the gate: silu(x), or relu(x) squared.
        qkv_bias, out_bias, inner_bias: whether these projections add one.
        head_norms: queries and keys of each head are normed before they are rotated.
        centred_norms: files have the weights of norms without the one that is added to them, but for those of heads
            that recurrences give.
        output_gate: what a head gives is multiplied with sigmoids, which come of the projection of queries, too.
        rotary_width: channels of a head that turn, the first ones; None for all.
        delta: of the layers in ``delta_layers``, which have that in place of attention.
        conv_taps: tokens that short convolutions see, which the layers in ``conv_layers`` have in place of attention; 0
            for none.
        ssm: of all layers, which have that in place of attention and of a network; None for none.
        mlstm: of all layers, which have that in place of attention; None for none.
        rwkv: of all layers, which have that in place of attention, networks without gates, and norms with biases; or
            None.
        logit_cap: logits become cap * tanh(logits / cap); None for none.
        experts: of the layers in ``expert_layers``, which have these in place of one network.
        sub_norms: what attention and the gate give is normed before the projection back.
        product_norms: epsilon of norms that each projection of a layer has for its input; None without them.
        tied: the embedding is the head.
    """

    architecture: str
    vocabulary: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    epsilon: float
    context: int
    rotary: Rotary
    rotated: tuple[bool, ...]
    activation: Activation = "silu"
    qkv_bias: bool = False
    out_bias: bool = False
    inner_bias: bool = False
    head_norms: bool = False
    centred_norms: bool = False
    output_gate: bool = False
    rotary_width: int | None = None
    delta: DeltaShape | None = None
    delta_layers: tuple[int, ...] = ()
    conv_taps: int = 0
    conv_layers: tuple[int, ...] = ()
    ssm: SsmShape | None = None
    mlstm: MlstmShape | None = None
    rwkv: RwkvShape | None = None
    logit_cap: float | None = None
    experts: ExpertShape | None = None
    expert_layers: tuple[int, ...] = ()
    sub_norms: bool = False
    product_norms: float | None = None
    tied: bool = False

    @property
    def layers(self) -> int:
        return len(self.rotated)

    @property
    def endless(self) -> bool:
        """Whether no layer keeps what grows with the text."""
        return self.ssm is not None or self.mlstm is not None or self.rwkv is not None

    @property
    def turning(self) -> int:
        """Channels of a head that turn."""
        return self.head_width if self.rotary_width is None else self.rotary_width
