"""Folders and files of published models to ``Model``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chimerac.compiler.build.importing import cache_provenance, read_tokenizer_file
from chimerac.compiler.build.timings import Progress, silent
from chimerac.compiler.errors import Span, UserError
from chimerac.compiler.ir.caches import CACHE_TYPES, with_caches
from chimerac.compiler.ir.verify import verify
from chimerac.compiler.model import Model, Reference, ReferenceSession, Remark, nowhere
from chimerac.frontends.matrices.forms import Activations
from chimerac.frontends.matrices.rounding import notes, summary
from chimerac.frontends.matrices.rules import Given, Rules, rules_of
from chimerac.frontends.published.activations import asked, usual
from chimerac.frontends.published.generation import generation_of
from chimerac.frontends.published.reading import (
    DEFAULT_RULES,
    Source,
    check_rules,
    open_source,
    read_published,
    shape_of,
)
from chimerac.frontends.published.shape import LlamaShape
from chimerac.frontends.sources.folder import ModelFolder
from chimerac.frontends.tokenizers import read_folder, read_gguf
from chimerac.runtime.bundle_format import Chat, Manifest
from chimerac.runtime.reference.tokenizer import Tokenizer

if TYPE_CHECKING:
    from chimerac.frontends.published.filled import FilledModel

CONTEXT: Final = 4096  #: most tokens of a text, where nothing says how many and the model was made for so many
TOKENS: Final = 16  #: most of a call


@dataclass(frozen=True)
class Opened:
    """A published model whose files were looked at: what can be known to fail has failed.

    Attributes:
        context: most tokens of a text.
        rules: what becomes of weights that are not ternary.
        activations: of the layers' ternary matrices, where they were asked for.
        file_names, place: as of ``Model``.
    """

    name: str
    source: Source
    shape: LlamaShape
    context: int
    rules: Rules
    activations: Activations | None
    file_names: Mapping[str, str] = field(default_factory=dict)
    place: Callable[[str], Span | None] = nowhere


def open_published(
    path: str | Path,
    *,
    context: int | None = None,
    weights_format: Given | None = None,
    activations: str | None = None,
    tell: Progress = silent,
) -> Opened:
    """A model folder or GGUF file; parameters and errors as of ``build``."""
    begun = time.perf_counter()
    rules = DEFAULT_RULES if weights_format is None else rules_of(weights_format, DEFAULT_RULES.default)
    rounded = asked(activations)
    source = open_source(path)
    shape = shape_of(source)
    check_rules(rules, shape)
    if context is not None and shape.endless:
        message = f"{shape.architecture} keeps nothing that grows with a text, so texts have no end"
        raise UserError("CHM236", message, hint="leave --context out")
    if context is not None and not 2 <= context <= shape.context:
        hint = f"take 2 to {shape.context}"
        raise UserError(
            "CHM236", f"a context of {context} tokens, and the model was made for {shape.context}", hint=hint
        )
    found = Opened(_name(Path(path)), source, shape, context or min(shape.context, CONTEXT), rules, rounded)
    said = f"{shape.architecture}, {shape.layers} layers, {shape.hidden} channels"
    said += "" if shape.endless else f", context {found.context}"
    tell("config", f"{found.name}: {said}", time.perf_counter() - begun)
    return found


def import_published(
    opened: Opened,
    *,
    tokenizer: str | Path | None = None,
    cache: str = CACHE_TYPES[0],
    tell: Progress = silent,
) -> Model:
    """The model of a source, with its weights; parameters and errors as of ``build``."""
    return _import(opened, _text(opened, tokenizer, tell), cache, tell)


@dataclass(frozen=True)
class Text:
    """A model's tokenizer and chat, and what is to be said of them."""

    tokenizer: Tokenizer | None = None
    chat: Chat | None = None
    notes: tuple[str, ...] = ()


def _text(opened: Opened, path: str | Path | None, tell: Progress) -> Text:
    """Those of the model; of a file of the user there is no chat."""
    vocabulary = opened.shape.vocabulary
    if path is not None:
        return Text(read_tokenizer_file(path, vocabulary))
    begun, source = time.perf_counter(), opened.source
    parts = read_folder(source.path, vocabulary) if isinstance(source, ModelFolder) else read_gguf(source, vocabulary)
    tell("tokenizer", f"{len(parts.tokenizer.tokens):,} tokens; {parts.comparison}", time.perf_counter() - begun)
    return Text(parts.tokenizer, parts.chat, parts.notes)


def import_of_bundle(path: str | Path, manifest: Manifest) -> Model:
    """The model of a source as a bundle has it, but with caches of float32 and no tokenizer; errors as of ``build``."""
    weights_format = manifest.provenance.get("weights_format", DEFAULT_RULES.default).split(", ")
    activations = manifest.provenance.get("activations", "blocks")
    opened = open_published(
        path, context=manifest.context or None, weights_format=weights_format, activations=activations
    )
    return _import(opened, Text(), CACHE_TYPES[0], silent)


def _import(opened: Opened, text: Text, cache: str, tell: Progress) -> Model:
    begun = time.perf_counter()
    import torch

    from chimerac.frontends.export.importer import import_module
    from chimerac.frontends.layers.quantization import float_inputs, product_inputs
    from chimerac.frontends.published.filled import filled

    wanted = opened.activations or usual(opened.source, opened.shape)
    published = read_published(opened.source, opened.rules, wanted)
    rows = any(form.activations == "row" for form in published.forms.values())
    if opened.activations == "row" and not rows:
        message = f"{opened.source.path} has no ternary matrix in its layers, whose activations could have one scale"
        raise UserError("CHM236", message, hint="activations of other products have a scale for blocks of channels")
    activations: Activations = "row" if rows else "blocks"
    model = filled(published, opened.context)
    read = "" if model.whole else ", read as needed"
    tell("model", f"{model.parameters:,} parameters ({opened.source.path.name}){read}", time.perf_counter() - begun)

    begun = time.perf_counter()
    with torch.no_grad():
        module = import_module(model.module, name=opened.name, block=TOKENS, computed=model.computed)
        module = with_caches(module, cache)
    verify(module)
    tell("export", f"{len(module.entry('main').ops)} ops", time.perf_counter() - begun)
    told = tuple(summary(published.matrices.values()))
    return Model(
        name=opened.name,
        digest=published.digest,
        module=module,
        tokenizer=text.tokenizer,
        generation=generation_of(opened.source),
        chat=text.chat,
        remarks=(
            *(Remark("weights", line) for line in (*told, *published.remarks)),
            *(Remark("text", line) for line in text.notes),
        ),
        provenance=_provenance(opened) | {"activations": activations} | cache_provenance(cache),
        notes=notes(told, activations=activations),
        reference=Reference(_sessions(model), product_inputs, float_inputs) if model.whole else None,
    )


def _sessions(model: FilledModel) -> Callable[[int | None], ReferenceSession]:
    from chimerac.frontends.published.session import PublishedSession

    return lambda loops: PublishedSession(model.module)


def _provenance(opened: Opened) -> dict[str, str]:
    kind = "a Hugging Face folder" if isinstance(opened.source, ModelFolder) else "a GGUF file"
    return {
        "weights": opened.source.path.resolve().name,
        "source": f"{opened.shape.architecture} from {kind}",
        "weights_format": str(opened.rules),
    }


def _name(path: Path) -> str:
    """The name of the folder, or of the file without its ending, as bundles may be called."""
    path = path.resolve()
    name = path.name if path.is_dir() else path.name.removesuffix(".gguf")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:64]
    return name or "model"
