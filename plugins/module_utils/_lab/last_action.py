# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write, read and explain what was last done to a host, by what, and what failed: tags of its instance.

    digital_twin_last_action  start schedule 2026-11-30T07:00:00Z
    digital_twin_last_error   start 2026-11-30T07:00:12Z: AWS has no g5.xlarge in eu-central-1a.
    digital_twin_awake_until  2026-11-30T22:00:00Z

EC2's own reason of a stop (API reference, StateReason, read on 2026-11-30) says how an instance was stopped, and not by
what: an alarm, a schedule and a person all call its API. Their times decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

ACTION_TAG = "digital_twin_last_action"
ERROR_TAG = "digital_twin_last_error"
AWAKE_TAG = "digital_twin_awake_until"
# The type of a host while it runs as another one for want of capacity.
TYPE_TAG = "digital_twin_instance_type"
# A move to another zone that has not ended: "leaving us-east-1a" of the old instance, "from i-1 ami-1" of the new one.
MOVE_TAG = "digital_twin_move"

START, STOP, RESIZE, MOVE = "start", "stop", "resize", "move"
VERBS = (START, STOP, RESIZE, MOVE)
PERSON, SCHEDULE, IDLE, LIFETIME, BUDGET, SPOT, EVENT = (
    "person",
    "schedule",
    "idle",
    "lifetime",
    "budget",
    "spot",
    "event",
)
# An alarm of CloudWatch leaves no tag. As a cause, its name follows after a space.
ALARM = "alarm"
CAUSES = (PERSON, SCHEDULE, IDLE, LIFETIME, BUDGET, SPOT, EVENT)
# As a sentence names them.
ACTORS = {
    PERSON: "a user of the collection",
    SCHEDULE: "its schedule",
    IDLE: "its idle stop",
    LIFETIME: "its maximum lifetime",
    BUDGET: "its budget",
    SPOT: "AWS, which needed the spot capacity",
    EVENT: "a maintenance event of AWS",
}
OTHERS = "a user, the console, or another program of the account"
PAST = {START: "started", STOP: "stopped", RESIZE: "resized", MOVE: "moved to another zone"}

TIME_FORM = "%Y-%m-%dT%H:%M:%SZ"
# EC2's limit for the value of a tag.
LONGEST = 256
WHAT = re.compile(r"[a-z][a-z_-]{0,30}")
ERROR = re.compile(rf"({WHAT.pattern}) (\S+): (.+)")
# StateTransitionReason of an instance that a caller stopped: "User initiated (2026-11-30 19:30:04 GMT)".
STOPPED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
# Between the time of a stop that EC2 reports and the time that what stopped it has recorded.
TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Action:
    """What was done to a host: one of VERBS, because of one of CAUSES, at a time in UTC."""

    verb: str
    cause: str
    time: datetime

    def __str__(self) -> str:
        """Return the value of its tag."""
        return f"{self.verb} {self.cause} {write_time(self.time)}"


@dataclass(frozen=True)
class Error:
    """What failed, such as a verb, when, and a sentence that explains it."""

    what: str
    time: datetime
    sentence: str

    def __str__(self) -> str:
        """Return the value of its tag, shortened to what a tag can hold."""
        text = f"{self.what} {write_time(self.time)}: {' '.join(self.sentence.split())}"
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@dataclass(frozen=True)
class State:
    """The state of an instance as EC2 describes it.

    Attributes:
        name: Its name, such as "stopped".
        code: The code of its StateReason.
        transition: Its StateTransitionReason.
        launched: When it was started last; None if that is not known.
    """

    name: str
    code: str = ""
    transition: str = ""
    launched: datetime | None = None


@dataclass(frozen=True)
class Stop:
    """Why a host is stopped.

    Attributes:
        cause: One of CAUSES, or an alarm; empty if it is not known.
        time: When; None if it is not known.
        inside: Whether it shut itself down. What did so is not known without a cause.
    """

    cause: str = ""
    time: datetime | None = None
    inside: bool = False

    def __str__(self) -> str:
        """Return it as the end of a sentence."""
        if self.cause:
            actor = f"by {actor_of(self.cause)}"
        elif self.inside:
            actor = "from the host itself: a user, or a program, shut it down"
        else:
            actor = f"by the API of EC2: {OTHERS}"
        when = f" on {_shown(self.time)}" if self.time else ""
        return f"stopped{when} {actor}"


def actor_of(cause: str) -> str:
    """Return a cause as a sentence names it."""
    kind, _space, name = cause.partition(" ")
    if kind == ALARM:
        return f"the alarm {name}" if name else "an alarm of CloudWatch"
    return ACTORS[cause]


def write_time(when: datetime) -> str:
    """Return a time as the tags hold it."""
    return when.astimezone(timezone.utc).strftime(TIME_FORM)


def read_time(text: str) -> datetime | None:
    """Return the time in the value of a tag, or None if it is not one."""
    try:
        return datetime.strptime(text, TIME_FORM).replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def read_action(text: str) -> Action | None:
    """Return the action in the value of a tag, or None if it is not one."""
    verb, _space, rest = text.partition(" ")
    cause, _space, time = rest.partition(" ")
    when = read_time(time)
    return Action(verb, cause, when) if verb in VERBS and cause in CAUSES and when else None


def read_error(text: str) -> Error | None:
    """Return the error in the value of a tag, or None if it is not one."""
    match = ERROR.fullmatch(text)
    when = read_time(match[2]) if match else None
    return Error(match[1], when, match[3]) if match and when else None


def stopped_at(transition: str) -> datetime | None:
    """Return the time in an instance's StateTransitionReason, or None."""
    match = STOPPED_AT.search(transition)
    return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc) if match else None


def explain_stop(state: State, tag: str, others: Iterable[tuple[str, datetime]] = ()) -> Stop:
    """Return why a host is stopped.

    Args:
        state: The state of its instance.
        tag: The value of its tag for the last action, or nothing.
        others: The causes of stops that left no tag, with their times, such as those of an alarm or a schedule.
    """
    when = stopped_at(state.transition)
    if state.code in ("Server.SpotInstanceShutdown", "Server.SpotInstanceTermination"):
        return Stop(SPOT, when)
    if state.code == "Server.ScheduledStop":
        return Stop(EVENT, when)
    inside = state.code == "Client.InstanceInitiatedShutdown"
    action = read_action(tag)
    recorded = [(action.cause, action.time)] if action and action.verb in (STOP, RESIZE) else []
    near = [(abs(time - when), cause) for cause, time in [*recorded, *others] if when and abs(time - when) <= TOLERANCE]
    if near:
        return Stop(min(near)[1], when, inside)
    # EC2 reports no time. A tag says stop until the next start has replaced it.
    if not when and recorded:
        return Stop(*recorded[0], inside)
    return Stop("", when, inside)


def describe_start(host: str, state: State, tag: str, others: Iterable[tuple[str, datetime]] = ()) -> str:
    """Return a sentence about what started a host, or nothing when that is not known.

    Args:
        host: Its name.
        state: The state of its instance.
        tag: The value of its tag for the last action, or nothing.
        others: The causes of starts that left no tag, with their times, such as those of a schedule.
    """
    action = read_action(tag)
    if action and action.verb != STOP and (state.launched is None or action.time >= state.launched - TOLERANCE):
        return f"{host} was {PAST[action.verb]} on {_shown(action.time)} by {ACTORS[action.cause]}."
    if state.launched is None:
        return ""
    near = [(abs(time - state.launched), cause) for cause, time in others if abs(time - state.launched) <= TOLERANCE]
    # A host that nothing has stopped since it was launched has no tag.
    if not near and not action:
        return ""
    actor = actor_of(min(near)[1]) if near else f"the API of EC2: {OTHERS}"
    return f"{host} was started on {_shown(state.launched)} by {actor}."


def describe_error(host: str, tag: str) -> str:
    """Return a sentence about the last failure on a host, or nothing when its tag has none."""
    error = read_error(tag)
    if not error:
        return ""
    # Any caller that may tag can write it.
    sentence = "".join(letter if letter.isprintable() else "?" for letter in error.sentence)
    return f"{host}: {error.what} failed on {_shown(error.time)}: {sentence}"


def describe_awake(host: str, tag: str, now: datetime) -> str:
    """Return a sentence about until when a host is kept awake, or nothing when it is not."""
    until = read_time(tag)
    return f"{host} is kept awake until {_shown(until)}." if until and until > now else ""


def describe_host(
    host: str, state: State, tags: dict[str, str], now: datetime, others: Iterable[tuple[str, datetime]] = ()
) -> list[str]:
    """Return sentences about a host: why it is stopped or what started it, what failed, until when it is awake.

    Args:
        host: Its name.
        state: The state of its instance.
        tags: The tags of its instance.
        now: The time.
        others: As in `explain_stop`.
    """
    action = tags.get(ACTION_TAG, "")
    if state.name in ("stopping", "stopped"):
        first = f"{host} was {explain_stop(state, action, others)}."
    else:
        first = describe_start(host, state, action, others)
    lines = [first, describe_error(host, tags.get(ERROR_TAG, "")), describe_awake(host, tags.get(AWAKE_TAG, ""), now)]
    return [line for line in lines if line]


def _shown(when: datetime) -> str:
    """Return a time as sentences show it."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d at %H:%M UTC")
