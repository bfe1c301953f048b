"""A random sentence of a template: its words and the slots that they fill."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from hassil.numbers import get_rbnf_engine

from chimerac.frontends.training.recipes.home import words as w
from chimerac.frontends.training.recipes.home.names import NameMaker
from chimerac.frontends.training.recipes.home.templates import Choice, Node, Slot, Template, Text, parse_template

#: Lists of the package that are open: their values are made by NameMaker.
OPEN_LISTS: Final = {
    "area": "area",
    "floor": "floor",
    "zone": "zone",
    "message": "message",
    "search_query": "query",
    "timer_name": "timer",
    "shopping_list_item": "shopping_item",
    "todo_list_item": "todo_item",
    "person": "person",
    "place": "weather",
    "food": "food",
    "noun": "noun",
    "adjective": "adjective",
    "made_up": "made_up",
}
_OPTIONAL: Final = 0.4  #: share of optional parts that are there
_NUMBER_WORDS: Final = 0.15  #: share of numbers up to 100 that are written as words
_MARKED_AREA: Final = re.compile(r"\b(?:in|at|across|around|throughout)(?: the| my| our)? $")
_MARKED_SHARE: Final = 0.12
_ARTICLE: Final = re.compile(r"\b(?:the|our) $")
_ROUND: Final = 0.6  #: share of numbers that end with 0 or 5 where the range is wide


@dataclass
class Segment:
    """Part of a sentence. ``kind`` is "" for plain words; then ``slot`` is None too.

    ``value`` None: the slot's value is the text itself, as it ends up in the sentence.
    """

    text: str
    slot: str | None = None
    value: Any = None
    kind: str = ""


class Expander:
    """Draws sentences with one maker of names.

    ``lists`` as in the package: ranges, closed values and wildcards. ``commands`` are templates whose sentences can be
    told to happen later ("in five minutes turn off the lamp").
    """

    def __init__(
        self,
        lists: Mapping[str, Mapping[str, Any]],
        names: NameMaker,
        generator: random.Random,
        commands: Sequence[Template] = (),
    ) -> None:
        self._lists = lists
        self._commands = commands
        self._names = names
        self._random = generator
        self._closed: dict[str, list[tuple[Node, Any]]] = {}
        engine = get_rbnf_engine("en")
        self._words = {str(n): engine.format_number(n).text.replace("-", " ") for n in range(101)}

    def sample(self, template: Template) -> list[Segment] | None:
        """Segments of a sentence with single spaces, or None where words fall together to a second reading."""
        segments: list[Segment] = []
        self._walk(template.tree, template, segments)
        segments = _single_spaces(segments)
        return segments if _readable(segments) else None

    def _walk(self, node: Node, template: Template, out: list[Segment]) -> None:
        if isinstance(node, Text):
            if node.text:
                out.append(Segment(node.text))
        elif isinstance(node, Slot):
            out.append(self._fill(node, template, out))
        elif isinstance(node, Choice):
            count = len(node.items)
            if node.optional:
                if self._random.random() >= _OPTIONAL:
                    return
                count -= 1
            self._walk(node.items[int(self._random.random() * count)], template, out)
        else:
            items = list(node.items)
            if node.shuffled:
                self._random.shuffle(items)
            for item in items:
                self._walk(item, template, out)

    def _fill(self, slot: Slot, template: Template, before: list[Segment]) -> Segment:
        name = slot.list_name
        if name == "light_name":
            first = self._names.device("light").rsplit(" ", 1)[0]
            head = self._random.choice(("light", "lights", "lighting", "lamp"))
            return Segment(f"{first} {head}", slot.slot, None, "light")
        if name == "name":
            kind = self._random.choice(template.domains)
            if kind == "input_button":
                kind = "button"
            return Segment(self._names.make(kind), slot.slot, None, kind)
        if name == "area" and self._random.random() < _MARKED_SHARE:
            written = "".join(segment.text for segment in before[-4:])
            if _MARKED_AREA.search(re.sub(" +", " ", written)):
                marked = self._names.marked_area()
                return Segment(marked, slot.slot, None, "marked_area")
        if name == "timer_command":
            return Segment(self._command(), slot.slot, None, "command")
        if name in OPEN_LISTS:
            return Segment(self._names.make(OPEN_LISTS[name]), slot.slot, None, OPEN_LISTS[name])
        content = self._lists[name]
        if "range" in content:
            return self._number(content["range"], slot.slot)
        return self._closed_value(name, content, slot.slot)

    def _command(self) -> str:
        while True:
            segments = self.sample(self._commands[int(self._random.random() * len(self._commands))])
            if segments and not segments[0].kind and segments[-1].kind != "number":
                return "".join(segment.text for segment in segments)

    def _number(self, limits: Mapping[str, Any], slot: str) -> Segment:
        low, high, step = limits["from"], limits["to"], limits.get("step", 1)
        if limits.get("type") == "temperature" and self._random.random() < 0.7:
            low, high = 12, 30
        number: int | float = low + step * int(self._random.random() * ((high - low) // step + 1))
        if step == 1 and high == 100 and self._random.random() < _ROUND:
            number = max(low, 5 * round(number / 5))
        text = str(number)
        if limits.get("fractions") == "halves" and self._random.random() < 0.15 and number < high:
            number, text = number + 0.5, f"{number}.5"
        elif text in self._words and self._random.random() < _NUMBER_WORDS:
            text = self._words[text]
        return Segment(text, slot, number * limits.get("multiplier", 1), "number")

    def _closed_value(self, name: str, content: Mapping[str, Any], slot: str) -> Segment:
        if name not in self._closed:
            self._closed[name] = [(parse_template(row["in"], {}), row["out"]) for row in content["values"]]
        node, value = self._random.choice(self._closed[name])
        parts: list[Segment] = []
        self._walk(node, _NO_TEMPLATE, parts)
        return Segment(" ".join("".join(part.text for part in parts).split()), slot, value, "closed")


_NO_TEMPLATE: Final = Template("", "", "", "", Text(""), {}, ())


def _single_spaces(segments: list[Segment]) -> list[Segment]:
    """Join neighbouring words, and leave one space where there were more, none at the ends."""
    joined: list[Segment] = []
    for segment in segments:
        if segment.kind or not joined or joined[-1].kind:
            joined.append(segment)
        else:
            joined[-1].text += segment.text
    ends_with_space = True
    for segment in joined:
        if not segment.kind:
            segment.text = re.sub(" +", " ", segment.text)
            if ends_with_space:
                segment.text = segment.text.lstrip(" ")
        if segment.text:
            ends_with_space = segment.text.endswith(" ")
    if joined and not joined[-1].kind:
        joined[-1].text = joined[-1].text.rstrip(" ")
    return [segment for segment in joined if segment.text]


def _readable(segments: list[Segment]) -> bool:
    """False for "the Anna", for "garage" before "door", and for two values that touch where the limit is unclear."""
    for before, after in pairwise(segments):
        if after.kind in ("person", "weather") and _ARTICLE.search(before.text.lower()):
            return False
        if before.kind == "area" and before.text.endswith("garage") and after.text.lstrip().startswith("door"):
            return False
        if before.kind and after.kind:
            return False
    texts = [segment.text for segment in segments if segment.text != " "]
    kinds = [segment.kind for segment in segments if segment.text != " "]
    pairs = zip(kinds, kinds[1:], texts, strict=False)
    return not any(b == "number" and (a == "number" or text[-1].isdigit()) for a, b, text in pairs if a)


def shape_of(segments: list[Segment]) -> str:
    """The sentence with its open values and numbers replaced by their kinds: what tells its reading."""
    parts = []
    for segment in segments:
        if segment.kind == "number":
            parts.append("#")
        elif segment.kind in ("", "closed"):
            parts.append(segment.text.lower())
        else:
            parts.append("{" + segment.kind + "}")
    return "".join(parts)


#: Kinds whose values are copied from the sentence.
COPIED_KINDS: Final = frozenset(
    {*OPEN_LISTS.values(), *w.HEADS, "person", "scene", "weather", "marked_area", "command"}
)
