"""Tokenizers that a model can have besides one that was trained for it: o200k_base with agent tokens."""

from chimerac.frontends.tokenizers.files import load_tokenizer, tokenizer_of

__all__ = ["load_tokenizer", "tokenizer_of"]
