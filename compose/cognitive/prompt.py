# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prompt of the language model, and what its answer means. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypeVar

from .intent import Action, Intent, Refused, Speed, stop, unknown_place
from .keywords import check, forbids, leads_to
from .places import Place, Places, point

Choice = TypeVar("Choice", Action, Speed)

MIN_CONFIDENCE = 0.5
FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
PROMPT = """\
You turn what a person says to a mobile robot into one JSON object and nothing else:
{"action": "navigate|inspect|pick|place|stop|status|unknown", "target": "a place name or null", \
"speed": "slow|normal|fast", "confidence": 0.0 to 1.0}
The target is one of these place names, each with the words people use for it:
PLACES
Use the action unknown when the text is not a command. Never invent a place."""


class NimError(Exception):
    """The model returned no usable answer; the message has the reason, without secrets."""


def question(text: str, model: str, places: Places) -> dict[str, object]:
    """Return the body of the request for one text."""
    known = "\n".join(f"- {place.name}: {', '.join((place.name, *place.aliases))}" for place in places)
    system = PROMPT.replace("PLACES", known)
    return {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 200,
        "response_format": {"type": "json_object"},
    }


def content(body: bytes) -> str:
    """Return the model's text from the body of a chat completion.

    :raises NimError: the body is not a chat completion.
    """
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise NimError("NIM's answer is not a chat completion") from None
    if not isinstance(text, str):
        raise NimError("NIM's answer has no text")
    return text


def interpret(answer: str, text: str, places: Places) -> Intent:
    """Return the command that the model's JSON describes.

    Coordinates come from our own data only, so invented ones have no effect. A stop needs no confidence, and a text
    that stops the robot or forbids a movement stops it, whatever the model answers. The model cannot choose one of
    several places that the text names, nor a place like the named one, nor another one than the text names.

    :raises NimError: the answer is not valid JSON of the requested form, or the model was not confident.
    :raises Refused: it is not a command, or does not name a known place.
    """
    if forbids(text, places):
        return stop(text)
    fields = _json(answer)
    if str(fields.get("action")).strip().lower() == Action.STOP:
        return stop(text)
    action = _one_of(Action, fields.get("action"), "action")
    speed = _one_of(Speed, fields.get("speed") or Speed.NORMAL, "speed")
    confidence = _confidence(fields.get("confidence"))
    if action is Action.UNKNOWN:
        raise Refused("unknown_action", "The language model found no command in this text.")
    if confidence < MIN_CONFIDENCE:
        raise NimError(f"NIM was not sure (confidence {confidence:g})")
    if action is Action.STATUS:
        return Intent(action, None, Speed.NORMAL, confidence, text)
    check(text, action, places)
    place = _place(fields, places)
    if place is None:
        raise unknown_place(action, places)
    if not leads_to(text, action, place, places):
        raise Refused("ambiguous", f"The language model understood {place.name}, which the text does not ask for.")
    return Intent(action, place, speed, confidence, text)


def _json(answer: str) -> Mapping[str, object]:
    fenced = FENCE.match(answer.strip())
    try:
        fields = json.loads(fenced.group(1) if fenced else answer)
    except (ValueError, RecursionError):
        raise NimError("NIM's answer is not JSON") from None
    if not isinstance(fields, dict):
        raise NimError("NIM's answer is not a JSON object")
    return fields


def _one_of(kind: type[Choice], value: object, name: str) -> Choice:
    try:
        return kind(str(value))
    except ValueError:
        raise NimError(f"NIM's {name} is {value!r:.60}") from None


def _confidence(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise NimError(f"NIM's confidence is {value!r:.60}")
    return float(value)


def _place(fields: Mapping[str, object], places: Places) -> Place | None:
    """Return the place that the answer names, or whose coordinates it has, as a list or an object."""
    target = fields.get("target")
    if isinstance(target, str) and target.strip():
        return places.find(target)
    coordinates = point(fields.get("coordinates"))
    return places.at(coordinates) if coordinates else None
