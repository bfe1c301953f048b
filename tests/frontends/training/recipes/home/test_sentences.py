"""The splits: nothing of validation is in training, every split is what its name says."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest

from chimerac.frontends.training.recipes.home import negatives
from chimerac.frontends.training.recipes.home import words as w
from chimerac.frontends.training.recipes.home.names import NameMaker, made_up_words, vocabularies
from chimerac.frontends.training.recipes.home.sentences import Splits, loose, make_splits
from chimerac.frontends.training.recipes.home.split import held_out_templates

COPIED = ("name", "area", "floor", "item", "message", "search_query", "conversation_command")


def copied_values(text: str) -> set[str]:
    slots = json.loads(text)["slots"]
    return {value.lower() for name, value in slots.items() if name in COPIED}


def test_sizes_and_stratification(splits: Splits) -> None:
    assert len(splits.train) > 1200
    for rows in (splits.valid_names, splits.valid_seen, splits.valid_templates):
        assert 140 <= len(rows) <= 150
        counts = Counter(row.intent for row in rows)
        assert len(counts) > 30
        assert max(counts.values()) <= 10


def test_json_is_one_line_of_the_text(splits: Splits) -> None:
    for row in [*splits.train, *splits.valid_names, *splits.valid_templates, *splits.valid_seen]:
        assert list(json.loads(row.json)) == ["intent", "slots"]
        assert "\n" not in row.text + row.json
        assert row.text == " ".join(row.text.split())
        for value in copied_values(row.json):
            assert value in row.text.lower()


def test_nothing_of_validation_is_in_training(splits: Splits) -> None:
    train = {row.text.lower().strip("?!. ") for row in splits.train}
    for rows in (splits.valid_names, splits.valid_templates, splits.valid_seen):
        texts = [row.text.lower().strip("?!. ") for row in rows]
        assert not train & set(texts)
        assert len(set(texts)) == len(texts)


def test_a_text_has_one_meaning(splits: Splits) -> None:
    meanings: dict[str, set[str]] = {}
    for row in splits.train:
        meanings.setdefault(row.text, set()).add(row.json)
    assert all(len(found) == 1 for found in meanings.values())


def test_held_out_names_are_not_in_training(splits: Splits) -> None:
    train = {value for row in splits.train for value in copied_values(row.json)}
    held = {value for row in splits.valid_names for value in copied_values(row.json)}
    assert len(held) > 80
    assert not train & held
    seen, unseen = vocabularies(3)
    seen_words, unseen_words = (
        {word for name, words in vars(vocabulary).items() if name != "held_out" for word in words}
        for vocabulary in (seen, unseen)
    )
    assert not seen_words & unseen_words


def test_held_out_templates_are_not_in_training(splits: Splits) -> None:
    train = {loose(row.shape) for row in splits.train}
    assert not train & {loose(row.shape) for row in splits.valid_templates}
    by_intent = Counter(template.intent for template in splits.templates)
    held = Counter(template.intent for template in splits.templates if template.id in splits.held_out)
    for intent, count in by_intent.items():
        if count >= 8:
            assert 0.09 <= held[intent] / count <= 0.17, intent
    groups = {template.group for template in splits.templates}
    assert groups == {template.group for template in splits.templates if template.id not in splits.held_out}
    assert splits.held_out == held_out_templates(splits.templates, 3)
    assert splits.held_out != held_out_templates(splits.templates, 4)


def test_refusals(splits: Splits) -> None:
    refused = [row for row in splits.train if row.intent == negatives.INTENT]
    assert 0.08 < len(refused) / len(splits.train) < 0.14
    assert {row.json for row in refused} == {'{"intent":"OutOfDomain","slots":{}}'}
    for rows in (splits.valid_names, splits.valid_templates, splits.valid_seen):
        assert any(row.intent == negatives.INTENT for row in rows)


@pytest.mark.slow
def test_same_seed_same_rows(prose: list[str], words: list[str]) -> None:
    first, second, other = (make_splits(80, 45, seed, prose, words) for seed in (1, 1, 2))
    assert first == second
    assert first.train != other.train


def test_names_tell_their_domain() -> None:
    heads = [head for found in w.HEADS.values() for head in found]
    assert not set(w.ROOMS) & set(heads)
    seen, unseen = vocabularies(0)
    for vocabulary in (seen, unseen):
        assert not {*vocabulary.nouns, *vocabulary.adjectives} & {*w.ROOMS, *w.ROOM_HEADS}
        maker = NameMaker(vocabulary, random.Random(0))
        assert all(maker.device("cover").endswith(w.HEADS["cover"]) for _ in range(50))
    assert not set(w.UNSEEN_ROOMS) & {*w.ROOMS, *w.ROOM_HEADS}


def test_made_up_words_can_be_said() -> None:
    words = made_up_words(500, random.Random(0))
    assert len(set(words)) == 500
    assert all(re.fullmatch(r"[a-z]{4,12}", word) and re.search(r"[aeiou]", word) for word in words)
