"""What a request means where several templates say it, and what numbers it may have."""

from __future__ import annotations

import json
import random
import re

import pytest

from chimerac.frontends.training.recipes.home.templates import Package, Parts, Slot, Template, Text, load_package
from chimerac.frontends.training.recipes.household.drawing import Drawer, sources
from chimerac.frontends.training.recipes.household.dwellings import Dwelling, NameSource, Thing
from chimerac.frontends.training.recipes.household.quantities import Quantities
from chimerac.frontends.training.recipes.household.readings import Readings
from chimerac.frontends.training.recipes.household.requests import Requests, draw

SWEDISH = "sv"


def names_for(package: Package, language: str) -> NameSource:
    return NameSource(sources(package), language, random.Random(2), held_out=False)


def test_a_form_has_one_reading() -> None:
    """Of two intents that are asked for in the same words, the one that is drawn more often stays."""
    package = load_package(SWEDISH)
    words = Text("sluta med det där")
    often, seldom = (
        tuple(Template(f"{name}/{k}", name, name, "", words, {}, ()) for k in range(count))
        for name, count in (("HassMediaPause", 16), ("HassTurnOff", 1))
    )
    own = Package((*often, *seldom), package.lists)
    names = names_for(package, SWEDISH)
    readings = Readings(own, SWEDISH, names, random.Random(6), draws=400)
    drawer = Drawer(own, SWEDISH, names, random.Random(7))
    home = Dwelling((), ())
    stays, goes = drawer.command(often[0], home), drawer.command(seldom[0], home)
    assert stays is not None
    assert goes is not None
    assert readings.agree(stays)
    assert not readings.agree(goes)


def test_a_room_and_its_lights_are_no_name_without_a_home() -> None:
    """Of "the bedroom light" without a home; in a home that has such a thing it is the thing."""
    english = load_package("en")
    names = names_for(english, "en")
    lights, name = Slot("area", "area"), Slot("name", "name")
    room = Template(
        "HassTurnOff/0",
        "HassTurnOff",
        "room",
        "",
        Parts((Text("stop "), lights, Text(" light"))),
        {"domain": "light"},
        (),
    )
    thing = tuple(
        Template(f"HassTurnOff/{k}", "HassTurnOff", "thing", "", Parts((Text(verb), name)), {}, ("light",))
        for k, verb in enumerate(("stop ", "please end "), 1)
    )
    own = Package((room, *thing), english.lists)
    readings = Readings(own, "en", names, random.Random(3), draws=600)
    drawer = Drawer(own, "en", names, random.Random(4))
    found = [drawer.command(one, Dwelling((), ())) for one in (room, *thing) for _ in range(300)]
    forms = ("stop {areas} light", "please end {areas} light")
    said = [one for one in found if one is not None and one.told in forms]
    assert {"area" in one.slots for one in said if readings.agree(one)} == {True}
    dropped = [one for one in said if not readings.agree(one)]
    assert {one.text.split()[0] for one in dropped} == {"stop", "please"}
    lamp = Thing("bedroom light", (), "light", "Bedroom")
    told = [drawer.command(one, Dwelling((lamp,), (("Bedroom", ()),))) for one in thing for _ in range(20)]
    named = [one for one in told if one is not None and one.slots.get("name") == lamp.name]
    assert named
    assert all(map(readings.agree, named))


@pytest.mark.parametrize("language", [SWEDISH, "en"])
def test_numbers_beyond_their_range_are_refused(language: str) -> None:
    package = load_package(language)
    requests = Requests(package, language, "beyond", held_templates=False, held_names=False)
    rows = [row for row in draw(requests, 2500, set(), lambda row: True, share=0.0) if row.kind == "beyond"]
    assert len(rows) > 20
    for row in rows:
        assert json.loads(row.json) == {"intent": "OutOfDomain", "slots": {}}, row
        assert max(int(number) for number in re.findall(r"\d+", row.text)) > 100, row
    quantities = Quantities(language, random.Random(1))
    for content in package.lists.values():
        if limits := content.get("range"):
            numbers = [quantities.number(limits, beyond=True)[1] for _ in range(50)]
            assert all(limits["to"] < number <= 10 * limits["to"] for number in numbers)
