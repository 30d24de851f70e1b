# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a lab stops now: the idle stop, its schedule and its lifetime know of one another. Pure functions.

`awake` holds all of them until a time, and then ends by itself. A budget of AWS Budgets acts by itself and is not held.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ...module_utils._problem import Problem, shown

IDLE, SCHEDULE, LIFETIME = "idle", "schedule", "lifetime"
CAUSES = (IDLE, SCHEDULE, LIFETIME)
# How long a lab that its schedule started waits for its user before it counts as idle.
WAIT_FOR_USER = timedelta(hours=4)
LONGEST_AWAKE = timedelta(days=7)


@dataclass(frozen=True)
class Situation:
    """A running lab.

    Attributes:
        now: The time.
        started: When it was started.
        started_by: "schedule", or anything else for a person.
        awake_until: Until when nothing stops it; None if no user asked for that.
        busy: What is in use now: "GPU", "SSH session", "viewer", "a run of the collection".
        last_use: When anything was in use last since the start; None if nothing was.
        idle_for: How long it must be idle.
        wait_for_user: How long a lab that its schedule started waits for its user.
    """

    now: datetime
    started: datetime
    started_by: str = ""
    awake_until: datetime | None = None
    busy: tuple[str, ...] = ()
    last_use: datetime | None = None
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
    if lab.last_use is None and lab.started_by == SCHEDULE:
        end = lab.started + max(lab.wait_for_user, lab.idle_for)
        waits = f"started by its schedule, waits for its user until {_shown(end)}"
        stops = f"not used since its schedule started it at {_shown(lab.started)}"
    else:
        since = max(lab.last_use or lab.started, lab.started)
        end = since + lab.idle_for
        waits, stops = f"idle since {_shown(since)} only", f"idle since {_shown(since)}"
    return Decision(False, waits, end) if lab.now < end else Decision(True, stops)


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
