"""Sampled sentences mean what hassil, which parses requests for Home Assistant, says that they mean."""

from __future__ import annotations

import importlib.resources
import json
import random
from collections import defaultdict
from typing import Any

import pytest
from hassil import Intents, recognize_all
from hassil.intents import SlotList, TextSlotList

from chimerac.frontends.training.recipes.home.expand import Expander, Segment, shape_of
from chimerac.frontends.training.recipes.home.names import NameMaker, vocabularies
from chimerac.frontends.training.recipes.home.surface import json_text, slots_of_segments, vary
from chimerac.frontends.training.recipes.home.templates import (
    Choice,
    Package,
    Parts,
    Slot,
    Template,
    Text,
    load_package,
    parse_template,
    slots_of,
)


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package()


@pytest.fixture(scope="module")
def expander(package: Package) -> Expander:
    generator = random.Random(11)
    commands = [template for template in package.templates if template.intent == "HassTurnOn"]
    return Expander(package.lists, NameMaker(vocabularies(0)[0], generator), generator, commands)


def written_lists(segments: list[Segment]) -> dict[str, SlotList]:
    """What a home would have to have for a sentence: its areas, floors and devices."""
    values: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for segment in segments:
        if segment.slot in ("area", "floor"):
            values[segment.slot].append((segment.text, segment.text))
        elif segment.slot == "name" and segment.kind != "timer":
            values["name"].append((segment.text, segment.text, {"domain": segment.kind}))
    return {
        name: TextSlotList.from_tuples(values[name], name=name, allow_template=False)
        for name in ("area", "floor", "name")
    }


def comparable(slots: dict[str, Any]) -> dict[str, Any]:
    """Numbers without their sign: hassil 3.12.1 mixes up multipliers of number words."""
    return {k: v.strip().lower() if isinstance(v, str) else abs(float(v)) for k, v in slots.items()}


def test_hassil_recognises_what_is_sampled(package: Package, expander: Expander) -> None:
    file = importlib.resources.files("home_assistant_intents") / "data" / "en.json"
    intents = Intents.from_dict(json.loads(file.read_text(encoding="utf-8")))
    templates = [template for template in package.templates if "light_name" not in template.text]
    asked = 0
    for template in random.Random(5).sample(templates, 120):
        segments = expander.sample(template)
        if segments is None:
            continue
        text = "".join(segment.text for segment in segments)
        context = {"area": "where the speaker is"}
        found = recognize_all(text, intents, slot_lists=written_lists(segments), intent_context=context, language="en")
        meanings = [
            (
                result.intent.name,
                comparable({k: v.value for k, v in result.entities.items() if v.value != context["area"]}),
            )
            for result in found
        ]
        assert (template.intent, comparable(slots_of_segments(segments, template.fixed))) in meanings, text
        asked += 1
    assert asked > 100


def test_package_has_its_intents(package: Package) -> None:
    intents = {template.intent for template in package.templates}
    assert {"HassTurnOn", "HassTurnOff", "HassLightSet", "HassStartTimer", "HassGetState"} <= intents
    assert len(intents) > 35
    assert len(package.templates) > 700


def test_parsed_tree() -> None:
    tree = parse_template("turn on [<the>] {name}", {"the": "(the|my)"})
    assert isinstance(tree, Parts)
    optional = next(item for item in tree.items if isinstance(item, Choice))
    assert optional.optional
    assert list(slots_of(tree)) == [Slot("name", "name")]
    with pytest.raises(KeyError):
        parse_template("turn on <nothing>", {})


def test_names_keep_their_last_word_and_floors_their_floor(package: Package) -> None:
    texts = [template.text for template in package.templates]
    assert not any("{name} <light>" in text or "{floor} [floor]" in text for text in texts)
    assert any("{light_name:name}" in text for text in texts)


def test_values_are_as_written(package: Package) -> None:
    segments = [
        Segment("set "),
        Segment("Anna's lamp", "name", None, "light"),
        Segment(" to "),
        Segment("5", "b", 5, "number"),
    ]
    assert shape_of(segments) == "set {light} to #"
    for seed in range(60):
        varied = vary(segments, random.Random(seed))
        slots = slots_of_segments(varied, {"domain": "light"})
        assert slots["name"] in "".join(segment.text for segment in varied)
        assert slots["name"].lower() == "anna's lamp"
        assert slots["b"] == 5
    assert json_text("X", {"b": 20.5, "a": "é"}) == '{"intent":"X","slots":{"a":"é","b":20.5}}'


def test_negative_steps_and_halves(package: Package) -> None:
    down = Template("t", "HassSetVolumeRelative", "g", "", Slot("volume_step_down", "volume_step"), {}, ())
    warm = Template("t", "HassClimateSetTemperature", "g", "", Slot("temperature", "temperature"), {}, ())
    generator = random.Random(1)
    expander = Expander(package.lists, NameMaker(vocabularies(0)[0], generator), generator)
    steps = [expander.sample(down) for _ in range(50)]
    degrees = [expander.sample(warm) for _ in range(300)]
    assert all(segments and segments[0].value <= 0 for segments in steps)
    halves = [segments[0] for segments in degrees if segments and segments[0].text.endswith(".5")]
    assert halves
    assert all(segment.value == float(segment.text) for segment in halves)
    assert Text("a") != Text("b")
