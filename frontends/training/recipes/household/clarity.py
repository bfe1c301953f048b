"""Which requests tell what is meant: rows of others would teach, and judge by, a coin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chimerac.frontends.training.recipes.household.dwellings import Dwelling, known_names
from chimerac.frontends.training.recipes.household.phrases import UNSPACED

_MOST_WORDS = 6  #: of a name that is looked for


def touch(texts: Sequence[str], marks: Sequence[str], home: Dwelling) -> bool:
    """Whether two values stand side by side, and nothing tells where the first ends.

    These are names where no home is known, and open words.

    Args:
        texts: the pieces of a request. marks: of each one "{names}" and the like, "" of the words of a template.
    """
    known = home.things or home.areas
    before = False
    for text, mark in zip(texts, marks, strict=True):
        is_open = mark not in ("", "{number}") and (mark == "{request}" or not known)
        if is_open and before:
            return True
        before = is_open or (before and not mark and not text.strip())
    return False


def says_more(text: str, said: Iterable[str], home: Dwelling, language: str) -> bool:
    """Whether a request has names of the home in it by chance.

    "turn on kitchen light" of the area, in a home with a thing of that name: such a request is about the thing.

    Args:
        said: what was meant to be said of names and open words, in small letters.
    """
    known, own, low = known_names(home), list(said), text.lower()
    if language in UNSPACED:
        found = [name for name in known if name in low]
    else:
        words = low.split(" ")
        ends = [range(k + 1, min(len(words), k + _MOST_WORDS) + 1) for k in range(len(words))]
        found = [run for k, own_ends in enumerate(ends) for end in own_ends if (run := " ".join(words[k:end])) in known]
    return any(all(name not in one for one in own) for name in found)
