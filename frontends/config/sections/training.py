"""``training``: phases and an optional start from another model."""

# ruff: noqa: RUF009  (key() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import count, names, one_of, papers, size, switch, text


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase; keys that don't apply to it stay away."""

    name: str = key("Name of the phase.")
    tokens: int | None = count("Tokens to train on.", quantity="decimal", maximum=1 << 50)
    data: tuple[str, ...] = names(
        "Data sets: folders in the data folder; none: the folder itself.",
        single=True,
        pattern=r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
    )
    seq_len: int | None = count("Tokens per sequence.")
    batch_tokens: int | None = count("Tokens per step; M is 2**20 here, so 4M is 4194304.", quantity="binary")
    optimizer: str | None = text("Optimiser; AdamW when absent.", choices=("AdamW", "Lion", "MeZO", "MeZO-sparse"))
    lr: float | None = key("Learning rate at its peak.", default=None, above=0)
    schedule: str | None = text(
        "Course of the learning rate behind its warm-up, half a cosine when absent; `wsd` stays at the peak until the "
        "last tenth. `_warmup` at the end says nothing more: `warmup_steps` does.",
        choices=(
            "cosine",
            "cosine_warmup",
            "linear",
            "linear_warmup",
            "wsd",
            "wsd_warmup",
            "constant",
            "constant_warmup",
        ),
    )
    warmup_steps: int | None = count("Steps of rising learning rate.")
    weight_decay: float | None = key("Decay of matrices per step.", default=None, minimum=0)
    grad_clip: float | None = key("Longest gradient.", default=None, above=0)
    ternary: str | None = text(
        "How ternary weights are trained: rounded, with the gradient straight through.",
        choices=("native_qat_ste",),
        status="checked",
    )
    stages: tuple[tuple[int, str] | tuple[int, int, float], ...] = key(
        "Steps of a growing context: [tokens, steps, learning rate], or [tokens, name] for where it starts.",
        default=(),
        minimum=0,
    )
    epochs: int | None = count("Passes over the data.")
    beta: float | None = key("Strength of the preference loss.", default=None, above=0)
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class DistillationInit:
    """Start from a Transformer's weights (arXiv 2501.15570)."""

    enabled: bool = switch("Start from the teacher.")
    method: str | None = text("Way of taking over the teacher's weights.")
    teacher: str | None = text("Model to start from.")
    tokens: int | None = count("Tokens to train on.", quantity="decimal", maximum=1 << 50)
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the model is trained."""

    phases: tuple[Phase, ...] = key("Phases in order.", default=())
    distillation_init: DistillationInit = key("Start from another model.", factory=DistillationInit, status="not yet")


@dataclass(frozen=True, kw_only=True)
class ByteLevel:
    """Bytes grouped into patches in place of tokens (arXiv 2412.09871)."""

    enabled: bool = switch("Read bytes.")
    encoder_params: int | None = count("Parameters of the byte encoder.", quantity="decimal")
    encoder_depth: int | None = count("Layers of the byte encoder.", maximum=4096)
    patching: str | None = text("Where a patch starts.")
    decoder_params: int | None = count("Parameters of the byte decoder.", quantity="decimal")
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder of pictures or sound."""

    type: str = key("Kind of encoder.")
    depth: int = size("Layers.", maximum=4096)
    hidden: int = size("Channels.")
    patch: int | None = size("Side of a square patch, in pixels.", default=None)
    out: int = size("Channels handed to the model: its hidden size.")
    quant: str = one_of("Quantisation.", "ternary")
    image_size: int | None = size("Side of the picture, in pixels.", default=None, own=True)
    sample_rate: int | None = size("Samples per second.", default=None, own=True)
    mel_bins: int | None = size("Mel bands per frame.", default=None, own=True)
    hop_ms: float | None = key("Time between frames, in milliseconds.", default=None, above=0, own=True)
    papers: tuple[str, ...] = papers()


@dataclass(frozen=True, kw_only=True)
class Multimodal:
    """Pictures and sound."""

    enabled: bool = switch("Include the encoders.")
    modalities: tuple[str, ...] = names("What goes in.")
    vision: Encoder | None = key("Pictures.", default=None)
    audio: Encoder | None = key("Sound.", default=None)
