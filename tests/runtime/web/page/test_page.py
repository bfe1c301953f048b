"""What of the page needs no browser: parts of JSON texts, and what answers do to the house."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from chimerac.runtime.bundle_format import PAGE_DIRECTORY

#: Intents that change nothing in the drawing.
UNDRAWN = {
    *("HassDecreaseTimer", "HassIncreaseTimer", "HassPauseTimer", "HassUnpauseTimer"),
    *("HassLawnMowerDock", "HassLawnMowerStartMowing", "HassRespond"),
}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")


def run(program: str, given: Any) -> Any:
    """What a module gives to ``result``, with the page's own modules imported and ``given``."""
    names = {"page-answer": "jsonParts, looksLikeJson, cutOff", "demo-house": "newHouse, applied, readAnswer"}
    text = "".join(f'import {{ {n} }} from "{(PAGE_DIRECTORY / f"{m}.mjs").as_uri()}";\n' for m, n in names.items())
    text += "const result = (value) => console.log(JSON.stringify(value));\n"
    text += f"const given = {json.dumps(given)};\n{program}"
    command = ["node", "--input-type=module", "-e", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_beginning_of_a_json_text_is_shown_as_it_is() -> None:
    texts = [
        '{"a": "b\\"c:", "d":[1,-2.5e+3,true,null], "é":{"":"\\\\"}}',
        "[",
        '{"x":1',
        "}{",
        '{"a\\',
        "{tru: falsey}",
    ]
    beginnings = [text[:end] for text in texts for end in range(len(text) + 1)]
    shown = run("result(given.map((text) => jsonParts(text).map(([, part]) => part).join('')));", beginnings)
    assert shown == beginnings


def test_parts_of_a_json_text() -> None:
    text = '{"a": "b\\"c", "d":[-2.5,true]'
    parts = run("result(jsonParts(given));", text)
    assert [part for part in parts if part[0]] == [
        *(["key", '"a"'], ["string", '"b\\"c"'], ["key", '"d"'], ["value", "-2.5"], ["value", "true"]),
    ]
    assert run("result(given.map(looksLikeJson));", [text, " [1]", "a", ""]) == [True, True, False, False]
    assert run("result(given.map((reason) => cutOff('', reason) !== ''));", ["length", "abort", "stop", None]) == [
        *(True, True, False, False),
    ]


def follow(answers: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The house after answers, and what each of them did in words."""
    program = "let house = newHouse(); const said = []; for (const one of given) "
    program += "{ const [next, text] = applied(house, one); house = next; said.push(text); } result([house, said]);"
    house, said = run(program, answers)
    return house, said


def answer(intent: str, **slots: Any) -> dict[str, Any]:
    return {"intent": intent, "slots": slots}


def test_lights_blinds_heating_and_media_follow() -> None:
    house, said = follow(
        [
            answer("HassTurnOn", domain="light"),
            answer("HassTurnOff", area="the kitchen", domain="light"),
            answer("HassLightSet", area="lounge", brightness=40, color="red", domain="light"),
            answer("HassTurnOff", area="bedroom", device_class="blind", domain="cover"),
            answer("HassSetPosition", area="office", device_class="curtain", position=25),
            answer("HassClimateSetTemperature", area="bathroom", temperature=23.5),
            answer("HassMediaSearchAndPlay", area="kitchen", search_query="jazz"),
            answer("HassSetVolumeRelative", volume_step="down"),
            answer("HassFanSetSpeed", area="office", percentage=60),
        ]
    )
    rooms = house["rooms"]
    assert {name: room["light"] for name, room in rooms.items()} == {
        **dict.fromkeys(("bedroom", "bathroom", "office", "garage"), 100),
        "kitchen": 0,
        "living room": 40,
    }
    assert rooms["living room"]["color"] == "red"
    assert (rooms["bedroom"]["blind"], rooms["office"]["blind"], rooms["kitchen"]["blind"]) == (0, 25, 100)
    assert (rooms["bathroom"]["heat"], rooms["bedroom"]["heat"]) == (23.5, 21)
    assert (rooms["kitchen"]["music"], rooms["kitchen"]["volume"], rooms["bedroom"]["volume"]) == ("jazz", 30, 40)
    assert rooms["office"]["fan"] == 60
    assert said[0] == "The lights everywhere are on."
    assert said[2] == "The lights in the lounge are at 40\u00a0%, red."


def test_doors_timers_lists_and_things_that_are_not_drawn() -> None:
    house, said = follow(
        [
            answer("HassTurnOn", device_class="garage", domain="cover"),
            answer("HassTurnOff", name="front door"),
            answer("HassStartTimer", hours=1, minutes=30),
            answer("HassStartTimer", seconds=5),
            answer("HassCancelTimer"),
            answer("HassShoppingListAddItem", item="milk"),
            answer("HassListAddItem", item="call Ann", name="the to do"),
            answer("HassShoppingListCompleteItem", item="milk"),
            answer("HassTurnOn", name="Coffee Machine"),
            answer("HassTurnOn", area="attic", domain="light"),
            answer("HassVacuumCleanArea", area="kitchen"),
        ]
    )
    assert (house["garage"], house["locked"], house["timers"], house["vacuum"]) == (
        100,
        False,
        ["1 h 30 min"],
        "kitchen",
    )
    assert house["list"] == ["to do: call Ann"]
    assert house["others"] == {"coffee machine": "on"}
    assert all(room["light"] == 0 for room in house["rooms"].values())
    assert said[9] == "The lights in the attic are on. There is no attic in the drawing."


def test_several_actions_happen_one_after_the_other() -> None:
    both: Any = [answer("HassTurnOn", area="Kitchen", domain="light"), answer("NoSuchDevice")]
    house, said = follow([both])
    assert house["rooms"]["kitchen"]["light"] == 100
    assert said == ["The lights in the kitchen are on. There is no such thing in this home."]
    texts = [json.dumps(both), json.dumps([both]), json.dumps([*both, 5])]
    assert run("result(given.map((text) => readAnswer(text) !== null));", texts) == [True, False, False]


def test_every_intent_of_the_home_model_has_a_meaning_and_no_answer_breaks_the_page() -> None:
    schema = PAGE_DIRECTORY.parents[2] / "frontends" / "config" / "builtin" / "home.schema.json"
    actions = json.loads(schema.read_text("utf-8"))["$defs"]["action"]["anyOf"]
    intents = [one["properties"]["intent"]["const"] for one in actions]
    assert len(intents) > 40
    odd: list[dict[str, Any]] = [answer(intent) for intent in ("constructor", "__proto__", "toString", "Other")]
    strange: list[Any] = [None, [], {"name": 5, "area": {}}, {"area": "__proto__"}]
    odd += [{"intent": "HassTurnOn", "slots": slots} for slots in strange]
    _, said = follow([*map(answer, intents), *odd])
    assert all(said)
    texts = ["", "{", "null", "5", "[]", '{"intent":1}', '{"intent":"a"}', '{"intent":"a","slots":{}}']
    assert run("result(given.map((text) => readAnswer(text) !== null));", texts) == [False] * 7 + [True]
    undrawn = {intent for intent, text in zip(intents, said, strict=False) if "not drawn" in text}
    assert undrawn == UNDRAWN
