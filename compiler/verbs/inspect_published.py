"""``chimerac inspect`` of a model that others published: what its files say, and what a build would make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.columns import columns
from chimerac.frontends.matrices.rounding import summary
from chimerac.frontends.published.bit_linear import bit_linear
from chimerac.frontends.published.reading import Source, open_source, read_published
from chimerac.frontends.published.shape import LlamaShape, SsmShape
from chimerac.frontends.published.text_part import text_part
from chimerac.frontends.sources.gguf import GgufFile
from chimerac.frontends.sources.gguf_metadata import Strings
from chimerac.frontends.tokenizers.world import WORLD


@dataclass(frozen=True)
class PublishedDescription:
    """What is in a folder or a file.

    Attributes:
        shape: None where the model is not supported, for the reason in ``refusal``.
        becomes: a line for each way in which its matrices are kept.
        remarks: what is left out.
    """

    source: Source
    shape: LlamaShape | None
    becomes: tuple[str, ...]
    refusal: UserError | None
    remarks: tuple[str, ...] = ()

    def render(self) -> str:
        """The same as aligned text."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        source = self.source
        yield from self._head()
        yield f"tokenizer: {_tokenizer(source)}"
        if not isinstance(source, GgufFile) and self.shape is not None:
            yield f"quantisation: {_quantisation(source)}"
        yield ""
        yield from columns(_types(source), ("type", "tensors", "bytes"))
        yield ""
        if self.refusal is not None:
            yield f"not supported: {self.refusal.code} {self.refusal.message}"
        yield from self._becomes()
        yield ""
        rows = [(t.name, f"{t.type_name}{list(t.shape)}", f"{t.size:,}") for t in source.tensors.values()]
        yield from columns(rows, ("tensor", "type", "bytes"))

    def summary(self) -> Iterator[str]:
        """Lines of what it is, and of what becomes of it."""
        yield from self._head()
        yield from self._becomes()

    def _head(self) -> Iterator[str]:
        source = self.source
        name = source.architecture if isinstance(source, GgufFile) else source.model_type
        kind = f"GGUF file of version {source.version}" if isinstance(source, GgufFile) else "Hugging Face folder"
        yield f"{source.path.resolve().name}: {name}, a {kind}"
        if self.shape is not None:
            yield from _of_shape(self.shape)

    def _becomes(self) -> Iterator[str]:
        yield from (f"becomes {line}" for line in self.becomes)
        yield from self.remarks


def inspect_published(path: str | Path) -> PublishedDescription:
    """What a model folder or GGUF file holds, and what ``build`` would make of it.

    Raises:
        UserError: CHM230 to CHM233, CHM240, a folder or file that cannot be read; CHM231, it says nothing of its kind.
            What is read and not supported is in the result.
    """
    source = open_source(path)
    _ = source.architecture if isinstance(source, GgufFile) else source.model_type
    try:
        published = read_published(source)
        told = tuple(summary(published.matrices.values()))
        return PublishedDescription(source, published.shape, told, None, published.remarks)
    except UserError as error:
        return PublishedDescription(source, None, (), error)


def _of_shape(shape: LlamaShape) -> Iterator[str]:
    if shape.ssm is not None:
        yield _of_states(shape, shape.ssm)
    elif shape.mlstm is not None:
        lstm, layers = shape.mlstm, f"{shape.layers} layers of {shape.hidden} channels"
        heads = f"matrix LSTMs of {lstm.heads} heads of {lstm.key_width} × {lstm.value_width}"
        yield f"{layers}: {heads}, {shape.inner} channels within"
    elif shape.rwkv is not None:
        rwkv, layers = shape.rwkv, f"{shape.layers} layers of {shape.hidden} channels"
        heads = f"generalised delta rules of {rwkv.heads} heads of {rwkv.width} × {rwkv.width}"
        yield f"{layers}: {heads}, {shape.inner} channels within"
    else:
        yield _of_layers(shape)
    tied = "which is the head" if shape.tied else "and a head of its own"
    made = "texts have no end" if shape.endless else f"made for {shape.context:,} tokens"
    yield f"vocabulary of {shape.vocabulary:,} tokens, {tied}; {made}"


def _of_states(shape: LlamaShape, ssm: SsmShape) -> str:
    share = f" that share {ssm.groups} writers and readers" if ssm.groups < ssm.heads else ""
    states = f"state spaces of {ssm.heads} heads of {ssm.state} × {ssm.width}{share}"
    return f"{shape.layers} layers of {shape.hidden} channels: {states}, behind convolutions over {ssm.taps} tokens"


def _of_layers(shape: LlamaShape) -> str:
    heads = f"{shape.heads} heads of {shape.head_width} channels that share {shape.kv_heads} keys"
    layers = f"{shape.layers} layers of {shape.hidden} channels"
    if shape.delta is not None:
        delta = shape.delta
        layers += f", of which {len(shape.delta_layers)} are gated delta rules of {delta.values} heads of"
        layers += f" {delta.key_width} × {delta.value_width} that share {delta.keys} keys"
    if shape.conv_layers:
        layers += f", of which {len(shape.conv_layers)} are convolutions over {shape.conv_taps} tokens"
    within = f"{shape.inner} channels within"
    if shape.experts is not None:
        experts = shape.experts
        within = f"{experts.count} experts of {experts.width} channels, {experts.chosen} a token"
        within += f", and one of {experts.shared} for all" if experts.shared else ""
        if len(shape.expert_layers) < shape.layers:
            within += f", in {len(shape.expert_layers)} layers; {shape.inner} channels within the others"
    return f"{layers}, {heads}, {within}"


def _tokenizer(source: Source) -> str:
    if not isinstance(source, GgufFile):
        found = [n for n in ("tokenizer.json", WORLD, "tokenizer_config.json") if (source.path / n).is_file()]
        return ", ".join(found) or "none"
    model = source.metadata.get("tokenizer.ggml.model", str)
    pre = source.metadata.get("tokenizer.ggml.pre", str)
    tokens = source.metadata.get("tokenizer.ggml.tokens", Strings)
    return f"{model}, cut as {pre or 'nothing says'}, {len(tokens or ()):,} tokens" if model is not None else "none"


def _quantisation(source: Source) -> str:
    assert not isinstance(source, GgufFile)
    rule = bit_linear(text_part(source).config)
    if rule is None:
        return "none"
    norms = "" if rule.norms is None else ", norms before each projection"
    return f"BitNet, trits {rule.rule}{norms}" if rule.rule != "online" else f"BitNet, floats rounded to trits{norms}"


def _types(source: Source) -> list[tuple[str, str, str]]:
    """Of each type how many tensors there are, and their bytes, the most bytes first."""
    counts, sizes = Counter[str](), Counter[str]()
    for tensor in source.tensors.values():
        counts[tensor.type_name] += 1
        sizes[tensor.type_name] += tensor.size
    return [(name, f"{counts[name]}", f"{size:,}") for name, size in sizes.most_common()]
