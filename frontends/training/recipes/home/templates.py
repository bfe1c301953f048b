"""The sentence templates of ``home-assistant-intents``, parsed by ``hassil``, as trees that a sampler can walk."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hassil.expression import Alternative, Expression, Group, ListReference, Permutation, RuleReference, TextChunk
from hassil.parse_expression import parse_sentence

#: Changes of templates that leave one reading of a noun phrase: a device's name keeps its last word ("reading lamp"),
#: a floor its "floor"; a mower's name ends with "mower" anyway.
_ONE_READING: Final = (
    (re.compile(r"\{name\} <light>"), "{light_name:name}"),
    (re.compile(r"\{floor\} \[floor\]"), "{floor}"),
    (re.compile(r"\{name\} \[mower\]"), "{name}"),
)


@dataclass(frozen=True)
class Text:
    """Words as they stand, with their spaces."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A reference to a list of values that fills a slot."""

    list_name: str
    slot: str


@dataclass(frozen=True)
class Parts:
    """Its items one after the other, in any order if ``shuffled``."""

    items: tuple[Node, ...]
    shuffled: bool = False


@dataclass(frozen=True)
class Choice:
    """One of its items; ``optional``: the last one is empty."""

    items: tuple[Node, ...]
    optional: bool = False


Node = Text | Slot | Parts | Choice


@dataclass(frozen=True)
class Template:
    """One template: ``id`` is stable for a package version, ``group`` names what fills the same slots the same way."""

    id: str
    intent: str
    group: str
    text: str
    tree: Node
    fixed: Mapping[str, Any]
    domains: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """Everything used of the intents package: templates in their order, its lists of slot values, and its rules."""

    templates: tuple[Template, ...]
    lists: Mapping[str, Mapping[str, Any]]
    rules: Mapping[str, str] = field(default_factory=dict)


def parse_template(text: str, rules: Mapping[str, str]) -> Node:
    """A hassil template, its ``<rules>`` written out. Raises KeyError for a rule that isn't there."""
    return _node(parse_sentence(text).expression, rules)


def _node(expression: Expression, rules: Mapping[str, str]) -> Node:
    if isinstance(expression, TextChunk):
        return Text(expression.original_text)
    if isinstance(expression, RuleReference):
        return parse_template(rules[expression.rule_name], rules)
    if isinstance(expression, ListReference):
        return Slot(expression.list_name, expression.slot_name)
    if not isinstance(expression, Group):
        raise TypeError(f"unknown part of a template: {expression}")
    items = tuple(_node(item, rules) for item in expression.items)
    if isinstance(expression, Alternative):
        return Choice(items, expression.is_optional)
    return Parts(items, isinstance(expression, Permutation))


def slots_of(node: Node) -> Iterable[Slot]:
    """The slot references below a node."""
    if isinstance(node, Slot):
        yield node
    elif isinstance(node, Parts | Choice):
        for item in node.items:
            yield from slots_of(item)


def load_package(language: str = "en") -> Package:
    """The templates of the installed package; those that become equal with one reading are there once."""
    file = importlib.resources.files("home_assistant_intents") / "data" / f"{language}.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    templates: dict[tuple[str, ...], Template] = {}
    for intent, content in data["intents"].items():
        for block in content["data"]:
            fixed = block.get("slots", {})
            domains = tuple(block.get("requires_context", {}).get("domain", ()))
            group = f"{intent}/{block['metadata']['slot_combination']}/{json.dumps(fixed, sort_keys=True)}"
            for sentence in block["sentences"]:
                for pattern, replacement in _ONE_READING:
                    sentence = pattern.sub(replacement, sentence)
                identity = (group, " ".join(domains), sentence)
                if identity not in templates:
                    tree = parse_template(sentence, data["expansion_rules"])
                    name = f"{intent}/{len(templates)}"
                    templates[identity] = Template(name, intent, group, sentence, tree, fixed, domains)
    return Package(tuple(templates.values()), data["lists"], data["expansion_rules"])
