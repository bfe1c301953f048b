"""Tokenizers that come with a model that people already have: of a folder of the hub, or of a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.gguf import GgufFile
from chimerac.frontends.tokenizers.comparison import STRINGS, Comparison, compare
from chimerac.frontends.tokenizers.gguf_fields import parts_of_gguf
from chimerac.frontends.tokenizers.json_files import field, invalid, read_object
from chimerac.frontends.tokenizers.tokenizer_json import TokenRoles, tokenizer_of_json
from chimerac.runtime.reference.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextParts:
    """What a model needs for text.

    Attributes:
        tokenizer: as many entries as the model's vocabulary, which may be more than the file has.
        comparison: with the library ``tokenizers``.
    """

    tokenizer: Tokenizer
    comparison: Comparison


def read_folder(folder: Path, vocabulary: int, *, strings: int = STRINGS) -> TextParts:
    """The tokenizer of a folder of the Hugging Face hub.

    Args:
        folder: with ``tokenizer.json``, and perhaps ``tokenizer_config.json`` and ``generation_config.json``, which say
            what ends a generation.
        vocabulary: entries of the model.
        strings: how many texts are compared with the library ``tokenizers``.

    Raises:
        UserError: CHM244, more tokens than the vocabulary; CHM260, a file that cannot be read or is not valid; CHM261,
            a component that is not supported, by its name; CHM262, tokens that are not those of the library; CHM304,
            the library is not installed.
    """
    path = folder / "tokenizer.json"
    document = read_object(path)
    tokenizer = tokenizer_of_json(str(path), document, vocabulary, _roles(folder))
    library = _library().Tokenizer.from_file(str(path))
    return TextParts(tokenizer, compare(str(path), tokenizer, library, strings))


def read_gguf(file: GgufFile, vocabulary: int, *, strings: int = STRINGS) -> TextParts:
    """The tokenizer of a GGUF file; arguments and errors as of ``read_folder``, and CHM231."""
    parts = parts_of_gguf(file.metadata, vocabulary)
    tokenizer = parts.build()
    _library()
    from chimerac.frontends.tokenizers.library import library_of

    return TextParts(tokenizer, compare(str(file.path), tokenizer, library_of(parts), strings))


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        message = "the library tokenizers, which ours are compared with, is not installed"
        raise UserError("CHM304", message, hint="python -m pip install 'chimerac[build]'") from None
    return tokenizers


def _roles(folder: Path) -> TokenRoles:
    """Ids that end a generation, and names of the end and the padding."""
    ends: frozenset[int] = frozenset()
    path = folder / "generation_config.json"
    if path.exists():
        found = field(str(path), read_object(path), "eos_token_id", (int, list), [])
        ids = found if isinstance(found, list) else [found]
        if not all(type(id) is int and id >= 0 for id in ids):
            raise invalid(str(path), "eos_token_id is no token, nor a list of them")
        ends = frozenset(ids)
    path = folder / "tokenizer_config.json"
    config = read_object(path) if path.exists() else {}
    return TokenRoles(ends, _name(str(path), config, "eos_token"), _name(str(path), config, "pad_token"))


def _name(where: str, config: dict[str, Any], key: str) -> str | None:
    """A token's name, which may be in an object with the flags of the token."""
    found = field(where, config, key, (str, dict))
    if isinstance(found, dict):
        found = field(f"{where}, {key}", found, "content", str)
    return found if isinstance(found, str) else None
