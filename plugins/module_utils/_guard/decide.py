# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a lab stops now: the idle stop, its schedule and its lifetime know of one another. Pure functions.

`awake` holds all of them until a time, and then ends by itself. A budget of AWS Budgets acts by itself and is not held.
The controller and the guard on the host use this code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .._problem import Problem, shown

IDLE, SCHEDULE, LIFETIME = "idle", "schedule", "lifetime"
CAUSES = (IDLE, SCHEDULE, LIFETIME)
# What follows from a decision when users are warned before the stop.
NOTHING, WARN, WAIT, STOP = "nothing", "warn", "wait", "stop"
# How long a lab that was started waits for its first user before it counts as idle.
WAIT_FOR_USER = timedelta(hours=4)
LONGEST_AWAKE = timedelta(days=7)


@dataclass(frozen=True)
class Situation:
    """A running lab.

    Attributes:
        now: The time.
        started: When it was started.
        awake_until: Until when nothing stops it; None if no user asked for that.
        busy: What is in use now: "GPU 0", "an SSH session", "a client of port 8765", "a run of Ansible".
        last_use: When anything was in use last; None if nothing was.
        visited: Whether a user came since the start. What starts at boot uses a GPU before any user comes.
        idle_for: How long it must be idle.
        wait_for_user: How long a lab that was started waits for its first user.
    """

    now: datetime
    started: datetime
    awake_until: datetime | None = None
    busy: tuple[str, ...] = ()
    last_use: datetime | None = None
    visited: bool = False
    idle_for: timedelta = timedelta(hours=1)
    wait_for_user: timedelta = WAIT_FOR_USER


@dataclass(frozen=True)
class Decision:
    """Whether a lab stops.

    Attributes:
        stops: Whether it does.
        reason: Why, as a phrase.
        again: When to decide again, if it does not; None when that depends on what happens.
    """

    stops: bool
    reason: str
    again: datetime | None = None


def decide(cause: str, lab: Situation) -> Decision:
    """Return whether a cause stops a running lab.

    Args:
        cause: One of CAUSES.
        lab: The lab.
    """
    if cause not in CAUSES:
        raise ValueError(f"{cause!r} is not a cause of a stop; allowed: {', '.join(CAUSES)}")
    if lab.awake_until and lab.awake_until > lab.now:
        return Decision(False, f"awake until {_shown(lab.awake_until)}", lab.awake_until)
    if cause == IDLE:
        return _decide_idle(lab)
    return Decision(True, "its lifetime is over" if cause == LIFETIME else "its schedule stops it")


def _decide_idle(lab: Situation) -> Decision:
    """Return whether a lab stops because nothing uses it."""
    if lab.busy:
        return Decision(False, f"in use: {', '.join(lab.busy)}")
    # A use before the start was in an earlier run.
    since = max(lab.last_use or lab.started, lab.started)
    end, first = since + lab.idle_for, lab.started + lab.wait_for_user
    waits, stops = f"idle since {_shown(since)} only", f"idle since {_shown(since)}"
    if not lab.visited and end <= first:
        end = first
        waits = f"waits for its first user until {_shown(end)}"
        stops = f"no user came since its start at {_shown(lab.started)}"
    return Decision(False, waits, end) if lab.now < end else Decision(True, stops)


@dataclass(frozen=True)
class Step:
    """What to do now about a cause of a stop.

    Attributes:
        action: NOTHING, WARN users, WAIT until the warning has lasted, or STOP.
        reason: Why, as a phrase.
    """

    action: str
    reason: str


def step(cause: str, lab: Situation, warning: timedelta, warned: datetime | None) -> Step:
    """Return what to do now, so that each stop follows a warning of the full length.

    Args:
        cause: One of CAUSES.
        lab: The lab.
        warning: How long before the stop users are warned.
        warned: When they were; None if they were not, or if the stop was cancelled since.
    """
    now = decide(cause, lab)
    ahead = decide(cause, replace(lab, now=lab.now + warning))
    if not ahead.stops:
        return Step(NOTHING, now.reason)
    if warned is None:
        return Step(WARN, ahead.reason)
    return Step(STOP if now.stops and lab.now - warned >= warning else WAIT, ahead.reason)


def awake_problem(variable: str, value: datetime, now: datetime) -> Problem | None:
    """Return what is wrong with the end of `awake`, or None.

    Args:
        variable: The variable as the user knows it.
        value: Its value, with a time zone.
        now: The time.
    """
    reason = ""
    if value <= now:
        reason = "is over"
    elif value - now > LONGEST_AWAKE:
        reason = f"is more than {LONGEST_AWAKE.days} days away"
    if not reason:
        return None
    allowed = f"a time within {LONGEST_AWAKE.days} days"
    return Problem(
        variable,
        shown(_shown(value)),
        reason,
        allowed,
        "Choose an earlier time" if value > now else "Choose a later time",
    )


def _shown(moment: datetime) -> str:
    """Return a time for messages."""
    return moment.strftime("%Y-%m-%d %H:%M %Z").strip()
