"""The tokenizer of ``home``, and fast encoding of many texts with exactly the tokens of the runtime."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from chimerac.frontends.tokenizers.byte_pairs import count_pieces, learn
from chimerac.frontends.training.recipes.home.names import name_words
from chimerac.runtime.reference.tokenizer import Special, Tokenizer

VOCABULARY: Final = 4096
ANSWER: Final = "<|json|>"
END: Final = "<|endoftext|>"
PAD: Final = "<|pad|>"
_SPECIALS: Final = ((ANSWER, "answer"), (END, "end"), (PAD, "pad"))

#: Parts of every answer, as chains of merges of tokens that are learnt (`{"`, `intent`, `":"` and so on).
_JSON_CHAINS: Final = (b'{"intent', b'{"intent":"', b'","slots', b'","slots":{"', b'","slots":{}}')
_INTENT_CHAIN: Final = b'{"intent":"'
_FEWEST_CHAINS: Final = 0.0005  #: of the answers; a rarer intent or slot gets no token with the signs around it
_FEWEST_MERGED: Final = 0.001  #: times per request of a learnt token; rarer ones would not be copied often enough
_SPACED_WORDS: Final = 200  #: most tokens that are a space and a word
_FEWEST_SPACED: Final = 0.001  #: times per request that a word follows a space, to get a token with it
_DOUBTFUL_SHARE: Final = (
    0.002  #: a word that starts more values and longer words than this share of its times gets none
)
_WORD: Final = re.compile(r"[^\W\d_]+")
_INTENT: Final = re.compile(r'^\{"intent":"([A-Za-z]+)"')
_TEXT_SLOT: Final = re.compile(r'"([a-z]+(?:_[a-z]+)*)":"')
_VALUE: Final = re.compile(r'"(?:name|area|floor|item|message|search_query|conversation_command)":"([^"]+)"')


def train_tokenizer(
    prose: Sequence[str],
    requests: Sequence[str],
    answers: Sequence[str],
    vocabulary: int = VOCABULARY,
    *,
    fewest: float = _FEWEST_MERGED,
    more_specials: Sequence[tuple[str, str]] = (),
) -> Tokenizer:
    """Tokens: the 256 bytes, learnt merges, parts of answers, " word" for common words; three specials at the end.

    A token with a space is made last, of a word that is hardly ever in a value or the first part of another word. So a
    name has the same tokens after a space as after the quotation mark of the answer, and a model can copy a name it has
    never seen. ``fewest``: times per request that a learnt token is there at least. ``more_specials``: names and roles.
    """
    specials = (*_SPECIALS, *more_specials)
    pieces = count_pieces(prose) + count_pieces(requests) + count_pieces(answers)
    chains = _chains(answers)
    room = vocabulary - 256 - len(specials)
    spaced_room = min(_SPACED_WORDS, room // 4)
    times = max(1, int(fewest * len(requests)))
    learnt = learn(pieces, room - spaced_room - len(chains), fewest=times)
    known = {*learnt, *(bytes([byte]) for byte in range(256))}
    chains = [chain for chain in chains if _reachable(chain, known)]
    spaced = _spaced_words(requests, answers, _tokenizer([*learnt, *chains], vocabulary, specials))[:spaced_room]
    return _tokenizer([*learnt, *chains, *spaced], vocabulary, specials)


def _tokenizer(tokens: Sequence[bytes], vocabulary: int, specials: Sequence[tuple[str, str]]) -> Tokenizer:
    every = [*(bytes([byte]) for byte in range(256)), *tokens]
    every += [b""] * (vocabulary - len(every))
    first = vocabulary - len(specials)
    return Tokenizer(tuple(every), tuple(Special(name, first + k, role) for k, (name, role) in enumerate(specials)))


def _chains(answers: Sequence[str]) -> list[bytes]:
    """What answers have outside of their values, each as one token: the start with the intent, slots with signs."""
    intents = Counter(found[1] for answer in answers if (found := _INTENT.match(answer)))
    slots = Counter(slot for answer in answers for slot in _TEXT_SLOT.findall(answer) if slot != "intent")
    fewest = _FEWEST_CHAINS * len(answers)
    starts = [_INTENT_CHAIN + intent.encode() for intent, count in sorted(intents.items()) if count > fewest]
    single = [slot.encode() + b'":"' for slot, count in sorted(slots.items()) if count > fewest and "_" not in slot]
    return [*_JSON_CHAINS, *starts, *single]


def _reachable(chain: bytes, known: set[bytes]) -> bool:
    """True if two known tokens make the chain; it is known from then on."""
    if not any(chain[:k] in known and chain[k:] in known for k in range(1, len(chain))):
        return False
    known.add(chain)
    return True


def _spaced_words(requests: Iterable[str], answers: Iterable[str], tokenizer: Tokenizer) -> list[bytes]:
    """ " word" of the most frequent words first that leave nearly all values with the same tokens everywhere."""
    requests, of_names = list(requests), name_words()
    after_space = Counter(word for text in requests for word in re.findall(r"(?<= )[^\W\d_]+", text))
    doubtful: Counter[bytes] = Counter()
    for answer in answers:
        for value in _VALUE.findall(answer):
            doubtful[_first_token(tokenizer, _WORD.match(value))] += 1
    for word, times in after_space.items():
        tokens = tokenizer.encode(word)
        if len(tokens) > 1:
            doubtful[tokenizer.tokens[tokens[0]]] += times
    ordered = sorted(after_space.items(), key=lambda item: (-item[1], item[0]))
    known = set(tokenizer.tokens)
    return [
        b" " + word.encode()
        for word, times in ordered
        if times >= _FEWEST_SPACED * len(requests)
        and word.lower() not in of_names
        and word.encode() in known
        and doubtful[word.encode()] <= _DOUBTFUL_SHARE * times
    ]


def _first_token(tokenizer: Tokenizer, word: re.Match[str] | None) -> bytes:
    return tokenizer.tokens[tokenizer.encode(word[0])[0]] if word else b""


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
