"""The tokenizer of ``home``, and fast encoding of many texts with exactly the tokens of the runtime."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from chimerac.frontends.home.pairs import count_pieces, learn
from chimerac.runtime.tokenizer import Special, Tokenizer

VOCABULARY: Final = 4096
ANSWER: Final = "<|json|>"
END: Final = "<|endoftext|>"
PAD: Final = "<|pad|>"
_SPECIALS: Final = ((ANSWER, "answer"), (END, "end"), (PAD, "pad"))

#: Parts of every answer, as chains of merges of tokens that are learnt (`{"`, `intent`, `":"` and so on).
_JSON_CHAINS: Final = (b'{"intent', b'{"intent":"', b'","slots', b'","slots":{"', b'","slots":{}}')
_SPACED_WORDS: Final = 500  #: most tokens that are a space and a word
_FIRST_SHARE: Final = 0.01  #: a word that starts more than this share of values than it follows spaces gets no space
_SPACED: Final = re.compile(r"(?<= )[^\W\d_]+")
_VALUE_START: Final = re.compile(r'"(?:name|area|floor|item|message|search_query|conversation_command)":"([^\W\d_]+)')


def train_tokenizer(texts: Sequence[str], answers: Sequence[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Tokens: the 256 bytes, learnt merges, parts of answers, " word" for common words; three specials at the end.

    A token with a space is a whole word after it, made last, and never a word that starts values. So a name has the
    same tokens after a space as after the quotation mark of the answer, and a model can copy a name it has never seen.
    """
    pieces = count_pieces(texts) + count_pieces(answers)
    room = vocabulary - 256 - len(_SPECIALS)
    spaced_room = min(_SPACED_WORDS, room // 4)
    learnt = learn(pieces, room - spaced_room - len(_JSON_CHAINS))
    known = {*learnt, *(bytes([byte]) for byte in range(256))}
    chains = [chain for chain in _JSON_CHAINS if _reachable(chain, known)]
    spaced = _spaced_words(texts, answers, known)[:spaced_room]
    tokens = [*(bytes([byte]) for byte in range(256)), *learnt, *chains, *spaced]
    tokens += [b""] * (vocabulary - len(tokens))
    first = vocabulary - len(_SPECIALS)
    return Tokenizer(tuple(tokens), tuple(Special(name, first + k, role) for k, (name, role) in enumerate(_SPECIALS)))


def _reachable(chain: bytes, known: set[bytes]) -> bool:
    """True if two known tokens make the chain; it is known from then on."""
    if not any(chain[:k] in known and chain[k:] in known for k in range(1, len(chain))):
        return False
    known.add(chain)
    return True


def _spaced_words(texts: Iterable[str], answers: Iterable[str], known: set[bytes]) -> list[bytes]:
    after_space: Counter[str] = Counter()
    for text in texts:
        after_space.update(_SPACED.findall(text))
    first: Counter[str] = Counter()
    for answer in answers:
        first.update(_VALUE_START.findall(answer))
    ordered = sorted(after_space.items(), key=lambda item: (-item[1], item[0]))
    return [
        b" " + word.encode()
        for word, times in ordered
        if word.encode() in known and first[word] <= _FIRST_SHARE * times
    ]


class FastEncoder:
    """Encodes texts piece by piece, each different piece once.

    A text is cut where no token has the two bytes on both sides next to each other: no merge crosses such a place, so
    the pieces' tokens are the text's tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._joined = np.zeros((256, 256), bool)
        for token in tokenizer.tokens:
            for a, b in pairwise(token):
                self._joined[a, b] = True
        self._cache: dict[bytes, tuple[int, ...]] = {}

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
        """(tokens of all texts, one after the other; count[len(texts)] of tokens of each)."""
        tokens: list[int] = []
        counts = np.zeros(len(texts), np.int64)
        for k, text in enumerate(texts):
            before = len(tokens)
            for piece in self._pieces(text.encode()):
                found = self._cache.get(piece)
                if found is None:
                    found = self._cache[piece] = tuple(self._tokenizer.encode(piece))
                tokens.extend(found)
            counts[k] = len(tokens) - before
        return np.array(tokens, np.uint16), counts

    def _pieces(self, data: bytes) -> list[bytes]:
        array = np.frombuffer(data, np.uint8)
        cuts = (np.flatnonzero(~self._joined[array[:-1], array[1:]]) + 1).tolist()
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
