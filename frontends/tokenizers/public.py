"""Tokenizers that come with a model that people already have: of a folder of the hub, or of a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.sources.gguf import GgufFile
from chimerac.frontends.sources.gguf_metadata import Strings
from chimerac.frontends.tokenizers.chat_template import chat_of_template
from chimerac.frontends.tokenizers.comparison import STRINGS, Comparison, compare
from chimerac.frontends.tokenizers.gguf_fields import parts_of_gguf
from chimerac.frontends.tokenizers.json_files import field, invalid, read_object, read_text
from chimerac.frontends.tokenizers.tokenizer_json import TokenRoles, tokenizer_of_json
from chimerac.frontends.tokenizers.vocabulary import Parts
from chimerac.frontends.tokenizers.world import WORLD, parts_of_world
from chimerac.runtime.bundle_format import Chat
from chimerac.runtime.reference.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextParts:
    """What a model needs for text.

    Attributes:
        tokenizer: as many entries as the model's vocabulary, which may be more than the file has.
        comparison: with the library ``tokenizers``.
        chat: how a conversation is put into tokens; None of a model without a chat template.
        notes: what is to be said of these, a line each.
    """

    tokenizer: Tokenizer
    comparison: Comparison
    chat: Chat | None = None
    notes: tuple[str, ...] = ()


def read_folder(folder: Path, vocabulary: int, *, strings: int = STRINGS) -> TextParts:
    """The tokenizer of a folder of the Hugging Face hub.

    Args:
        folder: with ``tokenizer.json`` or the file of RWKV's world tokenizer, and perhaps ``tokenizer_config.json`` and
            ``generation_config.json``, which say what ends a generation.
        vocabulary: entries of the model.
        strings: how many texts are compared with the library ``tokenizers``.

    Raises:
        UserError: CHM244, more tokens than the vocabulary; CHM260, a file that cannot be read or is not valid; CHM261,
            a component that is not supported, by its name; CHM262, tokens that are not those of the library; CHM304,
            the library is not installed.
    """
    path, world = folder / "tokenizer.json", folder / WORLD
    config = _optional(folder / "tokenizer_config.json")
    if world.exists() and not path.exists():
        path, parts = world, parts_of_world(world, vocabulary)
        tokenizer, library = parts.build(), _library_of(parts)
    else:
        tokenizer = tokenizer_of_json(str(path), read_object(path), vocabulary, _roles(folder, config))
        library = _library().Tokenizer.from_file(str(path))
    names = {key: _name(str(folder / "tokenizer_config.json"), config, key) or "" for key in _NAMES}
    return _with_chat(str(path), tokenizer, library, strings, _template(folder, config), names)


def read_gguf(file: GgufFile, vocabulary: int, *, strings: int = STRINGS) -> TextParts:
    """The tokenizer of a GGUF file; arguments and errors as of ``read_folder``, and CHM231."""
    parts = parts_of_gguf(file.metadata, vocabulary)
    tokenizer, library = parts.build(), _library_of(parts)
    metadata, tokens = file.metadata, file.metadata.need("tokenizer.ggml.tokens", Strings)
    ids = {key: metadata.get(f"tokenizer.ggml.{name}_token_id", int) for key, name in _NAMES.items()}
    names = {key: "" if id is None or id >= len(tokens) else tokens[id] for key, id in ids.items()}
    template = metadata.get("tokenizer.chat_template", str)
    if template is not None and "{" not in template:
        template = None  # the name of one that llama.cpp has, as rwkv-world
    return _with_chat(str(file.path), tokenizer, library, strings, template, names)


#: Names of tokens that templates use, and what GGUF calls them.
_NAMES: Final = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _with_chat(
    where: str, tokenizer: Tokenizer, library: Any, strings: int, template: str | None, names: dict[str, str]
) -> TextParts:
    compared = compare(where, tokenizer, library, strings)
    notes = (str(compared),)
    if not template:
        return TextParts(tokenizer, compared, None, (*notes, "there is no chat template: prompts are raw"))
    found = chat_of_template(
        template, names, tokenizer, lambda text: list(library.encode(text, add_special_tokens=False).ids)
    )
    return TextParts(tokenizer, compared, found.chat, (*notes, found.note))


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    """The chat template: a file of its own, or in ``tokenizer_config.json``, perhaps one of several with names."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return read_text(path)
    where = str(folder / "tokenizer_config.json")
    found = field(where, config, "chat_template", (str, list))
    if isinstance(found, list):
        rows = [row for row in found if isinstance(row, dict) and row.get("name") == "default"]
        found = field(f"{where}, chat_template", rows[0], "template", str) if rows else None
    return found if isinstance(found, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        message = "the library tokenizers, which ours are compared with, is not installed"
        raise UserError("CHM304", message, hint="python -m pip install 'chimerac[build]'") from None
    return tokenizers


def _library_of(parts: Parts) -> Any:
    """What a tokenizer is compared with that the library cannot read."""
    _library()
    from chimerac.frontends.tokenizers.library import library_of

    return library_of(parts)


def _roles(folder: Path, config: dict[str, Any]) -> TokenRoles:
    """Ids that end a generation, and names of the end and the padding."""
    path, where = folder / "generation_config.json", str(folder / "tokenizer_config.json")
    found = field(str(path), _optional(path), "eos_token_id", (int, list), [])
    ids = found if isinstance(found, list) else [found]
    if not all(type(id) is int and id >= 0 for id in ids):
        raise invalid(str(path), "eos_token_id is no token, nor a list of them")
    return TokenRoles(frozenset(ids), _name(where, config, "eos_token"), _name(where, config, "pad_token"))


def _name(where: str, config: dict[str, Any], key: str) -> str | None:
    """A token's name, which may be in an object with the flags of the token."""
    found = field(where, config, key, (str, dict))
    if isinstance(found, dict):
        found = field(f"{where}, {key}", found, "content", str)
    return found if isinstance(found, str) else None
