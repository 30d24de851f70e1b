# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warn users, and stop the host cleanly: the user's hook, the stack, a record, and the power.

The idle stop, the lifetime and the notice of an interruption go through this code, and only one of them at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .._lab.last_action import ACTION_TAG, ERROR_TAG, STOP, Action, Error, write_time
from .aws import AwsUnavailableError, publish, set_tags
from .programs import ProgramError, run
from .settings import GuardSettings
from .state import AWAKE_FILE, STOP_FILE, present, write_document

LOG = logging.getLogger("instance-guard")
WALL_SECONDS = 10
POWER_SECONDS = 60
# The unit's stop has at least this long, however long the hook takes.
LEAST_STACK_SECONDS = 20.0
LOCK_FILE = "stop.lock"


class StopFailedError(Exception):
    """The host could not be powered off."""


class StopInProgressError(StopFailedError):
    """Another process stops the host."""


class Stopper:
    """Warn users and stop the host.

    Args:
        settings: of the guard.
        end: ends a hook early, when systemd stops the guard.
        alive: is called before each part of a stop.
    """

    def __init__(self, settings: GuardSettings, end: threading.Event, alive: Callable[[], None]) -> None:
        self._settings = settings
        self._end = end
        self._alive = alive
        self._folder = Path(settings.folder)

    def tell(self, text: str) -> None:
        """Tell users: in the journal, on their terminals, and by the topics."""
        LOG.warning("%s", text)
        name = socket.gethostname()
        self._attempt("wall", lambda: run(["wall"], WALL_SECONDS, threading.Event(), f"{name}: {text}\n"))
        for topic in self._settings.topics:
            self._attempt("SNS", partial(publish, topic, f"Robotics lab: {name}", f"{name}: {text}"))

    def warn(self, reason: str) -> None:
        """Tell users that the host stops soon, and how to keep it running."""
        minutes = self._settings.warning_minutes
        keep = f"date -u -d '+2 hours' +%FT%TZ | sudo tee {self._folder / AWAKE_FILE}"
        self.tell(f"This host stops in {minutes:g} minutes: {reason}. To keep it running for two hours: {keep}")

    def power_off(self, cause: str, reason: str) -> None:
        """Run the hook, stop the stack, leave the record, and power the host off.

        Args:
            cause: one of CAUSES of the tags.
            reason: why, as a phrase.

        Raises:
            StopInProgressError: another process stops it.
            StopFailedError: it was not powered off.
        """
        with self._alone() as alone:
            if not alone:
                raise StopInProgressError("another stop of this host is in progress")
            seconds = self._settings.hook_seconds + self._settings.stack_seconds
            self._leave(cause, reason, seconds)
            if self._end.is_set():
                raise StopFailedError("the guard was ended during the stop")
            try:
                run(["systemctl", "poweroff"], POWER_SECONDS, threading.Event())
            except ProgramError as error:
                sentence = f"The host could not be powered off: {error}"
                self._tag({ERROR_TAG: str(Error("stop", present(), sentence))})
                raise StopFailedError(sentence) from None

    def leave(self, cause: str, reason: str, seconds: float) -> None:
        """Do the same within a time, and leave the power to AWS, which restarts only what it has stopped itself."""
        with self._alone() as alone:
            if not alone:
                LOG.warning("another stop of this host is in progress")
                return
            self._leave(cause, reason, seconds)

    def _leave(self, cause: str, reason: str, seconds: float) -> None:
        """Run the hook and stop the stack within a time, and record what was done before, between and after."""
        deadline = time.monotonic() + seconds
        now = present()
        record = {"cause": cause, "time": write_time(now), "reason": reason, "hook": "", "stack": "", "complete": False}
        self._write(record)
        LOG.warning("stopping: %s", reason)
        limit = min(self._settings.hook_seconds, seconds - LEAST_STACK_SECONDS)
        record["hook"] = self._part("hook", self._settings.hook, limit)
        self._write(record)
        unit = self._settings.stack_unit
        left = max(deadline - time.monotonic(), LEAST_STACK_SECONDS)
        record["stack"] = self._part("stack", ["systemctl", "stop", unit] if unit else [], left)
        record["complete"] = not self._end.is_set()
        self._write(record)
        failed = [f"The {part}: {record[part]}." for part in ("hook", "stack") if record[part] not in ("none", "done")]
        errors = {ERROR_TAG: str(Error("stop", now, " ".join(failed)))} if failed else {}
        self._tag({ACTION_TAG: str(Action(STOP, cause, now)), **errors})

    def _part(self, name: str, command: list[str], seconds: float) -> str:
        """Run a part of a stop, which goes on when it fails; return how it ended."""
        if not command or self._end.is_set():
            return "none"
        self._alive()
        try:
            run(command, seconds, self._end)
        except ProgramError as error:
            LOG.error("the %s: %s", name, error)
            return f"failed: {error}"
        return "done"

    def _tag(self, tags: dict[str, str]) -> None:
        """Set tags of the instance, if its role may."""
        if self._settings.record_tags:
            self._attempt("tags", partial(set_tags, tags))

    def _write(self, record: dict[str, Any]) -> None:
        """Write the record of the stop."""
        try:
            write_document(self._folder / STOP_FILE, record)
        except OSError as error:
            LOG.error("the record of the stop cannot be written: %s", error)

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        """Do what may fail without consequences."""
        self._alive()
        try:
            action()
        except (ProgramError, AwsUnavailableError) as error:
            LOG.warning("%s: %s", name, error)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Return whether no other process stops this host."""
        descriptor = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)
