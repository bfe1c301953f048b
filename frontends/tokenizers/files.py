"""The tokenizer of a model: from a file of the user, or the one that its vocabulary stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import Span, UserError
from chimerac.frontends.tokenizers import o200k
from chimerac.frontends.tokenizers.characters import read_characters
from chimerac.runtime.bundle_format import Chat
from chimerac.runtime.bundle_format.regular import open_input
from chimerac.runtime.reference.tokenizer import Tokenizer, read_tokenizer

_RANK_LINE: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")


def load_tokenizer(path: str | Path, vocabulary: int) -> Tokenizer:
    """The tokenizer of a container, of the ranks of o200k_base in tiktoken's format, or of characters in JSON.

    Args:
        path: the file; what it holds decides, not its name.
        vocabulary: entries of the model's vocabulary.

    Raises:
        UserError: CHM244, its size is not the vocabulary's; CHM245, ranks of another tokenizer; CHM260, what is no
            list of characters.
        BundleError: CHM400 to CHM406, CHM430, a container that cannot be read.
    """
    start = _start(Path(path))
    if _RANK_LINE.match(start):
        return o200k.o200k_tokenizer(o200k.read_ranks(path), vocabulary)
    if start.lstrip()[:1] in (b"[", b"{"):
        return read_characters(Path(path), vocabulary)
    tokenizer = read_tokenizer(path)
    check_size(tokenizer, vocabulary, f"the tokenizer {path}")
    return tokenizer


def check_size(tokenizer: Tokenizer, vocabulary: int, what: str) -> None:
    """Raise UserError CHM244 when a tokenizer, ``what`` in the message, is not of the model's vocabulary."""
    if len(tokenizer.tokens) != vocabulary:
        message = f"{what} has {len(tokenizer.tokens)} tokens, the model {vocabulary}"
        raise UserError("CHM244", message, hint="give the tokenizer that the weights were trained with")


def checked_chat(chat: Chat | None, tokenizer: Tokenizer | None) -> Chat | None:
    """The chat; raises UserError CHM263 if it names a token that is no special one of the tokenizer."""
    specials = {special.id for special in tokenizer.specials} if tokenizer else set()
    strangers = sorted(set(chat.tokens()) - specials) if chat else []
    if strangers:
        message = f"the chat names the token {strangers[0]}, which is no special token of the tokenizer"
        raise UserError("CHM263", message, hint="take the chat and the tokenizer of one model")
    return chat


def tokenizer_of(vocabulary: int, token_ids: tuple[int, ...] = (), place: Span | None = None) -> Tokenizer | None:
    """The tokenizer that a vocabulary stands for: o200k_base with agent tokens, or None for any other size.

    Args:
        vocabulary: entries.
        token_ids: end of text and padding, as a model's description has them; ``place`` is where it does.

    Raises:
        UserError: CHM246, CHM245 as ``installed_ranks``; CHM247, ``token_ids`` are other tokens.
    """
    if vocabulary != o200k.AGENT_VOCABULARY:
        return None
    expected = (o200k.END_OF_TEXT, o200k.PAD)
    if token_ids not in ((), expected[:1], expected):
        raise UserError(
            "CHM247",
            f"token_ids are {list(token_ids)}; of o200k_base with agent tokens they are {list(expected)}",
            span=place,
            hint="give the tokenizer that these ids are of with --tokenizer, or correct token_ids",
        )
    return o200k.o200k_tokenizer(o200k.installed_ranks())


def _start(path: Path) -> bytes:
    try:
        with open_input(path) as file:
            return file.read(1024)
    except OSError:
        return b""  # the reader of containers says what is wrong
