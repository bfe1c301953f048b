"""Fresh names and paraphrases: training is varied, and has no word and no sentence that is held out."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

import pytest

from chimerac.frontends.training.recipes.home import negatives
from chimerac.frontends.training.recipes.home import words as w
from chimerac.frontends.training.recipes.home.copies import copy_documents
from chimerac.frontends.training.recipes.home.fresh import FreshNames
from chimerac.frontends.training.recipes.home.names import vocabularies
from chimerac.frontends.training.recipes.home.paraphrases import paraphrases
from chimerac.frontends.training.recipes.home.sentences import Source, Splits, loose
from chimerac.frontends.training.recipes.home.split import held_out_templates
from chimerac.frontends.training.recipes.home.templates import Package, Template, load_package
from chimerac.frontends.training.recipes.home.vocabulary import banned_words, make_pool, structural_words

COPIED = ("name", "area", "floor", "item", "message", "search_query", "conversation_command")


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package()


@pytest.fixture
def names(splits: Splits) -> FreshNames:
    return FreshNames(vocabularies(3)[0], random.Random(1), splits.pool)


def test_no_held_out_word_is_in_a_name_of_training(splits: Splits, package: Package) -> None:
    """But for words of the templates and of kinds of things: "television" may be held out as a word of messages."""
    seen, held = vocabularies(3)
    banned = banned_words(seen, held)
    assert {word for word in w.UNSEEN_ROOMS if " " not in word} <= banned
    assert {word for word in held.adjectives if word not in banned} == set()
    banned -= structural_words(package)
    copied = [value for row in splits.train for name, value in json.loads(row.json)["slots"].items() if name in COPIED]
    assert len(copied) > 1000
    for value in copied:
        assert not set(re.split(r"[ \-]", value.lower().replace("'s", ""))) & banned, value
    assert not {word.lower() for word in (*splits.pool.words, *splits.pool.names)} & banned
    assert not {word for phrase in splits.pool.phrases for word in phrase.split()} & banned


def test_words_that_end_names_are_not_in_the_pool(splits: Splits, package: Package) -> None:
    structural = structural_words(package)
    assert {"lamp", "kitchen", "timer", "in", "off", "closed", "what", "album"} <= structural
    assert not structural & set(splits.pool.words)


def test_a_held_out_word_of_the_list_is_left_out(package: Package) -> None:
    seen, held = vocabularies(3)
    word = next(word for word in held.adjectives if word.isalpha())
    listed = ["quibble", word, word + "s", word.capitalize(), "Tolford", "kitchen", "naïve", "it's"]
    pool = make_pool(listed, [f"They saw the {word} of it. They saw the end of it."], package, seen, held)
    assert pool.words == ("quibble",)
    assert pool.names == ("Tolford",)
    assert pool.phrases == ("saw the",) or all(word not in phrase for phrase in pool.phrases)


def test_common_words_come_first_and_documents_can_stand_for_a_list(package: Package) -> None:
    seen, held = vocabularies(3)
    text = "The quibble was small. " * 5 + "A squabble too. " * 9
    assert make_pool(["quibble", "squabble", "zigzag"], [text], package, seen, held).words == (
        "squabble",
        "quibble",
        "zigzag",
    )
    assert "squabble" in make_pool([], [text], package, seen, held).words
    assert make_pool([], [text], package, seen, held).names


def test_names_are_fresh_and_keep_their_kinds(names: FreshNames) -> None:
    for kind in ("area", "light", "todo_item", "query", "message", "timer", "shopping_item"):
        values = [names.make(kind) for _ in range(300)]
        assert len(set(values)) > 150, kind
        assert all(value == " ".join(value.split()) for value in values)
    assert all(names.device("cover").endswith(w.HEADS["cover"]) for _ in range(100))
    assert all(
        re.search(r"(?:floor|level|storey)$", value) or value in w.FLOORS
        for value in (names.floor() for _ in range(99))
    )
    digits = sum(any(letter.isdigit() for letter in names.item()) for _ in range(300))
    assert 20 < digits < 200


def test_items_have_no_word_that_ends_them(names: FreshNames) -> None:
    values = [names.make(kind) for kind in ("shopping_item", "todo_item", "query") for _ in range(500)]
    assert not {word for value in values for word in value.lower().split()} & {"on", "in", "to", "from", "off", "list"}


def test_paraphrases_fill_slots_of_the_package(package: Package) -> None:
    own = paraphrases(package)
    groups = {template.group: template for template in package.templates}
    assert len(own) > 70
    for template in own:
        model = groups[template.group]
        assert (template.intent, template.fixed, template.domains) == (model.intent, model.fixed, model.domains)
    assert len({template.id for template in own} | {template.id for template in package.templates}) == len(own) + len(
        package.templates
    )
    without = Package(package.templates[:1], package.lists, package.rules)
    assert {template.intent for template in paraphrases(without)} <= {package.templates[0].intent}


def test_paraphrases_say_nothing_that_is_held_out(package: Package) -> None:
    """With seed 0, that of the shipped model."""
    refusals, own = negatives.out_of_domain(), paraphrases(package)
    templates = (*package.templates, *refusals.templates)
    merged = Package(templates, {**package.lists, **refusals.lists}, package.rules)
    held_ids, seen = held_out_templates(templates, 0), vocabularies(0)[0]

    def shapes(chosen: Sequence[Template]) -> set[str]:
        source = Source(merged, chosen, seen, "shapes")
        drawn = [source.draw(intent) for intent in source.intents for _ in range(300)]
        return {loose(row.shape) for row in drawn if row}

    held = shapes([template for template in templates if template.id in held_ids])
    assert len(held) > 1000
    assert not held & shapes(own)


def test_documents_of_copies(names: FreshNames) -> None:
    documents = copy_documents(names, random.Random(2), 5000)
    assert 5000 <= sum(map(len, documents)) < 8000
    assert max(map(len, documents)) < 2000
    lines = "\n".join(documents).splitlines()
    assert len(set(lines)) > 0.9 * len(lines)
    same = copy_documents(names, random.Random(2), 0)
    assert same == []
