"""The figures of a benchmark: seconds, bytes, and bytes per second; the report that holds them is in report.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chimerac.compiler.bench.subject import Profiled

#: Op that tells the kind of a mixer, the most telling first, and what the kind is called.
_MIXERS = {
    "titans_apply": "Titans memory",
    "gated_delta": "Gated DeltaNet",
    "gated_linear_attention": "gated linear attention",
    "generalized_delta": "generalised delta rule",
    "mlstm": "mLSTM",
    "window_attention": "window attention",
    "cached_attention": "attention",
    "cached_attention_int8": "attention",
    "cached_attention_int4": "attention",
}


@dataclass(frozen=True)
class Rate:
    """How fast tokens are run: the median, and the best.

    Attributes:
        tokens: in a run: the length of the prompt; 1 for decode; of decode after a text, the length of the text.
        seconds: for a run, in the median.
        p90_seconds: what nine of ten runs do not exceed.
        runs: that were measured.
    """

    tokens: int
    tokens_per_second: float
    best_tokens_per_second: float
    seconds: float
    p90_seconds: float
    runs: int


@dataclass(frozen=True)
class FirstToken:
    """From nothing to the first token, in a fresh process, in the median: opening the bundle, and the rest."""

    prompt_tokens: int
    seconds: float
    open_seconds: float
    prompt_seconds: float
    runs: int


@dataclass(frozen=True)
class ReadSpeed:
    """Bytes per second that this machine reads from memory, each thread as one stream and as eight; medians."""

    one_stream: float
    eight_streams: float

    @property
    def best(self) -> float:
        """The faster way."""
        return max(self.one_stream, self.eight_streams)


@dataclass(frozen=True)
class Share:
    """A part of the time of a token.

    Attributes:
        name: of the parts: "Gated DeltaNet", "experts", "head", …; of kernels: the op.
        parts: how many parts of the model, or of kernels how many steps, are in it.
        seconds: for a token.
        share: of all the time of a token, 0 to 1.
        weight_bytes: read for a token.
    """

    name: str
    parts: int
    seconds: float
    share: float
    weight_bytes: int

    @property
    def bytes_per_second(self) -> float | None:
        """Of weights; None if it reads none."""
        return self.weight_bytes / self.seconds if self.weight_bytes and self.seconds else None


@dataclass(frozen=True)
class StepTime:
    """A step of the model: the kernels of an op in a part."""

    part: str
    op: str
    seconds: float
    weight_bytes: int


@dataclass(frozen=True)
class TokenTime:
    """Where the time of a token goes.

    Attributes:
        seconds: for a token while it was measured, which takes a little longer.
        other_seconds: outside of the model: choosing the token, its text.
    """

    seconds: float
    other_seconds: float
    parts: Sequence[Share]
    ops: Sequence[Share]
    steps: Sequence[StepTime]


@dataclass(frozen=True)
class Run:
    """Everything about one number of threads; None is what could not be measured.

    Attributes:
        passes: what passes of 1 to 20 tokens take, in passes of one, of bundles that guess; the share of guesses that
            must be right for a pass of two to pay is about the second less one.
    """

    threads: int
    decode: Rate | None
    prefill: Sequence[Rate]
    first_token: FirstToken | None
    weight_bytes_per_second: float | None
    read_bytes_per_second: ReadSpeed | None
    time: TokenTime | None
    decode_after: Sequence[Rate] = ()
    passes: Sequence[float] = ()

    @property
    def part_of_read_speed(self) -> float | None:
        """What decode streams, as a part of what the machine reads."""
        if self.weight_bytes_per_second is None or self.read_bytes_per_second is None:
            return None
        return self.weight_bytes_per_second / self.read_bytes_per_second.best


@dataclass(frozen=True)
class MemoryUse:
    """Bytes; None is what is not known.

    Attributes:
        weights_bytes: of the weights file, which is mapped and shared by all processes.
        session_bytes: that a session allocates: state, arena, logits and room for choosing tokens.
        peak_bytes: most that a fresh process had resident, mapped files among it.
        before_bytes: that it had before it opened the bundle.
        private_bytes: without mapped files, at the first token.
    """

    weights_bytes: int
    state_bytes: int
    arena_bytes: int
    session_bytes: int | None
    peak_bytes: int | None
    before_bytes: int | None
    private_bytes: int | None


def token_time(profiled: Profiled) -> TokenTime:
    """Shares of a profile: by kind of part and by op, in order of their first step."""
    count = profiled.tokens
    all_seconds = profiled.seconds / count
    steps = [StepTime(s.part, s.op, s.nanoseconds / 1e9 / count, s.weight_bytes) for s in profiled.steps]
    kinds = _kinds(steps)
    parts = _group([(kinds[s.part], s.part, s) for s in steps], all_seconds)
    ops = _group([(s.op, s.part, s) for s in steps], all_seconds)
    return TokenTime(all_seconds, all_seconds - sum(s.seconds for s in steps), parts, ops, steps)


def _kinds(steps: Sequence[StepTime]) -> dict[str, str]:
    """Part → what kind of part it is."""
    ops: dict[str, set[str]] = {}
    for step in steps:
        ops.setdefault(step.part, set()).add(step.op)
    return {part: _kind(part, found) for part, found in ops.items()}


def _kind(part: str, ops: set[str]) -> str:
    if part.endswith(".mixer"):
        return next((name for op, name in _MIXERS.items() if op in ops), "mixer")
    if part.endswith(".ffn"):
        return "experts" if any(op.startswith("grouped_") for op in ops) else "feed-forward"
    return part


def _group(rows: Sequence[tuple[str, str, StepTime]], all_seconds: float) -> list[Share]:
    """(name, part, step) rows with equal names together."""
    found: dict[str, list[tuple[str, StepTime]]] = {}
    for name, part, step in rows:
        found.setdefault(name, []).append((part, step))
    shares = []
    for name, members in found.items():
        seconds = sum(step.seconds for _, step in members)
        share = seconds / all_seconds if all_seconds else 0.0
        read = sum(step.weight_bytes for _, step in members)
        shares.append(Share(name, len({part for part, _ in members}), seconds, share, read))
    return shares
