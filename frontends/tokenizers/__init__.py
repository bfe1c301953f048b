"""Tokenizers that a model can have besides one trained for it: o200k_base, characters, those of public models."""

from chimerac.frontends.tokenizers.characters import Characters, character_tokenizer
from chimerac.frontends.tokenizers.files import check_size, checked_chat, load_tokenizer, tokenizer_of
from chimerac.frontends.tokenizers.public import TextParts, read_folder, read_gguf

__all__ = [
    "Characters",
    "TextParts",
    "character_tokenizer",
    "check_size",
    "checked_chat",
    "load_tokenizer",
    "read_folder",
    "read_gguf",
    "tokenizer_of",
]
