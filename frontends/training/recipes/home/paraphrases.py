"""Our own ways to say what the package's templates say: for training only, where the package has few templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from chimerac.frontends.training.recipes.home.templates import Package, Template, parse_template

#: Group of the package ("intent/slots") → more templates that fill the same slots.
_PARAPHRASES: Final[Mapping[str, str]] = {
    "HassBroadcast/message_only": """
        tell (everyone|everybody) [that] {message}
        let (everyone|everybody) know [that] {message}
        make an announcement [saying|that says] {message}
        (send|put) out the message {message}
        (say|call out) [to everyone] {message}
    """,
    "HassCancelAllTimers/area_only": "(delete|clear|end|drop) (every|all [the]) timer[s] <in> [<the>] {area}",
    "HassCancelAllTimers/default": "(delete|clear|end|drop) (all [the] timers|every timer)",
    "HassGetCurrentDate/default": """
        (which|what) date (is it|do we have) [today]
        what date is today
        (tell|give) me the date
        today's date
        the date [today]
    """,
    "HassGetCurrentTime/default": """
        (tell|give) me the [current] time
        (do you know|say|tell me) what time it is [now]
        (do you have|have you got) the time
        how late is it
        what's the time [now|right now]
        current time
        the time [now|right now]
        what time do we have
    """,
    "HassGetWeather/default": """
        how is the weather [today|outside|looking]
        [the] weather [forecast|report]
        what (will|does) the weather (be|look) like
    """,
    "HassGetWeather/name_only": """
        how is the weather (for|in|at) [<the>] {name}
        weather [forecast|report] (for|in|at) [<the>] {name}
        what (will|does) the weather (be|look) like in {name}
    """,
    "HassLawnMowerDock/default": "(send|bring) [<the>] [lawn] mower (home|back|to its (base|dock))",
    "HassLawnMowerStartMowing/default": """
        (run|launch) [<the>] [lawn] mower
        (cut|trim) (the|our|my) (lawn|grass)
        get [<the>] [lawn] mower going
        begin mowing
    """,
    "HassLawnMowerStartMowing/name_only": "(run|launch|send out) [<the>] {name}",
    "HassListAddItem/name_item": """
        (place|write|note|include) {todo_list_item:item} (on|in) [my|the] {name} list
        (append|put down) {todo_list_item:item} to [my|the] {name} list
        [my|the] {name} list needs {todo_list_item:item}
        to [my|the] {name} list (add|append) {todo_list_item:item}
    """,
    "HassListCompleteItem/name_item": """
        (mark|set) {todo_list_item:item} [as] (done|complete|completed|finished) (on|in) [my|the] {name} [list]
        (tick|cross) [off] {todo_list_item:item} (on|in|from) [my|the] {name} [list]
        {todo_list_item:item} is done on [my|the] {name} list
        finish {todo_list_item:item} (on|in|from) [my|the] {name} list
    """,
    "HassListRemoveItem/name_item": """
        (take|drop|erase|scratch) {todo_list_item:item} (off|from) [my|the] {name} [list]
        (get rid of|clear) {todo_list_item:item} (from|on) [my|the] {name} list
    """,
    "HassShoppingListAddItem/item_only": """
        (place|write|note|include) {shopping_list_item:item} on [my|the] [shopping] list
        append {shopping_list_item:item} to [my|the] [shopping] list
        (we need|i need) {shopping_list_item:item} on [my|the] shopping list
        [my|the] shopping list needs {shopping_list_item:item}
    """,
    "HassShoppingListCompleteItem/item_only": """
        (tick|cross|strike) [off] {shopping_list_item:item} (from|on|in) [my|the] [shopping] list
        mark {shopping_list_item:item} [as] (done|complete|bought) (on|in) [my|the] [shopping] list
        (take|drop|erase) {shopping_list_item:item} (off|from) [my|the] shopping list
    """,
    "HassMediaPause/area_only": "(halt|hold) the (music|[tv] show[s]|media [player[s]]) [in] [<the>] {area}",
    "HassMediaPlayerMute/name_only": "(silence|hush) [<the>] {name}",
    "HassMediaPlayerUnmute/name_only": "turn the sound of [<the>] {name} back on",
    "HassMediaSearchAndPlay/default": """
        (i want to|let me|i would like to) hear {search_query}
        (put on|start playing|listen to) {search_query}
    """,
    "HassMediaSearchAndPlay/media_class_only": """
        (put on|start playing|listen to|find) the {media_class} {search_query}
        (i want to hear|let me hear) the {media_class} {search_query}
        (put on|start playing|listen to|find) the {search_query} {media_class}
        (i want to hear|let me hear) {search_query} the {media_class}
    """,
    "HassMediaSearchAndPlay/area_only": "(put on|start playing|listen to) {search_query} in [<the>] {area}",
    "HassMediaSearchAndPlay/name_only": "(put on|start playing|listen to) {search_query} on [<the>] {name}",
    "HassNevermind/default": """
        (forget it|forget about it|forget that)
        (don't bother|do not bother)
        (ignore|disregard) (it|that|what i said)
        it (does not|doesn't) matter [anymore]
        (oh|no) nevermind [that|it]
        drop it
        leave it
    """,
    "HassRespond/default": """
        (hey|good day|greetings) home assistant
        what can (you do|i tell you|i use you for)
        what (questions|commands|things) can i (give|tell) you
        which (questions|commands) do you (know|understand)
        who (built|programmed|developed|wrote) you
        (are you|do you keep) recording [me|us]
        where (is|do you keep|do you store) my data
    """,
    "HassVacuumCleanArea/name_area": """
        (have|let|make) [<the>] {name} <clean> [<the>] {area}
        use [<the>] {name} to <clean> [<the>] {area}
        <clean> up [<the>] {area} (using|by means of|with the help of) [<the>] {name}
        (sweep|hoover) [<the>] {area} (with|using) [<the>] {name}
        (run|send) [<the>] {name} (in|to) [<the>] {area}
        get [<the>] {area} cleaned by [<the>] {name}
    """,
    "HassVacuumCleanArea/area_only": "(sweep|hoover) [<the>] {area}",
    "HassVacuumReturnToBase/name_only": "(send|bring) [<the>] {name} (home|back|to its (base|dock))",
    "HassVacuumStart/floor_only": "(sweep|hoover) [<the>] {floor}",
    "HassVacuumStart/name_only": """
        (run|launch) [<the>] {name}
        get [<the>] {name} going
    """,
    "HassTurnOff/domain_all": """
        (put|flip) <all> <light> off [<everywhere>]
        kill <all> <light> [<everywhere>]
    """,
    "HassLightSet/area_temperature": """
        (tune|shift) [<the>] {area} color temperature to {color_temperature_names:temperature}
        (tune|shift) the <light> <in> [<the>] {area} to color temperature {color_temperature_names:temperature}
        give [<the>] {area} <light> a color temperature of {color_temperature:temperature} [k|kelvin]
    """,
    "HassLightSet/area_color": "(paint|dye) [<the>] {area} <light> {color}",
    "HassClimateSetTemperature/floor_temperature": "(heat|cool|warm) [<the>] {floor} to {temperature} degrees",
    "HassClimateSetTemperature/area_temperature": "(heat|cool|warm) [<the>] {area} to {temperature} degrees",
}  # fmt: skip


def paraphrases(package: Package) -> tuple[Template, ...]:
    """Templates with the group, fixed slots and domains of the package's own; groups that it hasn't are left out."""
    models: dict[str, Template] = {}
    for template in package.templates:
        models.setdefault(template.group.rsplit("/", 1)[0], template)
    return tuple(
        Template(f"own/{k}/{number}", model.intent, model.group, text, parse_template(text, package.rules),
                 model.fixed, model.domains)
        for k, texts in enumerate(_PARAPHRASES)
        if (model := models.get(texts))
        for number, text in enumerate(_lines(_PARAPHRASES[texts]))
    )  # fmt: skip


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.strip().splitlines()]
