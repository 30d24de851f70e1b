# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connects Redis, the follower and the navigator: commands in, goals out, receipts back."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from redis.exceptions import RedisError

from .commands import SPEEDS, Command, MalformedError, parse
from .config import Settings
from .follower import Cancel, Effect, End, Follower, GiveUp, Job, Start
from .inbox import Delivery, Inbox, Receipt
from .places import Pose

LOG = logging.getLogger("bridge")


class Navigator(Protocol):
    """Drives the robot. It calls the bridge's methods with the same ticket, from any thread."""

    def ready(self) -> bool:
        """Return whether goals are accepted."""

    def go(self, ticket: int, poses: Sequence[Pose], speed: float) -> None:
        """Drive to a pose, or to several one after the other; answered by accepted() and ended().

        :param speed: percent of the maximum.
        """

    def cancel(self, ticket: int) -> None:
        """Cancel every goal; answered by halted(), at once if the navigator is not running."""

    def give_up(self) -> None:
        """End the navigator, and this process with it: it does not cancel a goal."""


class Bridge:
    """Connects Redis and the navigator."""

    def __init__(self, inbox: Inbox, navigator: Navigator, places: Mapping[str, Pose], settings: Settings) -> None:
        """Connect the parts."""
        self._inbox = inbox
        self._navigator = navigator
        self._places = places
        self._settings = settings
        self._start = Pose(*settings.initial_pose) if settings.initial_pose else None
        self._follower = Follower(settings.limits)
        self._reports: queue.SimpleQueue[tuple[str, int, str, str]] = queue.SimpleQueue()
        self._unsettled: list[Receipt] = []
        self._linked = False

    def accepted(self, ticket: int) -> None:
        """Record that a goal was accepted."""
        self._reports.put(("accepted", ticket, "", ""))

    def ended(self, ticket: int, outcome: str, reason: str = "") -> None:
        """Record how a goal ended: done, failed or cancelled."""
        self._reports.put(("ended", ticket, outcome, reason))

    def halted(self, ticket: int) -> None:
        """Record that a cancellation was answered."""
        self._reports.put(("halted", ticket, "", ""))

    def run(self, end: threading.Event) -> None:
        """Run until the event is set."""
        while not end.is_set():
            if not self.turn():
                end.wait(self._settings.wait / 1000)

    def turn(self) -> bool:
        """Do one iteration, and return whether Redis answered."""
        jobs = self._jobs()
        now = time.monotonic()
        effects = [*self._navigator_effects(now), *self._follower.take(jobs, now)]
        nav = self._navigator.ready()
        effects += self._follower.step(now, nav=nav, link=self._linked)
        for effect in effects:
            self._carry_out(effect)
        self._settle()
        if self._linked and (nav or not self._settings.expects_robot):
            self._settings.health_file.touch()
        return self._linked

    def _jobs(self) -> list[Job]:
        """Return the commands that have arrived."""
        try:
            jobs = [job for delivery in self._inbox.read() for job in self._job(delivery)]
        except (RedisError, OSError) as error:
            self._failed(error)
            return []
        if not self._linked:
            LOG.info("linked")
            self._linked = True
        return jobs

    def _failed(self, error: Exception) -> None:
        if self._linked:
            # The client's own texts may quote the message.
            LOG.warning("redis_away", extra={"fields": {"reason": type(error).__name__}})
        self._linked = False
        self._inbox.lost()

    def _job(self, delivery: Delivery) -> list[Job]:
        """Return the command of a message if it is valid and new."""
        if delivery.entry and self._in_hand(delivery.entry):
            return []
        try:
            command = parse(delivery.message, self._places, self._start)
        except MalformedError as error:
            self._end(Command("", "unknown"), delivery.entry, "malformed", str(error))
            return []
        if not delivery.entry and command.id and command.action != "stop":
            # It also arrives by the stream, which loses nothing.
            return []
        if command.id and command.moves and self._is_finished(command.id):
            self._end(command, delivery.entry, "duplicate")
            return []
        return [Job(command, delivery.entry, time.monotonic() - delivery.age)]

    def _in_hand(self, entry: str) -> bool:
        return self._follower.holds(entry) or any(receipt.entry == entry for receipt in self._unsettled)

    def _is_finished(self, identifier: str) -> bool:
        return any(receipt.id == identifier for receipt in self._unsettled) or self._inbox.finished(identifier)

    def _navigator_effects(self, now: float) -> list[Effect]:
        """Apply the navigator's reports."""
        effects: list[Effect] = []
        while not self._reports.empty():
            kind, ticket, outcome, reason = self._reports.get()
            if kind == "accepted":
                self._follower.accepted(ticket, now)
            elif kind == "halted":
                self._follower.halted(ticket)
            else:
                effects += self._follower.ended(ticket, outcome, reason)
        return effects

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Start):
            command = effect.job.command
            self._report(command, effect.job.entry, "started")
            self._navigator.go(effect.ticket, command.poses, SPEEDS[command.speed])
        elif isinstance(effect, Cancel):
            self._navigator.cancel(effect.ticket)
        elif isinstance(effect, GiveUp):
            self._navigator.give_up()
        elif isinstance(effect, End):
            self._end(effect.job.command, effect.job.entry, effect.outcome, effect.reason)

    def _report(self, command: Command, entry: str, outcome: str, reason: str = "") -> dict[str, object]:
        """Log the outcome of a command, and return the event."""
        event: dict[str, object] = {
            "id": command.id,
            "action": command.action,
            "target": command.target or None,
            "outcome": outcome,
            **({"reason": reason} if reason else {}),
            **({"robot": self._follower.state} if command.action == "status" else {}),
        }
        level = logging.WARNING if outcome in ("malformed", "failed", "refused", "expired") else logging.INFO
        LOG.log(level, "command", extra={"fields": {**event, "entry": entry}})
        return event

    def _end(self, command: Command, entry: str, outcome: str, reason: str = "") -> None:
        # The end of a duplicate is not the end of the command: the other one may still be waiting.
        identifier = "" if outcome == "duplicate" else command.id
        self._unsettled.append(Receipt(entry, identifier, self._report(command, entry, outcome, reason)))

    def _settle(self) -> None:
        """Store the receipts as soon as Redis answers."""
        if not self._unsettled or not self._linked:
            return
        try:
            self._inbox.settle(self._unsettled)
        except (RedisError, OSError) as error:
            self._failed(error)
        else:
            self._unsettled.clear()
