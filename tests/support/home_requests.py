"""Requests to the shipped default model, some of them outside of what it knows."""

from __future__ import annotations

#: A list, a question, a name with an apostrophe, a place, every place, and no language at all.
FEW = (
    "please add oat milk to the shopping list",
    "is the front door locked",
    "dim the lamp in Greta's room to 30%",
    "stop the vacuum cleaner upstairs",
    "play music everywhere",
    "zxqv!? \U0001f600",
)
REQUESTS = (
    "turn off the bedroom lights",
    "set a timer for 10 minutes",
    "what's the capital of France?",
    *FEW,
    "open the garage door",
    "close all blinds in the living room",
    "make it warmer in the kitchen",
    "set the thermostat to 21 degrees",
    "how warm is it in the office",
    "broadcast that dinner is ready",
    "cancel my timer",
    "how long is left on the pizza timer",
    "next song please",
    "turn the volume up a bit",
    "mute the television",
    "what time is it",
    "what's the weather like tomorrow",
    "start the dishwasher",
    "turn the hallway light red",
    "lock every door downstairs",
    "add two minutes to the egg timer",
    "nevermind",
    "tell Thomas that I am late",
    "are there any lights on in the bathroom",
    "switch the fan in the attic off",
    "Once upon a time",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
)
