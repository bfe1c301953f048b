"""``ModelConfig``: a whole config, typed; one field for each top-level key."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chimerac.compiler.errors import Span
from chimerac.frontends.config.fields import canonical_json, key, plain
from chimerac.frontends.config.reader import nearest_place
from chimerac.frontends.config.sections.backbone import Backbone
from chimerac.frontends.config.sections.common import MAX_COUNT, names, one_of, size, switch, text
from chimerac.frontends.config.sections.deployment import Deployment, Diagnostics, Files, MemoryBudget, Params
from chimerac.frontends.config.sections.grammar import DebtLedger, Grammar, Safety
from chimerac.frontends.config.sections.inference import EntropyValve, Generation, Modes
from chimerac.frontends.config.sections.looping import Looping
from chimerac.frontends.config.sections.memory import BraidState, ContextTier, SemanticMemory
from chimerac.frontends.config.sections.mixers import Efla, GatedDeltanet, Titans, Xlstm
from chimerac.frontends.config.sections.quantization import Quantization
from chimerac.frontends.config.sections.resolutions import Resolutions
from chimerac.frontends.config.sections.self_evolution import SelfEvolution
from chimerac.frontends.config.sections.span_inference import SpanInference, TspKnot
from chimerac.frontends.config.sections.ternary_compute import TernaryCompute
from chimerac.frontends.config.sections.training import ByteLevel, Multimodal, Training

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@dataclass(frozen=True)
class Origin:
    """Where a config came from; not part of its meaning."""

    file: str = "<text>"
    fenced: bool = False  #: the rows of the file stand between '|'
    scale: str = "full"  #: name of the preset that was applied
    places: Mapping[str, Span] = field(default_factory=dict)  #: dotted path to where its value is written
    literals: Mapping[str, str] = field(default_factory=dict)  #: sizes as written, such as "4M"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything a config says. Sizes are in channels, layers or entries; layers are counted from 0."""

    name: str = key(
        "Name of the model and of its bundle; from `_name_or_path` when absent.",
        default="",
        pattern=NAME_PATTERN,
        own=True,
        status="compiled",
    )
    seed: int = key(
        "Seed of initial weights and of training.", default=0, minimum=0, maximum=2**53 - 1, own=True, status="compiled"
    )
    name_or_path: str | None = text("Name in the Transformers ecosystem.", name="_name_or_path", status="compiled")
    version: str | None = text("Version of the config.", name="_v", status="described")
    architectures: tuple[str, ...] = names(
        "Model classes in the Transformers ecosystem; informative.", status="described"
    )
    auto_map: Mapping[str, str] = key(
        "Classes in the Transformers ecosystem; never imported.", factory=dict, status="described"
    )
    model_type: str = one_of("Model family.", "chimera51", status="checked")
    token_ids: tuple[int, ...] = key("End of text and padding.", default=(), minimum=0, status="compiled")
    hidden_size: int = size("Channels between layers; num_heads times head_dim.", status="compiled")
    intermediate_size: int = size("MLP width of layers without experts.", status="compiled")
    num_hidden_layers: int | None = size(
        "Layers; the length of the repeated pattern when absent.", default=None, maximum=4096, status="checked"
    )
    num_heads: int = size("Heads of every mixer.", status="compiled")
    head_dim: int | None = size(
        "Channels of a head; hidden_size over num_heads when absent.", default=None, status="checked"
    )
    hidden_act: str = one_of(
        "Activation of the MLP: down(silu(gate x) * up x) under either name.", "silu", "swiglu", status="checked"
    )
    initializer_range: float = key(
        "Standard deviation of initial weights.", default=0.006, above=0, maximum=1, status="compiled"
    )
    rms_norm_eps: float = key(
        "Added to the root mean square in norms.", default=1e-6, above=0, maximum=1, status="compiled"
    )
    rms_norm_before_every_linear: bool = switch(
        "A norm before every quantised linear.", default=True, only=True, status="checked"
    )
    vocab_size: int = size("Entries of the vocabulary.", maximum=1 << 24, status="compiled")
    max_position_embeddings: int | None = key(
        "Longest text promised, in tokens; nothing in the model depends on it.",
        default=None,
        minimum=1,
        maximum=MAX_COUNT,
        status="checked",
    )
    tie_word_embeddings: bool = switch("The output head is the embedding.", default=True, status="checked")
    torch_dtype: str = one_of(
        "Type of the matrix products of training, unless it is told a precision.",
        "bfloat16",
        "float32",
        default="float32",
        status="training",
    )
    use_cache: bool = switch("Carry recurrent state from token to token.", default=True, status="checked")
    transformers_version: str | None = text(
        "Version of Transformers that wrote the config; informative.", status="checked"
    )
    references: Mapping[str, str] = key(
        "Papers: short name to arXiv number.", name="§", factory=dict, pattern=r"\d{4}\.\d{4,5}", status="checked"
    )
    quantization: Quantization = key("Rounding and storage of weights.", factory=Quantization)
    backbone: Backbone = key("The stack of layers.")
    gated_deltanet: GatedDeltanet = key("Gated DeltaNet layers.", factory=GatedDeltanet)
    efla: Efla = key("Exact-flow update.", factory=Efla)
    xlstm: Xlstm = key("mLSTM layers.", factory=Xlstm)
    titans: Titans = key("Titans layers.", factory=Titans)
    looping: Looping = key("Layers that run several times.", factory=Looping)
    span_inference: SpanInference = key("Decoding by spans.", factory=SpanInference, status="not yet")
    tsp_knot: TspKnot = key("Span-knot layers.", factory=TspKnot, status="compiled")
    grammar: Grammar = key("Grammars.", factory=Grammar)
    semantic_memory: SemanticMemory = key("Hypervector memory.", factory=SemanticMemory, status="not yet")
    entropy_valve: EntropyValve = key("Computation by uncertainty.", factory=EntropyValve)
    debt_ledger: DebtLedger = key("Open obligations.", factory=DebtLedger)
    self_evolution: SelfEvolution = key("Change while in use.", factory=SelfEvolution, status="not yet")
    braid_state: BraidState = key("State of a stream.", factory=BraidState, status="checked")
    modes: Modes = key("Modes of a session.", factory=Modes)
    generation: Generation | None = key("Choice of tokens; absent takes the likeliest.", default=None)
    training: Training = key("Training.", factory=Training, status="training")
    byte_level: ByteLevel = key("Bytes in place of tokens.", factory=ByteLevel, status="not yet")
    memory_budget_mb: MemoryBudget = key("Memory at run time.", factory=MemoryBudget, status="checked")
    deployment: Deployment = key("Operation.", factory=Deployment)
    diagnostics: Diagnostics = key("Metrics.", factory=Diagnostics, status="not yet")
    context_tiers: tuple[ContextTier, ...] = key("Stores of the past.", default=(), status="not yet")
    multimodal: Multimodal = key("Pictures and sound.", factory=Multimodal, status="not yet")
    safety: Safety = key("Guards.", factory=Safety, status="not yet")
    files: Files = key("Files of a bundle.", factory=Files)
    params: Params = key("Claims on the size.", factory=Params, status="checked")
    ternary_compute: TernaryCompute = key(
        "Notes on speed.", name="P3_ternary_compute", factory=TernaryCompute, status="described"
    )
    resolutions: Resolutions = key("Answers to open questions.", factory=Resolutions, own=True, status="checked")
    origin: Origin = field(default_factory=Origin, compare=False, repr=False)

    def place(self, path: str) -> Span | None:
        """Where the value at a dotted path is written, or the nearest part of the path that is."""
        return nearest_place(self.origin.places, path)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()


def to_plain(config: ModelConfig) -> dict[str, Any]:
    """The config as plain JSON values, with defaults filled in and every directive applied."""
    result: dict[str, Any] = plain(config)
    return result
