"""``Model``: all that comes out of the frontends, and all that packaging, verify, bench, report and card may know.

After a frontend nothing sees a config, a checkpoint or the numbers that a family makes its layers from: what a model is
made of can be read off its IR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from chimerac.compiler.errors import Span
from chimerac.compiler.ir.module import Module
from chimerac.runtime.bundle_format import Chat, Entry, Generation, Refusal
from chimerac.runtime.reference.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GrammarRequest:
    """Which grammars a bundle holds.

    Attributes:
        modes: names of built-in ones.
        schema: text of a JSON Schema that becomes the grammar ``schema``; "" for none.
        schema_whitespace: most blanks in a row in texts of the schema.
        default: the grammar of a generation that names none; "" for none.
        soft: names of soft weights.
        storage_mb: most MiB of all tables; None for no limit.
    """

    modes: tuple[str, ...] = ()
    schema: str = ""
    schema_whitespace: int = 8
    default: str = ""
    soft: tuple[str, ...] = ()
    storage_mb: float | None = None


@dataclass(frozen=True)
class Remark:
    """Something that the frontend has to say of a description, for the report."""

    id: str
    text: str


class ReferenceSession(Protocol):
    """The model as its own framework runs it, token by token: what compiled code is compared with."""

    def step(self, token: int) -> np.ndarray:
        """Logits f32[V] after one more token."""


#: Called with an input of a quantiser [tokens, K] and the rows of the weight that it is multiplied with; what it gives
#: is quantised in place of the input.
InputHook = Callable[["Tensor", int], "Tensor"]


@dataclass(frozen=True)
class Reference:
    """How to run the model outside of chimerac.

    Attributes:
        session: a fresh session, with so many loop iterations (None: the default).
        hooked: while it is entered, inputs of quantisers pass through a hook.
        unrounded: while it is entered, products take activations as they are.
    """

    session: Callable[[int | None], ReferenceSession]
    hooked: Callable[[InputHook], AbstractContextManager[None]]
    unrounded: Callable[[], AbstractContextManager[None]]


def nowhere(path: str) -> Span | None:
    """The place of anything in a description that was not written down."""
    return None


@dataclass(frozen=True)
class Model:
    """A model before any target.

    Attributes:
        name: of the model and of its bundles.
        digest: SHA-256 of what the model was described by, in hexadecimal: a config, or the module itself.
        module: the imported IR with its weights; those of a large model are computed part by part
            (``Constant.parts``). A language model has the graph ``main``, any other one graphs of the role call.
        tokenizer: its table; as many entries as the logits have. None of a module that is no language model, and of one
            whose tokens are no text.
        entries: of such a module: what callers of its graphs see, by the names of these.
        grammars: None for a model without.
        file_names: names that the description asks for, by the role of the file in a bundle (weights, tokenizer,
            grammar).
        generation: what a generation takes where its caller says nothing; None leaves it to the runtime.
        refusal: which answers are too unlikely to be given; None: none are.
        chat: how a conversation is put into tokens; None of a model without.
        remarks: what the frontend found in the description.
        absent: paths of what the description enables and no compiler makes yet.
        provenance: where the weights come from (``weights``), and what else the manifest says of the origin.
        notes: what the card says of the weights, in Markdown.
        examples: prompts that show what the weights can do.
        reference: the same model in PyTorch; None where it is too large, or there is none.
        place: where a dotted key of the description is written, for errors.
    """

    name: str
    digest: str
    module: Module
    tokenizer: Tokenizer | None
    entries: tuple[Entry, ...] = ()
    grammars: GrammarRequest | None = None
    file_names: Mapping[str, str] = field(default_factory=dict)
    generation: Generation | None = None
    refusal: Refusal | None = None
    chat: Chat | None = None
    remarks: tuple[Remark, ...] = ()
    absent: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    examples: tuple[str, ...] = ()
    reference: Reference | None = None
    place: Callable[[str], Span | None] = nowhere

    @property
    def weights(self) -> str:
        """Where the weights come from."""
        return self.provenance["weights"]

    @property
    def has_random_weights(self) -> bool:
        """Whether the model has learnt nothing."""
        return self.weights.startswith("random")
