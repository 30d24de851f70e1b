# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How keywords interpret a text: the table in intents.yml, and the exact message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.cognitive.intent import Action, Refused
from compose.cognitive.keywords import immediate, parse
from compose.cognitive.places import Place, Places, read

ROOT = Path(__file__).parents[4]
CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "intents.yml").read_text(encoding="utf-8"))
PLACES = Places([*read(ROOT / "compose" / "places.json"), Place("bus_stop", (1.0, 2.0))])


@pytest.mark.parametrize("case", CASES, ids=[case["text"] for case in CASES])
def test_text(case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises(Refused) as refusal:
            parse(case["text"], PLACES)
        assert refusal.value.code == case["refused"]
        return
    message = parse(case["text"], PLACES).message()
    assert message["raw_text"] == case["text"]
    expected = {key: value for key, value in case.items() if key != "text"}
    assert {key: message[key] for key in expected} == expected
    assert message["speed"] == case.get("speed", "normal")


# Each has a name, because test ids do not show these characters.
APOSTROPHES = {
    "U+0027": "'",
    "grave accent": "`",
    "acute accent": "\u00b4",
    "modifier prime": "\u02b9",
    "modifier turned comma": "\u02bb",
    "modifier apostrophe": "\u02bc",
    "modifier acute": "\u02ca",
    "left quote": "\u2018",
    "right quote": "\u2019",
    "low quote": "\u201a",
    "reversed quote": "\u201b",
    "prime": "\u2032",
    "reversed prime": "\u2035",
    "full-width apostrophe": "\uff07",
    "full-width grave accent": "\uff40",
    "combining acute": "\u0301",
    "saltillo": "\ua78c",
    "Hebrew": "\u05f3",
    "replacement character": "\ufffd",
    "none": "",
    "space": " ",
    "no-break space": "\u00a0",
    "zero-width space": "\u200b",
    "double quote": '"',
    "semicolon": ";",
    "control character": "\u0092",
    "new line": "\n",
}
NEGATED = [
    "Don{}t",
    "you can{}t",
    "you mustn{}t",
    "you shouldn{}t",
    "you won{}t",
    "you aren{}t to",
    "do n{}t",
    "you wouldn{}t",
]


@pytest.mark.parametrize("apostrophe", APOSTROPHES.values(), ids=APOSTROPHES)
def test_no_apostrophe_turns_a_prohibition_into_a_command(apostrophe: str) -> None:
    for negated in NEGATED:
        for text in (f"{negated} go to zone a", f"{negated} drive to the loading dock please"):
            said = text.format(apostrophe)
            found = immediate(said, PLACES)
            assert found is not None, said
            assert found.action is Action.STOP, said


def test_every_action_is_in_the_table() -> None:
    assert {case["action"] for case in CASES if "action" in case} == set(Action) - {Action.UNKNOWN}


def test_the_message_has_exactly_the_documented_form() -> None:
    assert json.dumps(parse("move to zone b", PLACES).message()) == (
        '{"action": "navigate", "target": "zone_b", "coordinates": [10.0, 0.0], "speed": "normal", '
        '"confidence": 0.7, "raw_text": "move to zone b"}'
    )


def test_every_movement_has_coordinates() -> None:
    for case in CASES:
        if case.get("action") not in (None, "stop", "status"):
            message = parse(case["text"], PLACES).message()
            assert isinstance(message["coordinates"], list)
            assert all(isinstance(number, float) for number in message["coordinates"])


def test_unknown_place_lists_the_known_ones() -> None:
    with pytest.raises(Refused, match="zone_a, zone_b, zone_c, north_shelf, south_shelf, loading_dock, home, charging"):
        parse("go to the kitchen", PLACES)


@pytest.mark.parametrize("case", CASES, ids=[case["text"] for case in CASES])
def test_only_stop_and_status_are_immediate(case: dict[str, Any]) -> None:
    found = immediate(case["text"], PLACES)
    assert (found.action if found else None) == (case["action"] if case.get("action") in ("stop", "status") else None)
