"""Parameters of a model, counted matrix by matrix from its shape (docs/model.md lists the layers)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind

Part = Literal["mixer", "dense", "shared", "routed"]


@dataclass(frozen=True)
class Matrix:
    """Ternary matrices of one shape: ``copies`` times [rows, columns], columns being inputs."""

    part: Part
    rows: int
    columns: int
    copies: int = 1

    @property
    def parameters(self) -> int:
        return self.rows * self.columns * self.copies


@dataclass(frozen=True)
class LayerCounts:
    """One layer: ternary matrices, float32 parameters other than norms, and norms, the routed experts' apart."""

    mixer: MixerKind
    experts: bool
    matrices: tuple[Matrix, ...]
    float_parameters: int
    norms: int
    routed_norms: int

    def ternary(self, *parts: Part) -> int:
        """Ternary parameters of the parts named, or of all."""
        return sum(matrix.parameters for matrix in self.matrices if not parts or matrix.part in parts)

    @property
    def routed(self) -> int:
        return self.ternary("routed") + self.routed_norms

    @property
    def total(self) -> int:
        return self.ternary() + self.float_parameters + self.norms + self.routed_norms


@dataclass(frozen=True)
class Counts:
    """A whole model. ``other`` are the final norm, the loop's injection and its router, and the draft head."""

    layers: tuple[LayerCounts, ...]
    embedding: int
    other: int
    looped: int  #: parameters of the layers in the loop
    experts: int  #: E, routed experts of a layer; 0 without experts
    experts_per_token: int

    @property
    def matrices(self) -> Iterable[Matrix]:
        return (matrix for layer in self.layers for matrix in layer.matrices)

    @property
    def ternary_resident(self) -> int:
        """Ternary parameters every token uses: mixers, dense MLPs, shared experts."""
        return sum(layer.ternary("mixer", "dense", "shared") for layer in self.layers)

    @property
    def shared(self) -> int:
        return sum(layer.ternary("shared") for layer in self.layers)

    @property
    def routed(self) -> int:
        """Ternary parameters of routed experts."""
        return sum(layer.ternary("routed") for layer in self.layers)

    @property
    def float_parameters(self) -> int:
        return sum(layer.float_parameters for layer in self.layers) + self.other

    @property
    def norms(self) -> int:
        return sum(layer.norms + layer.routed_norms for layer in self.layers)

    @property
    def physical(self) -> int:
        """All parameters."""
        return sum(layer.total for layer in self.layers) + self.embedding + self.other

    @property
    def base(self) -> int:
        """All parameters but those of routed experts."""
        return self.physical - sum(layer.routed for layer in self.layers)

    @property
    def active_routed(self) -> int:
        """Parameters of the routed experts one token uses."""
        return self.routed * self.experts_per_token // self.experts if self.experts else 0

    @property
    def active(self) -> int:
        """Parameters one token uses, with one loop iteration."""
        return self.base + self.active_routed

    def effective(self, iterations: int) -> int:
        """All parameters, those of looped layers once per iteration."""
        return self.physical + (iterations - 1) * self.looped


def count_parameters(shape: ChimeraShape) -> Counts:
    """Parameters of the model that a shape describes; buffers such as the routing bias don't count."""
    layers = tuple(_layer(shape, index) for index in range(shape.layers))
    loop = shape.loop
    return Counts(
        layers=layers,
        embedding=shape.vocabulary * shape.hidden,
        # final norm; the loop's input norm, decay rate, step, injection and read-out, each a vector
        other=shape.hidden + (5 * shape.hidden if loop else 0) + _router(shape) + _draft(shape),
        looped=sum(layer.total for layer in layers[loop.first : loop.last + 1]) if loop else 0,
        experts=shape.moe.experts if shape.moe else 0,
        experts_per_token=shape.moe.experts_per_token if shape.moe else 0,
    )


def _router(shape: ChimeraShape) -> int:
    if shape.router is None or shape.loop is None:
        return 0
    width, classes = shape.router.width, shape.loop.maximum - shape.loop.minimum + 1
    return (shape.hidden + 1) * width + (width + 1) * classes


def _draft(shape: ChimeraShape) -> int:
    if shape.draft is None:
        return 0
    width, tokens = shape.draft.width, shape.draft.tokens
    return shape.hidden + 2 * (shape.hidden + 1) * width + (width + 1) * shape.hidden + (shape.hidden + 1) * tokens


def _layer(shape: ChimeraShape, index: int) -> LayerCounts:
    mixer, hidden = shape.mixers[index], shape.hidden
    matrices, floats, norms = _mixer(shape, mixer)
    routed_norms = 0
    moe = shape.moe if shape.moe and index in shape.moe.layers else None
    if moe is None:
        matrices += (Matrix("dense", shape.width, hidden, 2), Matrix("dense", hidden, shape.width))
        norms += shape.width
    else:
        matrices += (
            Matrix("routed", moe.width, hidden, 2 * moe.experts),
            Matrix("routed", hidden, moe.width, moe.experts),
        )
        floats += moe.experts * hidden
        routed_norms = moe.experts * moe.width
        shared = moe.shared_experts * moe.width
        if shared:
            matrices += (Matrix("shared", shared, hidden, 2), Matrix("shared", hidden, shared))
            norms += shared
    norms += 2 * hidden  # before the mixer and before the MLP
    return LayerCounts(mixer, moe is not None, matrices, floats, norms, routed_norms)


def _mixer(shape: ChimeraShape, mixer: MixerKind) -> tuple[tuple[Matrix, ...], int, int]:
    """Ternary matrices, float parameters and norms of a mixer."""
    hidden, heads, width = shape.hidden, shape.heads, shape.head_width
    if mixer == "titans_mac":
        floats = 3 * (hidden + 1) * heads + 2 * shape.titans.persistent_slots * hidden + 2 * heads * width * width
        return (Matrix("mixer", hidden, hidden, 8),), floats, 2 * hidden + width
    square, norms = (Matrix("mixer", hidden, hidden, 5),), hidden + width
    if mixer == "xlstm_m":
        return square, 2 * (hidden + 1) * heads, norms
    floats = 2 * (hidden + 1) * heads + 3 * shape.conv_size * hidden
    return square, floats + (hidden if mixer == "tsp_span_knot" else 0), norms
