"""The tokenizer in the metadata of a GGUF file: byte-level (gpt2), of SentencePiece (llama), or RWKV's (rwkv)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from chimerac.frontends.sources.gguf_metadata import Metadata, Strings
from chimerac.frontends.tokenizers.components import Shape
from chimerac.frontends.tokenizers.json_files import invalid, unsupported
from chimerac.frontends.tokenizers.spelling import bytes_of_escapes
from chimerac.frontends.tokenizers.vocabulary import Named, Parts, Roles
from chimerac.frontends.tokenizers.world import longest_parts
from chimerac.runtime.bundle_format import constants as c

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)  #: llama.cpp's types of tokens

#: ``tokenizer.ggml.pre`` → how text is cut and changed, and whether pieces that are tokens are taken whole.
PRE: Final[dict[str, tuple[str, tuple[str, ...], bool]]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4"), (c.PATTERN_GPT2, (), False)),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "lfm2"), (c.PATTERN_LLAMA3, (), True)),
    **dict.fromkeys(("deepseek-r1-qwen", "stablelm2", "megrez"), (c.PATTERN_QWEN2, (), False)),
    "qwen2": (c.PATTERN_QWEN2, (c.RULE_NFC,), False),
    "qwen35": (c.PATTERN_QWEN35, (c.RULE_NFC,), False),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "exaone"), (c.PATTERN_GPT2_DIGITS, (), False)),
    **dict.fromkeys(("gpt-4o", "llama4"), (c.PATTERN_O200K, (), False)),
}


def parts_of_gguf(metadata: Metadata, vocabulary: int) -> Parts:
    """What a file's metadata say of its tokenizer.

    Raises:
        UserError: CHM231, a key that is missing or of another type; CHM260, what cannot be; CHM261, a tokenizer that
            is not supported, by its name.
    """
    where, model = str(metadata.file), metadata.need("tokenizer.ggml.model", str)
    tokens = metadata.need("tokenizer.ggml.tokens", Strings)
    if len(tokens) > c.MAX_VOCABULARY:
        raise unsupported(where, f"{len(tokens)} tokens; the most is {c.MAX_VOCABULARY}")
    kinds = _kinds(metadata, len(tokens))
    is_named = (kinds == _CONTROL) | (kinds == _USER) | (kinds == _UNKNOWN)
    named = [Named(tokens[id], id) for id in np.flatnonzero(is_named).tolist() if tokens[id]]
    if len(named) > c.MAX_SPECIALS:
        raise unsupported(where, f"{len(named)} special tokens; the most is {c.MAX_SPECIALS}")
    for one in named:
        if one.name.isspace():
            raise unsupported(where, f"the user-defined token {one.name!r}, which is white space")
    is_text = (kinds == _NORMAL) | (kinds == _BYTE)
    texts = {id: tokens[id] for id in np.flatnonzero(is_text).tolist() if tokens[id]}
    if model == "gpt2":
        return _byte_level(where, metadata, vocabulary, texts, named)
    if model == "llama":
        return _pieces(where, metadata, vocabulary, texts, named)
    if model == "rwkv":
        return _longest(where, metadata, vocabulary, texts, named)
    raise unsupported(where, f"tokenizer.ggml.model {model!r}", "chimerac reads gpt2, llama and rwkv")


def _kinds(metadata: Metadata, count: int) -> np.ndarray:
    kinds = metadata.get("tokenizer.ggml.token_type", np.ndarray)
    if kinds is None:
        return np.full(count, _NORMAL)
    if len(kinds) != count or kinds.dtype.kind not in "iu" or not ((kinds >= _NORMAL) & (kinds <= _BYTE)).all():
        raise invalid(str(metadata.file), "tokenizer.ggml.token_type has not one of 1 to 6 for each token")
    return kinds


def _byte_level(where: str, metadata: Metadata, vocabulary: int, texts: dict[int, str], named: list[Named]) -> Parts:
    pre = metadata.need("tokenizer.ggml.pre", str)
    if pre not in PRE:
        raise unsupported(where, f"tokenizer.ggml.pre {pre!r}", f"chimerac knows {', '.join(sorted(PRE))}")
    pattern, rules, whole = PRE[pre]
    if metadata.get("tokenizer.ggml.add_space_prefix", bool):
        rules = (*rules, c.RULE_PREFIX_MISSING)
    merges = tuple(_pairs(where, metadata.need("tokenizer.ggml.merges", Strings)))
    shape = Shape(pattern, rules, byte_level=True)
    roles = _roles(metadata, named, begins=pattern == c.PATTERN_LLAMA3)
    return Parts(where, vocabulary, shape, texts, named, roles, merges=merges, whole=whole)


def _pairs(where: str, merges: Strings) -> Iterator[tuple[str, str]]:
    if len(merges) > c.MAX_MERGES:
        raise unsupported(where, f"{len(merges)} merges; the most is {c.MAX_MERGES}")
    for number, merge in enumerate(merges):
        left, space, right = merge.partition(" ")
        if not left or not space or not right or " " in right:
            raise invalid(where, f"merge {number} is not two tokens")
        yield left, right


def _pieces(where: str, metadata: Metadata, vocabulary: int, texts: dict[int, str], named: list[Named]) -> Parts:
    """Any two parts whose token has a score merge, the highest score first."""
    scores = metadata.need("tokenizer.ggml.scores", np.ndarray)
    if len(scores) < max(texts, default=0) + 1 or not np.isfinite(scores).all():
        raise invalid(where, "tokenizer.ggml.scores has not a number for each token")
    made = np.array(sorted(texts), np.int64)
    order = made[np.argsort(-scores[made].astype(np.float64), kind="stable")].tolist()
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", bool)
    rules = (c.RULE_UNDERLINE,) if prefix is False else (c.RULE_UNDERLINE, c.RULE_PREFIX)
    shape = Shape(c.PATTERN_NONE, rules, byte_level=False)
    roles = _roles(metadata, named, begins=True)
    return Parts(where, vocabulary, shape, texts, named, roles, order=order, byte_tokens=True)


def _longest(where: str, metadata: Metadata, vocabulary: int, texts: dict[int, str], named: list[Named]) -> Parts:
    """Byte strings with escapes."""
    tokens = {}
    for id, text in texts.items():
        token = bytes_of_escapes(text)
        if not token:
            raise invalid(where, f"token {id} has an escape that is none")
        tokens[id] = token
    return longest_parts(where, vocabulary, tokens, named, _roles(metadata, named, begins=False))


def _roles(metadata: Metadata, named: list[Named], *, begins: bool) -> Roles:
    """Roles by the ids that the file gives; ``begins``: whether a text has a begin token if the file does not say."""
    known = {one.id for one in named}

    def id_of(name: str) -> int | None:
        id = metadata.get(f"tokenizer.ggml.{name}_token_id", int)
        return id if id in known else None

    ends = frozenset(id for name in ("eos", "eot", "eom") if (id := id_of(name)) is not None)
    adds = metadata.get("tokenizer.ggml.add_bos_token", bool)
    begin = id_of("bos") if (begins if adds is None else adds) else None
    return Roles(ends, id_of("padding"), begin)
