"""Fires the schedules of EventBridge Scheduler on the sandbox's clock, and carries out their universal targets.

A call that fails for a reason of AWS's own (a status from 500 on, or throttling) is tried again until the age or the
number of attempts of the retry policy is reached; any other failure is final. Results are recorded, and counted in
AWS/Scheduler.

Sources. Read on 2026-11-30: botocore 1.44.5 (RetryPolicy: exponential backoff until its age or attempts) and public
code that uses the metrics. Inferred: which failures are final, the first and the longest delay, and that the call of a
flexible window comes at its beginning.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sandbox.cloud import schedules
from sandbox.cloud.expressions import At, Rate, parse, zone_of
from sandbox.errors import SandboxError

KEPT = 1000
MOST_EVENTS = 20000  # of one move of the clock
FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(minutes=15)


@dataclass(frozen=True)
class Failure:
    """Why a call failed.

    :param again: whether it is worth another attempt.
    """

    code: str
    message: str
    again: bool


# Region, service, action in AWS's own spelling, parameters, and the schedule's ARN.
Invoke = Callable[[str, str, str, dict[str, Any], str], Failure | None]


@dataclass
class Invocation:
    """One call that a schedule was due to make.

    :param next: when the next attempt is due; None when it is over.
    """

    schedule: str
    group: str
    arn: str
    region: str
    target: dict[str, Any]
    due: datetime
    next: datetime | None
    outcome: str = "pending"
    attempts: list[dict[str, str]] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Return it for the command line."""
        return {
            "schedule": self.schedule,
            "group": self.group,
            "target": self.target["Arn"],
            "input": self.target.get("Input", ""),
            "due": self.due.isoformat(),
            "outcome": self.outcome,
            "attempts": self.attempts,
        }


class Runner:
    """Fires schedules; its caller holds a lock."""

    def __init__(self, invoke: Invoke, count: Callable[[str, str, str], None]) -> None:
        """Begin without history.

        :param invoke: makes one call.
        :param count: adds one to a metric of AWS/Scheduler: region, metric, group.
        """
        self._invoke = invoke
        self._count = count
        self.history: deque[Invocation] = deque(maxlen=KEPT)

    def advance(self, moment: datetime) -> int:
        """Fire everything that is due until a moment, in order; return the number of calls.

        A clock that stands is moved to each of them, and then to the moment.

        :raises SandboxError: there are too many.
        """
        clock, stands = schedules.CLOCK, schedules.CLOCK.stands
        for number in range(MOST_EVENTS):
            found = self._next(moment)
            if found is None:
                if stands:
                    clock.set(moment)
                return number
            due, act = found
            if stands:
                clock.set(max(due, clock.now()))
            act()
        raise SandboxError(
            f"More than {MOST_EVENTS} calls are due until {moment.isoformat()}. Move the clock in steps."
        )

    def jump(self, moment: datetime | None) -> None:
        """Set the clock without firing anything: schedules count from there, and retries are forgotten."""
        schedules.CLOCK.set(moment)
        for _region, _backend, schedule in schedules.all_schedules():
            schedules.begin(schedule)
        for invocation in self.history:
            if invocation.next:
                invocation.next, invocation.outcome = None, "forgotten: the clock was set back"

    def report(self) -> dict[str, Any]:
        """Return the time, the schedules and their calls, for the command line."""
        now = schedules.CLOCK.now()
        rows = []
        for region, _backend, schedule in schedules.all_schedules():
            due = following(schedule, cursor(schedule))
            rows.append(
                {
                    "schedule": schedule.name,
                    "group": schedule.group_name,
                    "region": region,
                    "state": schedule.state,
                    "expression": schedule.schedule_expression,
                    "zone": schedule.schedule_expression_timezone,
                    "next": due.isoformat() if due else "",
                }
            )
        clock = {"time": now.isoformat(), "stands": schedules.CLOCK.stands}
        return {"clock": clock, "schedules": rows, "calls": [invocation.report() for invocation in self.history]}

    def _next(self, moment: datetime) -> tuple[datetime, Callable[[], None]] | None:
        """Return what comes first until a moment, and how to do it."""
        first: tuple[datetime, Callable[[], None]] | None = None
        for invocation in self.history:
            due = invocation.next
            if due and due <= moment and (first is None or due < first[0]):
                first = due, partial(self._attempt, invocation)
        for region, backend, schedule in schedules.all_schedules():
            due = following(schedule, cursor(schedule))
            if due and due <= moment and (first is None or due < first[0]):
                first = due, partial(self._fire, region, backend, schedule, due)
        return first

    def _fire(self, region: str, backend: Any, schedule: Any, due: datetime) -> None:
        """Make the call of a schedule."""
        schedule.cursor = due
        invocation = Invocation(
            schedule.name, schedule.group_name, schedule.arn, region, json.loads(json.dumps(schedule.target)), due, due
        )
        self.history.append(invocation)
        if following(schedule, due) is None and schedule.action_after_completion == "DELETE":
            backend.delete_schedule(schedule.group_name, schedule.name)
        self._attempt(invocation)

    def _attempt(self, invocation: Invocation) -> None:
        """Make one attempt at a call, and plan the next one."""
        at = invocation.next or invocation.due
        self._count(invocation.region, "InvocationAttemptCount", invocation.group)
        failure = self._call(invocation)
        row = {"time": at.isoformat()}
        invocation.attempts.append(row)
        if failure is None:
            invocation.next, invocation.outcome = None, "delivered"
            return
        row |= {"error": failure.code, "message": failure.message}
        self._count(invocation.region, "TargetErrorCount", invocation.group)
        policy = invocation.target["RetryPolicy"]
        delay = min(FIRST_DELAY * 2 ** min(len(invocation.attempts) - 1, 10), LONGEST_DELAY)
        then = at + delay
        too_old = then > invocation.due + timedelta(seconds=policy["MaximumEventAgeInSeconds"])
        if not failure.again or too_old or len(invocation.attempts) > policy["MaximumRetryAttempts"]:
            invocation.next, invocation.outcome = None, "dropped"
            self._count(invocation.region, "InvocationDroppedCount", invocation.group)
        else:
            invocation.next = then

    def _call(self, invocation: Invocation) -> Failure | None:
        match = schedules.UNIVERSAL.fullmatch(invocation.target["Arn"])
        if match is None:
            return Failure("Unsupported", "The sandbox carries out universal targets only.", again=False)
        action = match["action"][0].upper() + match["action"][1:]
        parameters = json.loads(invocation.target.get("Input") or "{}")
        return self._invoke(invocation.region, match["service"], action, parameters, invocation.arn)


def cursor(schedule: Any) -> datetime:
    """Return the moment until which a schedule has fired; a rate fires at its own beginning."""
    if schedule.cursor is None:
        rate = isinstance(parse(schedule.schedule_expression), Rate)
        schedule.cursor = schedule.since - timedelta(microseconds=1) if rate else schedule.since
    moment: datetime = schedule.cursor
    return moment


def following(schedule: Any, moment: datetime) -> datetime | None:
    """Return when a schedule fires next after a moment; None when it does not."""
    if schedule.state != "ENABLED":
        return None
    expression = parse(schedule.schedule_expression)
    start, end = schedules.as_moment(schedule.start_date), schedules.as_moment(schedule.end_date)
    zone = zone_of(schedule.schedule_expression_timezone)
    if isinstance(expression, At):
        return expression.after(moment, zone, moment)
    due = expression.after(moment, zone, start or schedule.since)
    return None if due and end and due > end else due
