"""Requests of many languages with the names of a home: what is drawn, what is held out, what the files hold."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimerac.compiler.packaging.grammar_packs import compiled
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.frontends.training.recipes.home.split import held_out_templates
from chimerac.frontends.training.recipes.home.templates import Package, load_package, slots_of
from chimerac.frontends.training.recipes.household import noise, parts
from chimerac.frontends.training.recipes.household.answers import answer_schema
from chimerac.frontends.training.recipes.household.chat import CHAT
from chimerac.frontends.training.recipes.household.clarity import says_more, touch
from chimerac.frontends.training.recipes.household.drawing import Command, Drawer, letters, sources
from chimerac.frontends.training.recipes.household.dwellings import Dwelling, NameSource, Thing, dwelling, is_held_out
from chimerac.frontends.training.recipes.household.items import ITEMS
from chimerac.frontends.training.recipes.household.lexicon import LEXICONS
from chimerac.frontends.training.recipes.household.make_data import make_data
from chimerac.frontends.training.recipes.household.parts import parts_of
from chimerac.frontends.training.recipes.household.phrases import LANGUAGES, PHRASES
from chimerac.frontends.training.recipes.household.requests import Requests, draw, is_copied, tidied
from chimerac.frontends.training.recipes.household.talk import TALK
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.names import names_of
from chimerac.runtime.reference.grammar_engine import GrammarEngine
from chimerac.runtime.reference.tokenizer import read_tokenizer

SWEDISH, CHINESE = "sv", "zh-TW"


@pytest.fixture(scope="module")
def packages() -> dict[str, Package]:
    return {language: load_package(language) for language in (SWEDISH, CHINESE)}


def test_every_language_has_all_phrases() -> None:
    assert len(LANGUAGES) == 31
    for language, phrases in PHRASES.items():
        assert all(said.count("{}") in (1, 2) for said in phrases.never), language
        assert all(said.count("{}") == 1 for said in phrases.past), language
        assert len(phrases.never) > 1, language
        assert len(phrases.past) > 1, language
        assert all((phrases.both, phrases.rather, phrases.please, phrases.noises)), language


def test_every_language_has_words_of_homes_and_talk() -> None:
    assert set(LEXICONS) == set(LANGUAGES)
    assert set(TALK) == set(LANGUAGES) - {"en"}
    for language, lexicon in LEXICONS.items():
        assert min(map(len, (lexicon.rooms, lexicon.floors))) >= 5, language
        assert all(lexicon.heads.values()), language
        assert not any("/" in word or "|" in word for word in (*lexicon.rooms, *lexicon.floors, *lexicon.others)), (
            language
        )
    assert all(said.count("{}") == 1 for sentences in TALK.values() for said in sentences)


def test_a_name_before_light_is_one_of_the_home() -> None:
    """English templates where "light" follows the name: the answer has the home's name, not words of the request."""
    english = load_package("en")
    slots = answer_schema([english])["$defs"]["action"]["anyOf"]
    turned_on = next(one for one in slots if one["properties"]["intent"]["const"] == "HassTurnOn")
    held = turned_on["properties"]["slots"]["properties"]
    assert held["name"]["x-copy"] == "names"
    template = next(one for one in english.templates if any(s.list_name == "light_name" for s in slots_of(one.tree)))
    names = NameSource(sources(english), "en", random.Random(4), held_out=False)
    drawer = Drawer(english, "en", names, random.Random(5))
    lamp, kettle = Thing("Ceiling Lamp", ("big one",), "light", "Hall"), Thing("Kettle", (), "switch", "Hall")
    home = Dwelling((lamp, kettle), (("Hall", ()),))
    found = [drawer.command(template, home) for _ in range(40)]
    named = {one.slots.get("name") for one in found if one is not None and one.intent == template.intent}
    assert named == {"Ceiling Lamp"}


def test_the_other_names_of_a_home_are_nothing_elses(packages: dict[str, Package]) -> None:
    for language, package in packages.items():
        source = random.Random(7)
        home = dwelling(NameSource(sources(package), language, source, held_out=False), source, 120)
        own = {one.name.lower() for one in home.things} | {name.lower() for name, _ in home.areas}
        others = [alias.lower() for one in home.things for alias in one.aliases]
        others += [alias.lower() for _, aliases in home.areas for alias in aliases]
        assert len(set(others)) == len(others) > 20
        assert not own & set(others)


def test_a_command_in_two_gaps_is_whole(packages: dict[str, Package]) -> None:
    requests = Requests(packages[SWEDISH], SWEDISH, "gaps", held_templates=False, held_names=False)
    refused = [row for row in draw(requests, 600, set(), lambda row: True, most=3) if row.kind == "never"]
    assert any(" inte " in row.text and not row.text.startswith("jag") for row in refused)
    assert all("{}" not in row.text for row in refused)
    assert {row.intent for row in refused} == {"OutOfDomain"}


def test_noise_changes_what_it_says(packages: dict[str, Package]) -> None:
    source = random.Random(1)
    text = "Turn on Anna's two lights to the right, please!"
    for kind in (*noise.KINDS, *noise.HELD_OUT):
        made = {noise.noisy(text, kind, "en", source) for _ in range(20)}
        assert text not in made or kind in noise.CHANGES_WORDS, kind
        assert any(one != text for one in made), kind
        for short in ("x", "ab", "関"):
            noise.noisy(short, kind, CHINESE, source)
    assert {tidied(noise.noisy(text, "spaces", "en", source)) for _ in range(20)} == {text}
    assert {tidied(noise.noisy(text, "quotes", "en", source)) for _ in range(20)} == {text}


def test_names_are_of_training_or_held_out(packages: dict[str, Package]) -> None:
    for language, package in packages.items():
        for held_out in (False, True):
            names = NameSource(sources(package), language, random.Random(2), held_out=held_out)
            home = dwelling(names, random.Random(3), 40)
            assert len(home.things) > 30
            words = " ".join((*LEXICONS[language].rooms, *LEXICONS[language].others)).lower()
            telling = set(re.findall(r"[^\W\d_]{2,}", words))
            for name in (*(one.name for one in home.things), *(area for area, _ in home.areas)):
                assert is_held_out(name, telling) == held_out
            listed = {line.split("\t")[0] for line in home.names.lists["names"]}
            assert listed == {one.name for one in home.things}


def test_a_named_thing_is_answered_by_its_name(packages: dict[str, Package]) -> None:
    package = packages[SWEDISH]
    names = NameSource(sources(package), SWEDISH, random.Random(4), held_out=False)
    drawer = Drawer(package, SWEDISH, names, random.Random(5))
    template = next(
        one
        for one in package.templates
        if one.intent == "HassTurnOn" and {slot.list_name for slot in slots_of(one.tree)} == {"name"}
    )
    domain = template.domains[0] if template.domains else "light"
    one = Thing("Stora Lampan", ("skenet",), domain, "Kök")
    home = Dwelling((one,), (("Kök", ()),))
    twins = Dwelling((one, Thing("Stora Lampan", (), domain, "Hall")), (("Kök", ()), ("Hall", ())))
    intents = set()
    for _ in range(60):
        found = drawer.command(template, home)
        assert found is not None
        if found.intent == "HassTurnOn":
            assert found.slots["name"] == "Stora Lampan"
            assert any(said in found.text.lower() for said in ("stora lampan", "skenet"))
        intents.add(found.intent)
        both = drawer.command(template, twins)
        assert both is not None
        assert both.intent in ("AmbiguousDevice", "NoSuchDevice") or "area" in both.slots
    assert intents == {"HassTurnOn", "NoSuchDevice"}


def test_rows_fit_their_grammar(packages: dict[str, Package]) -> None:
    """Every answer is one that the grammar allows, for the request and the names that it is about."""
    automaton = compiled(schema_grammar(answer_schema(packages.values())), 0)
    tokens = tuple(bytes([byte]) for byte in range(256))
    engine = GrammarEngine(automaton, vocabulary_of(tokens), tokens)
    kinds = set()
    for language, package in packages.items():
        requests = Requests(package, language, "test", held_templates=False, held_names=False)
        for row in draw(requests, 250, set(), lambda row: True):
            home = Dwelling((), ()) if row.home < 0 else requests.homes[row.home]
            engine.set_words("request", tidied(row.text).encode())
            for kind in ("names", "areas", "floors"):
                listed = home.names.lists.get(kind)
                engine.set_words(kind, None if listed is None else "".join(f"{one}\n" for one in listed).encode())
            at = engine.feed(engine.start(), row.json.encode())
            assert at is not None, row
            assert engine.complete(at), row
            assert is_copied(row, home)
            kinds.add(row.kind)
    assert kinds >= {"command", "never", "past", "talk", "both", "hostile"}


def test_sentences_that_are_no_commands_are_no_templates(packages: dict[str, Package]) -> None:
    assert set(CHAT) == set(ITEMS) == set(LANGUAGES) - {"en"}
    assert all(len(set(said)) == len(said) >= 18 and not any("{" in one for one in said) for said in CHAT.values())
    for language, package in packages.items():
        drawer = Drawer(package, language, names_for(package, language), random.Random(3))
        said = set()
        for template in package.templates:
            for _ in range(6):
                command = drawer.command(template, Dwelling((), ()))
                said.add("" if command is None else command.text.lower())
        assert not said & {one.lower() for one in CHAT[language]}


def names_for(package: Package, language: str) -> NameSource:
    return NameSource(sources(package), language, random.Random(2), held_out=False)


def test_forms_have_marks_for_names_and_numbers(packages: dict[str, Package]) -> None:
    package = packages[SWEDISH]
    drawer = Drawer(package, SWEDISH, names_for(package, SWEDISH), random.Random(5))
    lamp = Thing("Stora Lampan", (), "light", "Kök")
    home = Dwelling((lamp,), (("Kök", ()),))
    found = [drawer.command(one, home) for one in package.templates]
    forms = [one for one in found if one is not None and one.slots.get("name") == "Stora Lampan" and one.form]
    assert len(forms) > 20
    for one in forms:
        assert "{light}" in one.form
        assert "lampan" not in one.form
        assert '"name":""' in one.meaning
        assert one.text == " ".join("".join(text for text, _ in one.parts).split())


def test_words_of_no_command_are_refused(packages: dict[str, Package]) -> None:
    for language, package in packages.items():
        requests = Requests(package, language, "unknown", held_templates=False, held_names=False)
        rows = [row for row in draw(requests, 900, set(), lambda row: True) if row.kind == "unknown"]
        assert len(rows) > 10
        assert {row.intent for row in rows} == {"OutOfDomain"}


def test_only_deeds_are_forbidden(packages: dict[str, Package]) -> None:
    package = packages[SWEDISH]
    asked = {one.id for one in package.templates if one.intent.startswith("HassGet")}
    requests = Requests(package, SWEDISH, "deeds", held_templates=False, held_names=False)
    rows = draw(requests, 900, set(), lambda row: True)
    assert not any(row.template in asked for row in rows if row.kind in ("never", "past"))
    assert any(row.template in asked for row in rows)


def test_a_stutter_says_a_word_twice() -> None:
    source = random.Random(1)
    said = {noise.noisy("turn the lamp on", "stutter", "en", source) for _ in range(60)}
    assert said == {"turn turn the lamp on", "turn the the lamp on", "turn the lamp lamp on", "turn the lamp on on"}
    assert noise.noisy("打开灯", "stutter", CHINESE, source) == "打开打开灯"
    copied = frozenset({"turn", "the", "lamp"})
    assert noise.noisy("turn the lamp on", "stutter", "en", source, copied=copied) == "turn the lamp on on"
    assert noise.noisy("turn the lamp", "stutter", "en", source, copied=copied) == "turn the lamp"
    assert noise.noisy("打开灯", "stutter", CHINESE, source, copied=frozenset({"打开灯"})) == "打开灯"


def test_noise_leaves_numbers_and_short_words() -> None:
    source = random.Random(2)
    assert noise.noisy("Set it, to 20.5.", "unmarked", "en", source) == "set it to 20.5"
    made = {noise.noisy("fan on at 5", "typo", "en", source) for _ in range(60)}
    assert made == {"fan on at 5"}
    longer = {noise.noisy("lamps off", "typo", "en", source) for _ in range(200)}
    assert len(longer) > 8
    assert all(one.endswith(" off") for one in longer)
    shifted = {noise.noisy("turn on 26 lamps", "shifted", "en", source) for _ in range(60)}
    assert shifted == {"tur non 26 lamps", "turno n 26 lamps", "turn o n26 lamps", "turn on 26l amps"}


def test_rows_tell_what_is_meant() -> None:
    lamp, room = Thing("Kitchen Light", ("big one",), "light", "Kitchen"), ("Kitchen", ())
    home = Dwelling((lamp,), (room,))
    assert says_more("turn on kitchen light", ["kitchen"], home, "en")
    assert not says_more("turn on kitchen light", ["kitchen light"], home, "en")
    assert not says_more("turn on the light in the kitchen", ["kitchen"], home, "en")
    assert says_more("announce supper to the big one", ["supper"], home, "en")
    assert says_more("打开kitchen light", ["kitchen"], home, CHINESE)
    side_by_side = (["turn on ", "hall", " ", "lamp"], ["", "{areas}", "", "{names}"])
    assert touch(*side_by_side, Dwelling((), ()))
    assert not touch(*side_by_side, home)
    assert touch(["say ", "a", " ", "b"], ["", "{request}", "", "{request}"], home)
    assert not touch(["dim ", "hall", " ", "5"], ["", "{areas}", "", "{number}"], Dwelling((), ()))
    assert not touch(["in ", "hall", " the ", "lamp"], ["", "{areas}", "", "{names}"], Dwelling((), ()))


def test_another_thing_is_said_for_one(packages: dict[str, Package]) -> None:
    package = packages[SWEDISH]
    drawer = Drawer(package, SWEDISH, names_for(package, SWEDISH), random.Random(5))
    lamps = tuple(Thing(name, (), "light", "") for name in ("Stora Lampan", "Lilla Lampan"))
    home = Dwelling((*lamps, Thing("Fläkt", (), "fan", "")), (("Kök", ()), ("Hall", ())))
    first = Command("tänd stora lampan", "HassTurnOn", {"name": "Stora Lampan"}, "x")
    said, slots = drawer.instead(first, home) or ("", {})
    assert (said.lower(), slots) == ("lilla lampan", {"name": "Lilla Lampan"})
    said, slots = drawer.instead(replace(first, text="tänd i köket", slots={"area": "Kök"}), home) or ("", {})
    assert (said.lower(), slots) == ("hall", {"area": "Hall"})
    assert drawer.instead(replace(first, slots={"name": "Fläkt"}), home) is None
    assert drawer.instead(replace(first, slots={"domain": "light"}), home) is None


def test_the_files(tmp_path: Path, packages: dict[str, Package]) -> None:
    described = make_data(tmp_path, languages=(SWEDISH, CHINESE), rows=500, validation=40, vocabulary=2048)
    tokenizer = read_tokenizer(tmp_path / "tokenizer.model")
    assert tokenizer.rules == ("nfc", "tidy")
    for sign in letters(packages.values()):
        assert tokenizer.decode(tokenizer.encode(f"a{sign}b")) == tidied(f"a{sign}b")
    answer, end, pad, heard = (special.id for special in tokenizer.specials)
    texts, hints = set(), 0
    for name in ("short", "middle", "long"):
        with np.load(tmp_path / name / "sft.npz") as rows:
            for tokens, start, length in zip(rows["tokens"], rows["loss_start"], rows["length"], strict=True):
                assert tokens[start - 1] == answer
                assert tokens[length - 1] == end
                assert (tokens[length:] == pad).all()
                hinted = np.flatnonzero(tokens == heard)
                prompt = tokens[: hinted[0] if len(hinted) else start - 1]
                asked = tokenizer.decode(prompt.tolist())
                assert (";|" in asked) == bool(len(hinted))
                hints += len(hinted)
                texts.add(asked[asked.rfind(";|") + 2 * (";|" in asked) :])
                json.loads(tokenizer.decode(tokens[start : length - 1].tolist()))
    homes: list[Any] = json.loads((tmp_path / "homes.json").read_text("utf-8"))
    held = {language: held_out_templates(package.templates, 0) for language, package in packages.items()}
    heard_well = names = 0
    for name in ("seen", "names", "templates", "noise"):
        rows_of = [json.loads(line) for line in (tmp_path / f"valid_{name}.jsonl").read_text("utf-8").splitlines()]
        assert len(rows_of) > 20
        for row in rows_of:
            prefix = names_of(homes[row["home"]]).prefix if row["home"] >= 0 else ""
            assert row["text"] == prefix + tidied(row["request"])
            assert ("heard" in row) == (row["home"] >= 0)
            own = {one["name"] for one in homes[row["home"]]["entities"]} if row["home"] >= 0 else set()
            named = own.intersection(re.findall(r'"name":"([^"]+)"', row["json"]))
            heard_well += sum(value in row["heard"] for value in named)
            names += len(named)
            assert tidied(row["request"]) not in texts
            assert row["noise"] in ("", *(noise.HELD_OUT if name == "noise" else noise.KINDS))
            if row["template"] != "talk":
                assert (row["template"] in held[row["language"]]) == (name == "templates")
            if name == "names" and row["home"] >= 0:
                assert all(is_held_out(one["name"]) for one in homes[row["home"]]["entities"])
    assert heard_well >= 0.8 * names > 0
    assert hints > 100
    assert described["rows"]["short"]["rows"] > 200


@dataclass(frozen=True)
class Swedish:
    """Data of one language, and what ``make_data`` said of it."""

    folder: Path
    described: dict[str, Any]


@pytest.fixture(scope="module")
def swedish(tmp_path_factory: pytest.TempPathFactory) -> Swedish:
    folder = tmp_path_factory.mktemp("swedish")
    return Swedish(folder, make_data(folder, languages=(SWEDISH,), rows=300, validation=8, vocabulary=1024))


def test_a_tokenizer_is_kept_and_long_rows_left_out(swedish: Swedish, tmp_path: Path) -> None:
    first, file = swedish.described, swedish.folder / "tokenizer.model"
    second = make_data(tmp_path, languages=(SWEDISH,), rows=300, validation=8, tokenizer=file, long=0.0)
    assert (tmp_path / "tokenizer.model").read_bytes() == file.read_bytes()
    assert second["rows"]["short"] == first["rows"]["short"]
    assert second["rows"]["long"]["rows"] < first["rows"]["long"]["rows"]
    assert second["rows"]["left out"]["rows"] > first["rows"]["left out"]["rows"]


def test_requests_that_another_run_judges_are_in_no_row(swedish: Swedish, tmp_path: Path) -> None:
    table = np.load(swedish.folder / "short" / "sft.npz")
    file = swedish.folder / "tokenizer.model"
    tokenizer = read_tokenizer(file)
    row = table["tokens"][0, : table["loss_start"][0] - 1].tolist()
    heard = tokenizer.specials[-1].id
    request = tokenizer.decode(row[: row.index(heard)] if heard in row else row).split("|")[-1].strip()
    judged = tmp_path / "judged.jsonl"
    judged.write_text(json.dumps({"request": request}) + "\n", "utf-8")
    second = make_data(tmp_path, languages=(SWEDISH,), rows=300, validation=8, tokenizer=file, without=[judged])
    assert second["rows"]["short"]["rows"] < swedish.described["rows"]["short"]["rows"]


def test_parts_of_rows() -> None:
    found = parts_of({"en": 100_001, "sv": 7, "de": 0})
    assert [one.rows for one in found if one.language == "en"] == [33_333, 33_334, 33_334]
    assert [(one.number, one.parts) for one in found if one.language == "en"] == [(0, 3), (1, 3), (2, 3)]
    assert [(one.language, one.rows) for one in found[3:]] == [("sv", 7), ("de", 0)]


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 120)
    made = [
        make_data(
            tmp_path / str(jobs), languages=(SWEDISH, CHINESE), rows=500, validation=20, vocabulary=1024, jobs=jobs
        )
        for jobs in (1, 2)
    ]
    assert made[0] == made[1]
    assert not list(tmp_path.glob("*/.rows-*"))
