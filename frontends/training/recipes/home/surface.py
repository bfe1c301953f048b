"""Casing, politeness and punctuation of a sentence, and the JSON that a request means."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from chimerac.frontends.training.recipes.home.expand import Segment
from chimerac.frontends.training.recipes.home.words import word_list

#: Words that questions start with.
QUESTIONS: Final = frozenset(
    word_list(
        "what what's whats is are how how's hows who where where's wheres which when why can do does did was were will "
        "should could would am any has have"
    )
)
_VERBS: Final = frozenset(
    word_list("""
        turn switch change bring set make adjust increase decrease open close shut raise lift lower lock unlock start
        stop cancel add put check complete delete remove take skip pause resume unpause play mute unmute vacuum clean
        return dock mow press push run activate deactivate illuminate light broadcast announce create tell continue
        replay get give find send write book order call explain translate sing show read draw help buy schedule remind
    """)
)
_BEFORE_VERB: Final = (
    "please ", "could you ", "can you ", "would you ", "could you please ", "can you please ", "i'd like you to ",
    "i want you to ", "hey, ", "ok, ", "okay ", "hi, ", "now ", "just ", "go ahead and ",
)  # fmt: skip
_BEFORE_ANY: Final = ("hey, ", "ok, ", "okay ", "so ", "please, ")
_AFTER: Final = (" please", ", please", " for me", " now", " thanks", ", thank you", " right now")


def json_text(intent: str, slots: Mapping[str, Any]) -> str:
    """The one line of JSON of a request: ``intent`` first, then ``slots`` sorted by name."""
    content = {"intent": intent, "slots": dict(sorted(slots.items()))}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def slots_of_segments(segments: list[Segment], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Slot → value: the package's value for closed lists, a number for ranges, else the text as it is written."""
    slots = dict(fixed)
    for segment in segments:
        if segment.slot is not None:
            slots[segment.slot] = segment.text if segment.value is None else segment.value
    return slots


def vary(segments: list[Segment], generator: random.Random) -> list[Segment]:
    """The same request as people write it: politeness, casing, a mark at the end; copied values keep up."""
    result = [replace(segment) for segment in segments]
    first = result[0].text.split(" ", 1)[0].lower() if not result[0].kind else ""
    question = first in QUESTIONS
    ends_open = result[-1].kind in ("message", "query")  # more words would belong to the value
    draw = generator.random()
    if draw < 0.2 and first in _VERBS:
        result.insert(0, Segment(generator.choice(_BEFORE_VERB)))
        question = result[0].text.startswith(("could", "can", "would"))
    elif draw < 0.24:
        result.insert(0, Segment(generator.choice(_BEFORE_ANY)))
    elif draw < 0.34 and not ends_open:
        result.append(Segment(generator.choice(_AFTER)))
    _change_case(result, generator)
    draw = generator.random()
    if question and draw < 0.4:
        result.append(Segment("?"))
    elif draw < 0.15:
        result.append(Segment("."))
    elif draw < 0.17:
        result.append(Segment("!"))
    return result


def _change_case(segments: list[Segment], generator: random.Random) -> None:
    draw = generator.random()
    if draw < 0.45:
        return
    if draw < 0.75:
        segments[0].text = segments[0].text[:1].upper() + segments[0].text[1:]
    elif draw < 0.9:
        for segment in segments:
            segment.text = segment.text.lower()
    elif draw < 0.98:
        for segment in segments:
            if segment.kind and segment.kind not in ("number", "closed"):
                segment.text = " ".join(word[:1].upper() + word[1:] for word in segment.text.split(" "))
    else:
        for segment in segments:
            segment.text = segment.text.upper()
