"""The tokenizer ``o200k_base`` and its agent tokens, from a rank file of tiktoken or from an installed package.

The ranks are not part of chimerac. Wherever they come from, they are compared with the SHA-256 of the published file.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.runtime.bundle_format.constants import (
    PATTERN_O200K,
    ROLE_CONTROL,
    ROLE_END,
    ROLE_PAD,
    ROLE_RESERVED,
)
from chimerac.runtime.bundle_format.regular import open_input
from chimerac.runtime.reference.tokenizer import Special, Tokenizer

RANKS: Final = 199_998  #: tokens that are text, ids 0 to RANKS - 1
RANK_FILE_BYTES: Final = 3_613_922  #: of the published file ``o200k_base.tiktoken``
RANK_FILE_SHA256: Final = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

PACKAGE: Final = "splintr-rs==0.22.0"  #: of PyPI, MIT; carries the ranks

BASE_VOCABULARY: Final = 200_019  #: with the two special tokens of o200k_base itself
AGENT_VOCABULARY: Final = 200_073  #: with the 54 agent tokens, as Chimera 5.1 has it
END_OF_TEXT: Final = 199_999
PAD: Final = 200_058

_BASE: Final = {"endoftext": END_OF_TEXT, "endofprompt": 200_018}
_PAIRS: Final = (
    *("think", "plan", "step", "act", "observe", "function", "result", "error", "code", "output", "lang", "context"),
    *("quote", "cite", "source", "memory", "recall"),
)
_LAST_PAIRS: Final = ("image", "audio", "video", "title", "section", "summary")


def _both(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for pair in names for name in (pair, f"/{pair}"))


#: Names of the agent tokens in id order, from BASE_VOCABULARY on.
AGENT_NAMES: Final = (
    *("system", "user", "assistant", "im_start", "im_end"),
    *_both(_PAIRS),
    *("pad", "stop", "sep"),
    *_both(_LAST_PAIRS),
)
_ROLES: Final = {
    **dict.fromkeys(("endoftext", "im_end", "stop"), ROLE_END),
    "pad": ROLE_PAD,
    # the model has no pictures or sound to put there
    **dict.fromkeys(_both(("image", "audio", "video")), ROLE_RESERVED),
}


def specials(vocabulary: int = AGENT_VOCABULARY) -> tuple[Special, ...]:
    """The special tokens of a vocabulary of BASE_VOCABULARY or AGENT_VOCABULARY entries, in id order."""
    ids = dict(_BASE)
    if vocabulary == AGENT_VOCABULARY:
        ids |= {name: BASE_VOCABULARY + k for k, name in enumerate(AGENT_NAMES)}
    return tuple(Special(f"<|{name}|>", id, _ROLES.get(name, ROLE_CONTROL)) for name, id in ids.items())


def o200k_tokenizer(ranks: tuple[bytes, ...], vocabulary: int = AGENT_VOCABULARY) -> Tokenizer:
    """The tokenizer of RANKS tokens, with special tokens and holes up to ``vocabulary``.

    Raises:
        UserError: CHM244, ``vocabulary`` is neither BASE_VOCABULARY nor AGENT_VOCABULARY.
    """
    if vocabulary not in (BASE_VOCABULARY, AGENT_VOCABULARY):
        raise UserError(
            "CHM244",
            f"o200k_base has {BASE_VOCABULARY} tokens, {AGENT_VOCABULARY} with agent tokens; the model {vocabulary}",
            hint="give the tokenizer that the weights were trained with, or change vocab_size",
        )
    holes = (b"",) * (vocabulary - RANKS)
    return Tokenizer(ranks + holes, specials(vocabulary), PATTERN_O200K)


def parse_ranks(data: bytes, where: str) -> tuple[bytes, ...]:
    """The tokens of a rank file, in order; ``where`` names it in the message.

    Raises:
        UserError: CHM245, it is not the published file of o200k_base.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != RANK_FILE_SHA256:
        message = f"{where} does not hold the ranks of o200k_base: {len(data):,} bytes with SHA-256 {found}"
        hint = f"the published o200k_base.tiktoken has {RANK_FILE_BYTES:,} bytes with SHA-256 {RANK_FILE_SHA256}"
        raise UserError("CHM245", message, hint=hint)
    return tuple(base64.b64decode(line.split()[0]) for line in data.splitlines())


def read_ranks(path: str | Path) -> tuple[bytes, ...]:
    """The tokens of a file in tiktoken's format, in order.

    Raises:
        UserError: CHM245, it is not the published file of o200k_base.
        OSError: the file cannot be read.
    """
    with open_input(path) as file:
        return parse_ranks(file.read(RANK_FILE_BYTES + 1), str(path))


def installed_ranks() -> tuple[bytes, ...]:
    """The tokens of o200k_base as the PyPI package splintr-rs carries them, in order.

    Raises:
        UserError: CHM246, the package is not installed; CHM245, it has other ranks.
    """
    try:
        package = importlib.import_module("splintr")
    except ImportError:
        message = f"a vocabulary of {AGENT_VOCABULARY:,} is o200k_base with agent tokens, whose ranks are not here"
        hint = f"pip install {PACKAGE}, or give the file: --tokenizer o200k_base.tiktoken"
        raise UserError("CHM246", message, hint=hint) from None
    table = package.Tokenizer.from_pretrained("o200k_base")
    tokens = tuple(table.decode_bytes([id]) for id in range(RANKS))
    parse_ranks(rank_file(tokens), "the installed package splintr-rs")
    return tokens


def rank_file(tokens: tuple[bytes, ...]) -> bytes:
    """Tokens in tiktoken's format: a line of base64 and the rank for each."""
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
