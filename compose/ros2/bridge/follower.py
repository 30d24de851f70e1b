# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what the robot does next. No network, no clock, no thread: the caller passes the time.

Commands are followed one at a time, in the order in which they were given. A stop ends the present command and all
waiting ones, and nothing starts before Nav2 has confirmed it. A goal whose end is unknown is cancelled in the same way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from .commands import Command


@dataclass(frozen=True)
class Limits:
    """Limits; times in seconds.

    Attributes:
        age: the maximum age of a command when it is started.
        goal: the time limit for reaching a goal, for each place of a command.
        patience: how long the robot continues while Nav2 or Redis is unreachable, or a cancellation has no effect.
        again: the interval at which an unconfirmed cancellation is repeated.
        waiting: how many commands may wait.
    """

    age: float = 300.0
    goal: float = 600.0
    patience: float = 10.0
    again: float = 1.0
    waiting: int = 16


@dataclass(frozen=True)
class Job:
    """A command and its source.

    Attributes:
        entry: its entry in the stream; empty for a message of the channel.
        given: when it was given, on the caller's clock.
    """

    command: Command
    entry: str
    given: float


@dataclass(frozen=True)
class Start:
    """Start a goal."""

    job: Job
    ticket: int


@dataclass(frozen=True)
class Cancel:
    """Cancel all of Nav2's goals, including those of other clients."""

    ticket: int


@dataclass(frozen=True)
class End:
    """A command has ended.

    Attributes:
        outcome: ``done``, ``failed``, ``cancelled``, ``stopped``, ``expired``, ``refused`` or ``duplicate``.
    """

    job: Job
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class GiveUp:
    """Nav2 does not cancel a goal: only its end can stop the robot."""


Effect = Start | Cancel | End | GiveUp


class Follower:
    """The state of one robot."""

    def __init__(self, limits: Limits) -> None:
        """Start without commands."""
        self._limits = limits
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._started = 0.0
        self._stops: list[Job] = []
        # Why goals are being cancelled: "stop", "time", "link", or "lost" for one with an unknown end. Empty otherwise.
        self._why = ""
        self._why_since = 0.0
        # Whether the robot may follow a goal that is not the present one.
        self._lost = False
        self._cancel_at = 0.0
        self._ticket = 0
        self._cancel_ticket = 0
        # The first cancellation after the last stop or lost goal, and whether it or a later one was answered.
        self._needed = 0
        self._halted = False
        self._nav_seen = 0.0
        self._link_seen = 0.0
        self._stopped_ids: deque[str] = deque(maxlen=1000)

    @property
    def state(self) -> dict[str, object]:
        """What the robot is doing."""
        doing = "stopping" if self._why in ("stop", "lost") else "driving" if self._current else "idle"
        target = self._current.command.target if self._current else ""
        return {"state": doing, "target": target, "waiting": len(self._waiting)}

    def holds(self, entry: str) -> bool:
        """Return whether this entry of the stream is being handled."""
        jobs = (*self._waiting, *self._stops, *([self._current] if self._current else []))
        return any(job.entry == entry for job in jobs)

    def take(self, jobs: Iterable[Job], now: float) -> list[Effect]:
        """Accept commands, in the order in which they were given."""
        effects: list[Effect] = []
        for job in jobs:
            if job.command.action == "stop":
                effects += self._stop(job, now)
            elif job.command.id and self._knows(job.command.id):
                effects.append(End(job, "duplicate"))
            elif not job.command.moves:
                effects.append(End(job, "done"))
            elif len(self._waiting) >= self._limits.waiting:
                effects.append(End(job, "refused", f"{self._limits.waiting} commands are waiting already"))
            else:
                self._waiting.append(job)
        return effects

    def _knows(self, identifier: str) -> bool:
        jobs = (*self._waiting, *([self._current] if self._current else []))
        return any(job.command.id == identifier for job in jobs)

    def _stop(self, job: Job, now: float) -> list[Effect]:
        """Stop. A stop arrives by the channel and by the stream; commands given between the two must not start.

        So the one in the stream always counts, in its order, and the one on the channel only if it is first.
        """
        identifier = job.command.id
        if identifier and not job.entry and identifier in self._stopped_ids:
            return [End(job, "duplicate")]
        if identifier:
            self._stopped_ids.append(identifier)
        effects: list[Effect] = [End(waiting, "stopped") for waiting in self._waiting]
        self._waiting.clear()
        self._stops.append(job)
        self._halt("stop", now)
        return effects

    def _halt(self, why: str, now: float) -> None:
        """Cancel all goals until Nav2 has confirmed it."""
        self._because(why, now)
        self._needed = self._cancel_ticket + 1
        self._halted = False

    def _lose(self, now: float) -> None:
        """Handle a goal whose end is unknown."""
        self._halt("stop" if self._stops else "lost", now)
        self._lost, self._why_since = True, now

    def _because(self, why: str, now: float) -> None:
        """Begin to cancel."""
        if not self._why:
            self._why_since = now
        self._why, self._cancel_at = why, now

    def accepted(self, ticket: int, now: float) -> None:
        """Handle that Nav2 accepted a goal: an earlier cancellation has missed it."""
        if self._current is None or ticket != self._ticket:
            # It was given up before, and would drive the robot.
            self._lose(now)
        elif self._why:
            self._cancel_at = now

    def halted(self, ticket: int) -> None:
        """Handle that Nav2 has cancelled all goals that existed at the request."""
        self._halted = self._halted or ticket >= self._needed

    def ended(self, ticket: int, outcome: str, reason: str = "") -> list[Effect]:
        """Handle the end of a goal.

        :param outcome: ``done``, ``failed`` or ``cancelled``.
        """
        if ticket != self._ticket or self._current is None:
            return []
        job, self._current = self._current, None
        why, self._why = self._why, "stop" if self._stops else "lost" if self._lost else ""
        if outcome != "cancelled":
            return [End(job, outcome, reason)]
        if why == "link":
            self._waiting.appendleft(job)
            return []
        ends = {
            "stop": End(job, "stopped"),
            "time": End(job, "failed", f"did not arrive within {self._time_for(job):g} s"),
            "lost": End(job, "failed", "Nav2 accepted a former goal late, so all were cancelled"),
        }
        return [ends.get(why) or End(job, outcome, reason or "another client cancelled it")]

    def _time_for(self, job: Job) -> float:
        return self._limits.goal * len(job.command.poses)

    def step(self, now: float, *, nav: bool, link: bool) -> list[Effect]:
        """Return the effects that are due.

        :param nav: whether Nav2 accepts goals.
        :param link: whether Redis answers, through which a stop would arrive.
        """
        self._nav_seen = now if nav else self._nav_seen
        self._link_seen = now if link else self._link_seen
        return [*self._watch(now), *self._cancel(now), *self._confirm(), *self._begin(now, nav=nav, link=link)]

    def _watch(self, now: float) -> list[Effect]:
        """Check the present goal."""
        if self._current is None:
            return []
        if now - self._nav_seen >= self._limits.patience:
            # Perhaps Nav2 ended and the goal with it; perhaps only its answers are missing, and the robot drives on.
            job, self._current = self._current, None
            self._ticket += 1
            self._lose(now)
            if self._stops:
                return [End(job, "stopped")]
            return [End(job, "failed", f"Nav2 has accepted no goals for {self._limits.patience:g} s")]
        if not self._why and now - self._started >= self._time_for(self._current):
            self._because("time", now)
        elif not self._why and now - self._link_seen >= self._limits.patience:
            self._because("link", now)
        return []

    def _cancel(self, now: float) -> list[Effect]:
        if not self._why or now < self._cancel_at:
            return []
        if (self._current or self._lost) and now - self._why_since >= self._limits.patience:
            return [GiveUp()]
        self._cancel_at = now + self._limits.again
        self._cancel_ticket += 1
        return [Cancel(self._cancel_ticket)]

    def _confirm(self) -> list[Effect]:
        """End the stops once the robot has stopped."""
        if self._why not in ("stop", "lost") or self._current or not self._halted:
            return []
        stops, self._stops = self._stops, []
        self._why, self._lost = "", False
        return [End(job, "done") for job in stops]

    def _begin(self, now: float, *, nav: bool, link: bool) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting and now - self._waiting[0].given > self._limits.age:
            effects.append(End(self._waiting.popleft(), "expired", f"was given more than {self._limits.age:g} s ago"))
        if self._waiting and nav and link and not self._current and not self._why:
            self._current = self._waiting.popleft()
            self._started = now
            self._ticket += 1
            effects.append(Start(self._current, self._ticket))
        return effects
