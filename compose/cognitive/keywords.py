# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds a robot command in a text, by keywords. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import words as spoken
from .intent import Action, Intent, Refused, Speed, stop, unknown_place
from .places import Mention, Place, Places

STATUS = re.compile(r"\b(status|report|battery|where (are|is|am)|wheres|your position|(what|how) are you)\b")
VERBS = {
    Action.INSPECT: re.compile(r"\b(inspect|check|scan|examine|look at|survey)\b"),
    Action.PICK: re.compile(r"\b(pick|grab|fetch|collect|get(?! (to|over|going|moving|back|away|off|out)\b))\b"),
    Action.PLACE: re.compile(r"\b(place|put|drop|deliver|unload)\b"),
    Action.NAVIGATE: re.compile(r"\b(move|go|goto|navigate|drive|head|come|return|proceed|visit|get (to|over|back))\b"),
}
SLOW = re.compile(r"\b(slow|slowly|slower|careful|carefully|gently)\b")
FAST = re.compile(r"\b(fast|faster|quick|quickly|hurry|rush|asap)\b")
FILLER = re.compile(r"\b(please|now|the|a|an|to|at|robot|hey|ok|okay)\b")
# What is not the place itself: the robot leaves it, or avoids it.
LEAVING = re.compile(r"\b(from|leave|leaving|off|out of|outside|past|around|round|beyond|behind)( the)? $")
# What follows a pick is a second command, and a place after it is that of the second one.
ONWARD = re.compile(r"\b(bring|carry|take|haul|transport|move|go|goto|navigate|drive|head|come|return|proceed|visit)\b")
# An object that is moved between two places: "move boxes from", but not "move slowly from" and "move the robot from".
MOVED = re.compile(
    r"\b(bring|carry|take|haul|transport)\b"
    r"|\bmove (?!(?:(?:the|this|my|our|your|robot|yourself|please|now|on|over|back|away|along|straight|directly|slow"
    r"|slowly|slower|careful|carefully|gently|fast|faster|quick|quickly) )*(?:from|to|into|towards?)\b)"
)
# A question about a movement, and a movement with a condition: neither is one for now. "Can you go to zone a" is.
QUESTION = re.compile(
    r"^(?:(?:hey|ok|okay|so|and|but|well|robot|please) )*"
    r"(?:why|who|whom|whose|what|which|where|how|did|do you|does|has|have you|had|is|are|was|were|am|should|shall)\b"
    r"|\b(?:if|unless|whether|when|whenever|as soon as|(?<!at )once)\b"
)
# A movement that follows, without a place.
BACK = re.compile(r"\b(come|go|get|drive|head|move) back\b|\breturn\b")
_COUNTED = (
    "eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy"
    "|eighty|ninety|hundred"
)
_SPELLED = (
    "alpha|alfa|bravo|charlie|delta|echo|foxtrot|golf|hotel|india|juliett?|kilo|lima|mike|november|oscar|papa|quebec|romeo"
    "|sierra|tango|uniform|victor|whiskey|x ray|yankee|zulu"
)
# "Dock twelve", "dock bravo" and "the second dock" are not the dock.
NUMBERED = re.compile(rf" (?:(?:number|no|nr) )?(?:(?:\d+[a-z]?|[b-hj-z]|{_COUNTED}|{_SPELLED})\b|[ai]$)")
ORDINAL = re.compile(
    r"\b(first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|\d+(st|nd|rd|th)|last|other"
    r"|another|next|north|south|east|west|northern|southern|eastern|western|left|right|front|rear|upper|lower|middle) $"
)


def parse(text: str, places: Places) -> Intent:
    """Return the command that a text asks for.

    :param text: the user's text, not empty.
    :raises Refused: the text is not a command, or is ambiguous.
    """
    plain = immediate(text, places)
    if plain:
        return plain
    words = spoken.normalise(text)
    mentions = places.mentioned(words)
    rest = _replaced(words, mentions)
    action = _action(rest, bare_place=bool(mentions))
    check(text, action, places)
    return Intent(action, _destination(words, mentions, action, places), _speed(rest), 0.7, text)


def certain(text: str, places: Places) -> Intent | None:
    """Return the command of a text that has nothing but an action, a place and a speed: no model is needed for it."""
    words = spoken.normalise(text)
    rest = _replaced(words, places.mentioned(words))
    for pattern in (*VERBS.values(), SLOW, FAST, FILLER):
        rest = pattern.sub("", rest)
    if rest.strip():
        return None
    try:
        return parse(text, places)
    except Refused:
        return None


def check(text: str, action: Action, places: Places) -> None:
    """Check that a text asks for one movement, to a place that is known as it is named.

    :raises Refused: it asks for more than one, for a place like a known one, for none yet, or for none at all.
    """
    words = spoken.normalise(text)
    mentions = places.mentioned(words)
    if any(NUMBERED.match(words, mention.end) or ORDINAL.search(words[: mention.start]) for mention in mentions):
        raise unknown_place(action, places)
    rest = _replaced(words, mentions)
    if QUESTION.search(rest):
        raise Refused("unknown_action", "That is a question, or has a condition: say what the robot is to do now.")
    going, named = _going(words, mentions), _named(mentions)
    carried = {Action.PICK, Action.PLACE} & {action, *_verbs(rest)} or MOVED.search(rest)
    if len(going) > 1 or (carried and len(named) > 1):
        listed = " and ".join(place.name for place in named)
        raise Refused("ambiguous", f"More than one place was named ({listed}): send one command at a time.")
    picked = VERBS[Action.PICK].search(rest)
    if (picked and ONWARD.search(rest, picked.end())) or (mentions and BACK.search(words, mentions[-1].end)):
        raise Refused("ambiguous", "That is more than one command: send one at a time.")


def leads_to(text: str, action: Action, place: Place, places: Places) -> bool:
    """Return whether a text that was checked may mean a place: it names no other one, and does not leave this one."""
    words = spoken.normalise(text)
    mentions = places.mentioned(words)
    going = _going(words, mentions)
    if going or action is Action.PICK:
        return place in (going or _named(mentions) or [place])
    return place not in _named(mentions)


def immediate(text: str, places: Places) -> Intent | None:
    """Return ``stop`` or ``status`` if the text requests it: neither waits for a language model."""
    words = spoken.normalise(text)
    mentions = places.mentioned(words)
    rest = _replaced(words, mentions)
    if forbids(text, places):
        return stop(text)
    # "Deliver the report to zone a" asks for a delivery.
    if STATUS.search(rest) and not (mentions and _verbs(rest)):
        return Intent(Action.STATUS, None, Speed.NORMAL, 0.9, text)
    return None


def forbids(text: str, places: Places) -> bool:
    """Return whether a text stops the robot or forbids a movement, in any of its readings.

    Names of places do not count: the robot must not stop because it is sent to a bus stop.
    """
    return any(
        spoken.forbids([_replaced(clause, places.mentioned(clause), "@") for clause in clauses])
        for clauses in spoken.clauses(text)
    )


def _replaced(words: str, mentions: list[Mention], sign: str = "") -> str:
    """Return the words with each place replaced by a sign."""
    kept, position = [], 0
    for mention in mentions:
        kept += [words[position : mention.start], sign]
        position = mention.end
    return " ".join(" ".join([*kept, words[position:]]).split())


def _verbs(rest: str) -> list[Action]:
    return [action for action, pattern in VERBS.items() if pattern.search(rest)]


def _action(rest: str, *, bare_place: bool) -> Action:
    found = _verbs(rest)
    if Action.PICK in found and Action.PLACE in found:
        raise Refused("ambiguous", "That is more than one command: send one at a time.")
    if found:
        return found[0]
    if bare_place and not FILLER.sub("", SLOW.sub("", FAST.sub("", rest))).strip():
        return Action.NAVIGATE
    raise Refused(
        "unknown_action",
        "No command was recognised. Try: go to ..., inspect ..., pick up at ..., put down at ..., status, stop.",
    )


def _destination(words: str, mentions: list[Mention], action: Action, places: Places) -> Place:
    """Return the destination of a text that was checked."""
    going = _going(words, mentions)
    if not going and action is Action.PICK:
        # "Pick it up from zone a" goes there; "come back from zone a" does not.
        going = _named(mentions)
    if not going:
        raise unknown_place(action, places)
    return going[0]


def _going(words: str, mentions: list[Mention]) -> list[Place]:
    """Return the places to which the text sends the robot, rather than from them."""
    return _named(mention for mention in mentions if not LEAVING.search(words[: mention.start]))


def _named(mentions: Iterable[Mention]) -> list[Place]:
    return list(dict.fromkeys(mention.place for mention in mentions))


def _speed(rest: str) -> Speed:
    if spoken.NOT_FAST.search(rest):
        return Speed.SLOW
    if SLOW.search(spoken.NOT_SLOW.sub("", rest)):
        return Speed.SLOW
    return Speed.FAST if FAST.search(rest) else Speed.NORMAL
