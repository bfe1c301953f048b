"""Tokenizers that a model can have besides one that was trained for it: o200k_base with agent tokens."""

from chimerac.frontends.tokenizers.files import check_size, load_tokenizer, tokenizer_of

__all__ = ["check_size", "load_tokenizer", "tokenizer_of"]
