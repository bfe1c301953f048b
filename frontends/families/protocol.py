"""What a model family is: how a description becomes a PyTorch module whose weights, training and export are known.

A family is one object (docs/architecture.md says where a new one goes). Everything behind it — weights, training,
agreement, the build — asks it and nothing else, so none of that names a family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

import numpy as np

from chimerac.compiler.errors import Span
from chimerac.compiler.model import GrammarRequest, ReferenceSession, Remark, nowhere
from chimerac.frontends.config.document import Document
from chimerac.frontends.families.phases import Phase, Training
from chimerac.runtime.bundle_format import Generation, Refusal
from chimerac.runtime.reference.tokenizer import Special, Tokenizer

if TYPE_CHECKING:
    from torch import nn

#: How a tensor is stored once compiled.
Format = Literal["ternary", "int8", "bfloat16", "float32"]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a checkpoint; checkpoints hold floats, whatever the format."""

    shape: tuple[int, ...]
    format: Format
    trained: bool = True  #: False for buffers, and for parameters that training leaves alone
    decayed: bool = False  #: whether weight decay applies: to ternary matrices whose groups have scales of their own


@dataclass(frozen=True)
class TensorTable:
    """Every tensor of a module by name, in the order of its ``state_dict``.

    Attributes:
        group: input channels that share one weight scale.
    """

    specs: Mapping[str, TensorSpec]
    group: int


class Shape(Protocol):
    """The numbers that a family makes its module from: a frozen dataclass of its own."""

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary."""

    @property
    def seed(self) -> int:
        """Of random weights."""


S = TypeVar("S", bound=Shape)


class Checked(Protocol):
    """What ``check`` says of a description."""

    def render(self) -> str:
        """As text, without a line end."""


@dataclass(frozen=True)
class RemarksOnly:
    """The check of a family that has nothing but remarks."""

    name: str
    remarks: tuple[Remark, ...]

    def render(self) -> str:
        """A line for each."""
        return "\n".join([f"{remark.id}  {remark.text}" for remark in self.remarks] or [f"{self.name}: consistent"])


@dataclass(frozen=True)
class Description(Generic[S]):
    """A model as it is described, before any weights.

    Attributes:
        name: of the model and of its bundles.
        digest: SHA-256 of everything the description says, in hexadecimal.
        shape: what the module is made from.
        summary: the model in a few words, for the log: "8 layers, 384 channels".
        loops: most iterations of looped layers; 1 without any.
        fewest_loops: and the fewest.
        quantization: sizes (channels of a block of activations, of a group of weights) of quantised products.
        scale: name of the preset that was applied, "full" for none.
        specials: tokens of a byte tokenizer that are no bytes.
        own_tokenizer: the tokenizer that the vocabulary stands for; None for one token per byte.
        grammars: grammars of the bundle; None for none. Called when the description is known to be buildable.
        training: how to train it, given the usual phases that the data at hand allows, which a description that
            names none may take. Raises UserError CHM250 for phases that do not exist.
        file_names: as of ``Model``.
        generation, refusal, absent: as of ``Model``.
        remarks: what is to be said of the description.
        checked: everything that ``check`` says of it; None where that is the remarks.
        place: where a dotted key is written.
    """

    name: str
    digest: str
    shape: S
    summary: str
    loops: int = 1
    fewest_loops: int = 1
    quantization: tuple[tuple[int, int], ...] = ()
    scale: str = "full"
    specials: tuple[Special, ...] = ()
    own_tokenizer: Callable[[], Tokenizer | None] = lambda: None
    grammars: Callable[[], GrammarRequest | None] = lambda: None
    training: Callable[[tuple[Phase, ...]], Training] = Training
    file_names: Mapping[str, str] = field(default_factory=dict)
    generation: Generation | None = None
    refusal: Refusal | None = None
    absent: tuple[str, ...] = ()
    remarks: Callable[[], tuple[Remark, ...]] = tuple
    checked: Callable[[], Checked] | None = None
    place: Callable[[str], Span | None] = nowhere

    def check(self) -> Checked:
        """What is inconsistent in the description, and what its model weighs."""
        return RemarksOnly(self.name, self.remarks()) if self.checked is None else self.checked()


class Family(Protocol[S]):
    """One kind of model."""

    @property
    def name(self) -> str:
        """The ``model_type`` of its descriptions."""

    @property
    def shape_type(self) -> type[S]:
        """The dataclass of its shapes; training plans hold one as JSON."""

    def describe(self, document: Document) -> Description[S]:
        """What a description says.

        Raises:
            UserError: CHM110 to CHM113 and CHM116 for keys and values, CHM120 where they leave no model to build.
        """

    def block(self, shape: S) -> int:
        """Most tokens of a call; no call crosses a position that is a multiple of it."""

    def tensors(self, shape: S) -> TensorTable:
        """What a checkpoint of the module holds."""

    def make(self, shape: S, *, sparse_gradient: bool = False, ternary: bool = True) -> nn.Module:
        """The module, its weights unset: a ``TrainableModule`` (trainable.py) if the family's models can be trained.

        Args:
            sparse_gradient: the smallest weights of a ternary matrix get no gradient.
            ternary: False makes the float model of the same shape, which training compares with.
        """

    def initial_parts(self, name: str, shape: S, seed: int, elements: int) -> Iterator[np.ndarray]:
        """Seeded random values of one tensor, float32, in parts along its first axis of about ``elements`` numbers."""

    def export_form(self, module: nn.Module) -> nn.Module:
        """The module as frontends/export takes it, sharing the weights of ``module``."""

    def reference_session(self, module: nn.Module, loops: int | None) -> ReferenceSession:
        """A session of the module, which must be in eval mode."""
