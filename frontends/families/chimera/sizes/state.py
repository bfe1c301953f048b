"""Recurrent state of one stream, in bytes, by the number of loop iterations it is kept for.

Each pair of a looped layer and an iteration has a state of its own. Titans memory and its attention window are written
in the first iteration only, so there is one of them per layer (docs/model.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind

BLOCK = 16  #: positions a ring holds beyond the window: the longest forward call
_FLOAT = 4


@dataclass(frozen=True)
class StreamState:
    """Bytes of a stream's state with ``iterations`` loop iterations."""

    iterations: int
    all_per_iteration: int  #: no window; every layer, Titans too, once per iteration
    recurrent: int  #: no window; Titans memory and momentum once per layer
    anchors: int  #: the memory's anchors, once per layer
    window_values: int  #: numbers in the attention rings, without the extra block
    ring: int  #: the rings as built: float32, one block longer than the window

    @property
    def built(self) -> int:
        """What a bundle allocates."""
        return self.recurrent + self.anchors + self.ring

    def with_window(self, bytes_per_value: int) -> int:
        """Memory and a window of the given precision, without anchors."""
        return self.recurrent + self.window_values * bytes_per_value


def layer_state(shape: ChimeraShape, mixer: MixerKind) -> int:
    """Bytes of one layer's state for one iteration, without window and anchor."""
    heads, width = shape.heads, shape.head_width
    if mixer == "xlstm_m":
        return _FLOAT * heads * (width * width + width + 1)
    if mixer == "titans_mac":
        return _FLOAT * 2 * heads * 2 * width * width
    return _FLOAT * (heads * width * width + 3 * (shape.conv_size - 1) * shape.hidden)


def stream_state(shape: ChimeraShape, iterations: int) -> StreamState:
    """State of one stream when looped layers run up to ``iterations`` times."""
    everything = recurrent = 0
    for index, mixer in enumerate(shape.mixers):
        size = layer_state(shape, mixer)
        looped = shape.loop is not None and shape.loop.first <= index <= shape.loop.last
        times = iterations if looped else 1
        everything += times * size
        recurrent += size if mixer == "titans_mac" else times * size
    titans = shape.mixers.count("titans_mac")
    row = 2 * shape.hidden
    return StreamState(
        iterations=iterations,
        all_per_iteration=everything,
        recurrent=recurrent,
        anchors=titans * _FLOAT * shape.heads * 2 * shape.head_width**2,
        window_values=titans * shape.titans.window * row,
        ring=titans * _FLOAT * (shape.titans.window + BLOCK) * row,
    )
