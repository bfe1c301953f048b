"""Tokenizers that a model can have besides one that was trained for it: o200k_base, and those of public models."""

from chimerac.frontends.tokenizers.files import check_size, checked_chat, load_tokenizer, tokenizer_of
from chimerac.frontends.tokenizers.public import TextParts, read_folder, read_gguf

__all__ = ["TextParts", "check_size", "checked_chat", "load_tokenizer", "read_folder", "read_gguf", "tokenizer_of"]
