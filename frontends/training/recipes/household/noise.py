"""What speech recognition and hurried fingers make of a request. The kinds of HELD_OUT are for validation only."""

from __future__ import annotations

import random
import re
from typing import Final

from chimerac.frontends.training.recipes.household.phrases import PHRASES, UNSPACED, WAKE

#: Kinds of training, and how often one is there beside others: hearing and typing go wrong more than quotes do.
WEIGHTS: Final = {
    "unmarked": 2, "typo": 6, "hesitation": 2, "wake": 2, "polite": 2, "spaces": 1, "quotes": 1, "upper": 1,
    "homophone": 2, "split": 3, "shifted": 2,
}  # fmt: skip
KINDS: Final = tuple(WEIGHTS)
HELD_OUT: Final = ("stutter", "joined", "doubled")
_HOMOPHONES: Final = {
    "to": "too", "for": "four", "light": "lite", "lights": "lites", "their": "there", "blue": "blew", "red": "read",
    "two": "to", "four": "for", "please": "pleas", "right": "write", "one": "won", "by": "buy", "hall": "haul",
    "whole": "hole", "mow": "mo", "weather": "whether", "pause": "paws", "play": "plea", "brake": "break",
}  # fmt: skip
#: English around a command, beside "please".
_BEFORE: Final = (
    "please", "could you", "can you", "would you", "will you please", "I want you to", "I'd like you to",
    "go ahead and", "hey", "okay", "so", "now",
)  # fmt: skip
_AFTER: Final = ("please", "thanks", "thank you", "if you can", "for me", "will you", "right now", "would you")
#: Kinds that change letters of words that a free answer would have to copy.
CHANGES_WORDS: Final = frozenset({"typo", "homophone", "split", "shifted", "joined", "doubled", "upper"})
_MARKS: Final = re.compile(r"(?<!\d)[.,:]|[.,:](?!\d)|[!?;¿¡。，！？、]")  #: not the point of 20.5
_SHORT: Final = re.compile(r"\b[^\W\d_]{1,3}\b")  #: a wrong letter makes another word of these: "on", "no"
_SECOND_TYPO: Final = 0.3  #: share of the longer texts with a typo that get another one
_LONGER: Final = 24  #: letters


def noisy(
    text: str,
    kind: str,
    language: str,
    source: random.Random,
    *,
    behind: bool = True,
    copied: frozenset[str] = frozenset(),
) -> str:
    """The text with one kind of noise; as it is where the kind does not apply.

    Args:
        behind: words may follow it. copied: words that the answer copies; said twice they would be meant twice.
    """
    phrases, gap = PHRASES[language], "" if language in UNSPACED else " "
    match kind:
        case "unmarked":
            return _MARKS.sub("", text.lower()).strip()
        case "hesitation":
            return _between(text, source.choice(phrases.noises), gap, source)
        case "wake":
            return f"{source.choice(WAKE)}{source.choice((', ', ' '))}{text}"
        case "polite":
            return _politely(text, language, gap, source, behind)
        case "spaces":
            return source.choice((" {}", "{}\n", "{} ", "\t{}")).format(
                text.replace(" ", source.choice("  \u00a0") + " ", 1)
            )
        case "quotes":
            return text.replace("'", source.choice("’‘ʼ")).replace("-", source.choice("‐–")).replace('"', "“")
        case "upper":
            return text.upper()
        case "homophone":
            return (
                " ".join(_HOMOPHONES.get(word.lower(), word) for word in text.split(" ")) if language == "en" else text
            )
        case "stutter":
            return _twice(text, gap, source, copied)
        case "typo" if len(text) >= _LONGER and source.random() < _SECOND_TYPO:
            text = _misspelt(text, kind, source)
    return _misspelt(text, kind, source)


def _twice(text: str, gap: str, source: random.Random, copied: frozenset[str]) -> str:
    """One word said twice; the first two signs where words are not apart."""
    if not gap:
        return text if any(text[:2] in word for word in copied) else text[:2] + text
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if word not in copied]
    if not places:
        return text
    place = source.choice(places)
    return " ".join((*words[: place + 1], *words[place:]))


def _politely(text: str, language: str, gap: str, source: random.Random, behind: bool) -> str:
    please = PHRASES[language].please
    before, after = (_BEFORE, _AFTER) if language == "en" else (please, please)
    if behind and source.random() < 0.4:
        return f"{text}{source.choice(('', ',')) if gap else ''}{gap}{source.choice(after)}"
    return f"{source.choice(before)}{gap}{text}"


def _between(text: str, noise: str, gap: str, source: random.Random) -> str:
    words = text.split(" ")
    place = source.randrange(len(words) + 1) if gap else source.choice((0, len(words)))
    return gap.join((" ".join(words[:place]), noise, " ".join(words[place:]))).strip()


def _misspelt(text: str, kind: str, source: random.Random) -> str:
    places = [k for k in range(1, len(text) - 1) if text[k].isalpha() and text[k + 1].isalpha()]
    if kind == "joined":
        spaces = [k for k, sign in enumerate(text) if sign == " "]
        place = source.choice(spaces) if spaces else -1
        return text[:place] + text[place + 1 :] if spaces else text
    if kind == "shifted":
        return _shifted(text, source)
    if kind == "typo":
        short = {k for found in _SHORT.finditer(text) for k in range(*found.span())}
        places = [k for k in places if k not in short]
    if not places:
        return text
    k = source.choice(places)
    if kind == "split":
        return f"{text[: k + 1]} {text[k + 1 :]}"
    if kind == "doubled":
        return text[:k] + text[k] + text[k:]
    match source.randrange(4):
        case 0:
            return text[:k] + text[k + 1] + text[k] + text[k + 2 :]
        case 1:
            return text[:k] + text[k + 1 :]
        case 2:  # a letter too many, of those nearby; not one twice, which is held out
            others = [sign for sign in text[max(0, k - 3) : k + 4] if sign.isalpha() and sign not in text[k : k + 2]]
            return text[: k + 1] + source.choice(others or ["e"]) + text[k + 1 :]
    return text[:k] + source.choice(text[k - 1 : k + 2]) + text[k + 1 :]


def _shifted(text: str, source: random.Random) -> str:
    """A space a letter too early or too late; numbers stay whole."""
    made = [
        text[: k - 1] + " " + text[k - 1] + text[k + 1 :]
        for k in range(2, len(text) - 1)
        if text[k] == " " and text[k - 2 : k].isalpha()
    ] + [
        text[:k] + text[k + 1] + " " + text[k + 2 :]
        for k in range(1, len(text) - 2)
        if text[k] == " " and text[k + 1 : k + 3].isalpha()
    ]
    return source.choice(made) if made else text
