"""Descriptions and modules to ``Model``: what a build starts from."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimerac.compiler.build.formats import formatted
from chimerac.compiler.build.timings import Progress, silent
from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.ir.caches import CACHE_TYPES, with_caches
from chimerac.compiler.ir.module import Module, Parts
from chimerac.compiler.ir.text import print_module
from chimerac.compiler.ir.verify import verify
from chimerac.compiler.model import GrammarRequest, Model, Reference, Remark
from chimerac.frontends.config import shipped_file
from chimerac.frontends.config.document import open_document
from chimerac.frontends.config.model import NAME_PATTERN
from chimerac.frontends.families.protocol import Description, Family
from chimerac.frontends.families.registry import DEFAULT, find_family
from chimerac.frontends.matrices.rules import Given
from chimerac.frontends.tokenizers import Characters, character_tokenizer, check_size, load_tokenizer
from chimerac.runtime.bundle_format import Entry
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import Tokenizer, byte_tokenizer

if TYPE_CHECKING:
    from torch import nn

    from chimerac.frontends.export.examples import Example

MOST_SEED = (1 << 64) - 1
#: ``file.py:Class``, in place of a config.
MODULE_SOURCE = re.compile(r".+\.py:[A-Za-z_]\w*")
#: Most tokens of a call of a module that no family describes.
DEFAULT_BLOCK = 16
BYTES = 256  #: tokens of a model that has one for each byte


@dataclass(frozen=True)
class Described:
    """A description, its family, and the files that come with a built-in config where it is taken as it is."""

    family: Family[Any]
    description: Description[Any]
    weights: Path | None = None
    tokenizer: Path | None = None
    notes: str = ""  #: what the card says of these weights
    examples: tuple[str, ...] = ()  #: prompts for them


def read_description(
    config: str | Path,
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    tell: Progress = silent,
) -> Described:
    """What a config describes; parameters and errors as of ``build``."""
    begun = time.perf_counter()
    document = open_document(config, scale=scale, overrides=overrides)
    family = find_family(*(document.model_type or (DEFAULT,)))
    description = family.describe(document)
    if seed is not None:
        description = replace(description, shape=replace(description.shape, seed=checked_seed(seed)))
    tell("config", f"{description.name}: {description.summary}", time.perf_counter() - begun)
    if scale is not None or overrides:
        return Described(family, description)
    tokenizer = shipped_file(config, ".tokenizer")
    if seed is not None:
        return Described(family, description, tokenizer=tokenizer)
    weights, notes, prompts = (shipped_file(config, suffix) for suffix in (".safetensors", ".md", ".examples.txt"))
    texts = [file.read_text("utf-8") if file else "" for file in (notes, prompts)]
    return Described(family, description, weights, tokenizer, texts[0], tuple(texts[1].splitlines()))


def checked_seed(seed: int) -> int:
    """A seed; raises UserError CHM312 for another number."""
    if not 0 <= seed <= MOST_SEED:
        raise UserError("CHM312", f"the seed {seed} is not a number from 0 to 2**64 - 1")
    return seed


def import_model(
    config: str | Path,
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    weights: str | Path | None = None,
    tokenizer: str | Path | None = None,
    seed: int | None = None,
    tell: Progress = silent,
) -> Model:
    """The model that a config describes, with its weights; parameters and errors as of ``build``."""
    described = read_description(config, scale=scale, overrides=overrides, seed=seed, tell=tell)
    return import_described(described, weights=weights, tokenizer=tokenizer, tell=tell)


def import_described(
    described: Described,
    *,
    weights: str | Path | None = None,
    tokenizer: str | Path | None = None,
    tell: Progress = silent,
) -> Model:
    """The model of a description, with weights of a file, those that come with it, or random ones."""
    description = described.description
    table = tokenizer_of(described, tokenizer)
    grammars = description.grammars()
    begun = time.perf_counter()
    import torch

    from chimerac.frontends.export.drafted import with_draft
    from chimerac.frontends.export.importer import import_module
    from chimerac.frontends.layers.quantization import float_inputs, product_inputs
    from chimerac.frontends.weights.sources import filled_module

    family, shape = described.family, description.shape
    filled = filled_module(family, shape, weights or described.weights)
    read = ", read as needed" if filled.computed else ""
    tell("model", f"{filled.parameters:,} parameters ({filled.origin}){read}", time.perf_counter() - begun)

    begun = time.perf_counter()
    with torch.no_grad():
        exported = family.export_form(filled.module)
        computed: dict[str, Parts] = {**filled.computed, **filled.integers}
        module = import_module(exported, name=description.name, block=family.block(shape), computed=computed)
        module = with_draft(module, exported, computed)
    verify(module)
    tell("export", f"{len(module.entry('main').ops)} ops", time.perf_counter() - begun)
    reference = Reference(partial(family.reference_session, filled.module), product_inputs, float_inputs)
    return Model(
        name=description.name,
        digest=description.digest,
        module=module,
        tokenizer=table,
        grammars=grammars,
        file_names=description.file_names,
        generation=description.generation,
        refusal=description.refusal,
        remarks=description.remarks(),
        absent=description.absent,
        provenance={"weights": filled.origin, "scale": description.scale},
        notes=described.notes if weights is None else "",
        examples=described.examples if weights is None else (),
        reference=None if filled.computed else reference,
        place=description.place,
    )


def model_of_module(
    module: nn.Module,
    *,
    name: str | None = None,
    tokenizer: str | Path | Tokenizer | Characters | None = None,
    grammars: GrammarRequest | None = None,
    block: int = DEFAULT_BLOCK,
    context: int | None = None,
    cache: str = CACHE_TYPES[0],
    weights_format: Given | None = None,
    tell: Progress = silent,
) -> Model:
    """The model of a PyTorch module in export form, or with one; parameters and errors as of ``compile``."""
    name = _checked_name(module, name)
    begun = time.perf_counter()
    import torch

    from chimerac.frontends.export.importer import import_module
    from chimerac.frontends.export.own_form import form_of

    notes: list[str] = []
    form = form_of(module.eval(), context)
    with torch.no_grad():
        imported = import_module(form.module, name=name, block=block, notes=notes, context=form.context)
        imported = with_caches(imported, cache)
    formats = formatted(form.module, imported, weights_format)
    imported = formats.module
    verify(imported)
    tell("export", f"{len(imported.entry('main').ops)} ops", time.perf_counter() - begun)
    vocabulary = int(imported.entry("main").results[0].type.shape[-1])
    table = _tokenizer(tokenizer, vocabulary)
    if table is None and grammars is not None:
        message = f"the model has {vocabulary} tokens, too few for one per byte, and grammars are of texts"
        raise UserError("CHM244", message, hint="give its tokenizer: tokenizer=…")
    return Model(
        name=imported.name,
        digest=module_digest(imported),
        module=imported,
        tokenizer=table,
        grammars=grammars,
        remarks=(*_changes(notes), *formats.remarks),
        provenance={"weights": _origin(module), **cache_provenance(cache), **formats.provenance},
        notes=formats.notes,
    )


def _tokenizer(given: str | Path | Tokenizer | Characters | None, vocabulary: int) -> Tokenizer | None:
    """The tokenizer of a module; without one a token per byte, and no text where there are fewer tokens than that."""
    if given is None:
        return byte_tokenizer(vocabulary, ()) if vocabulary >= BYTES else None
    if isinstance(given, Tokenizer):
        check_size(given, vocabulary, "the tokenizer")
        return given
    if isinstance(given, str | Path):
        return read_tokenizer_file(given, vocabulary)
    return character_tokenizer(given, vocabulary)


def cache_provenance(cache: str) -> dict[str, str]:
    """What a manifest says of caches that are not the module's own."""
    return {} if cache == CACHE_TYPES[0] else {"cache": cache}


def model_of_tensors(
    module: nn.Module,
    example: Example,
    *,
    name: str | None = None,
    block: int = DEFAULT_BLOCK,
    weights_format: Given | None = None,
    tell: Progress = silent,
) -> Model:
    """The model of a PyTorch module that is no language model; parameters and errors as of ``compile``."""
    name = _checked_name(module, name)
    begun = time.perf_counter()
    import torch

    from chimerac.frontends.export.plain import import_plain

    with torch.no_grad():
        plain = import_plain(module.eval(), example.arguments, name=name, dynamic_shapes=example.dynamic, block=block)
    formats = formatted(module, plain.module, weights_format)
    verify(formats.module)
    (graph,) = formats.module.graphs.values()
    tell("export", f"{len(graph.ops)} ops", time.perf_counter() - begun)
    return Model(
        name=name,
        digest=module_digest(formats.module),
        module=formats.module,
        tokenizer=None,
        entries=(Entry(graph.name, graph.tokens, plain.inputs, plain.results),),
        remarks=(*_changes(plain.notes), *formats.remarks),
        provenance={"weights": _origin(module), **formats.provenance},
        notes=formats.notes,
    )


def _checked_name(module: nn.Module, name: str | None) -> str:
    name = name if name is not None else type(module).__name__.lower().lstrip("_")
    if not re.fullmatch(NAME_PATTERN, name):
        raise UserError("CHM113", f"a model can't be called {name!r}", hint=f"its name must match {NAME_PATTERN}")
    return name


def _origin(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def module_of_source(source: str, seed: int | None = None) -> nn.Module:
    """The module of ``file.py:Class``; the seed is that of the random numbers that the class draws, 0 when None.

    Raises:
        UserError: CHM219, CHM312 for the seed.
    """
    from chimerac.frontends.export.source import load_source

    return load_source(source, seed=checked_seed(seed or 0))


def _changes(notes: Sequence[str]) -> Iterator[Remark]:
    """One remark for all parameters that were changed in the same way."""
    for change, count in Counter(note.partition(": ")[2] for note in notes).items():
        yield Remark("dtype", f"{count} parameters or buffers of {change}")


def module_digest(module: Module) -> str:
    """SHA-256 of an IR module: its text and the bytes of its weights."""
    digest = hashlib.sha256(print_module(module).encode())
    for name, constant in module.constants.items():
        digest.update(f"{name}\0".encode())
        for part in constant.parts():
            digest.update(part.tobytes())
    return digest.hexdigest()


def tokenizer_of(described: Described, path: str | Path | None = None) -> Tokenizer:
    """The tokenizer of a file, of the built-in config, of the vocabulary, or one token per byte, in that order."""
    description = described.description
    vocabulary = description.shape.vocabulary
    path = path or described.tokenizer
    if path is not None:
        return read_tokenizer_file(path, vocabulary)
    return description.own_tokenizer() or byte_tokenizer(vocabulary, description.specials)


def read_tokenizer_file(path: str | Path, vocabulary: int) -> Tokenizer:
    try:
        return load_tokenizer(path, vocabulary)
    except BundleError as error:
        raise as_user_error(error) from None
