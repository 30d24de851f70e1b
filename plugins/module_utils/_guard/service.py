# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a host: it watches notices of AWS, and stops a host that is not used.

One thread looks for activity; the other reads notices and decides. So a driver that hangs never delays the answer to a
notice, and counts as a use.

Run as ``python -m ..._guard.service SETTINGS``, where the file holds the fields of ``GuardSettings`` in JSON. The exit
status is that of sysexits.h: 0 after SIGTERM, 70 after a stop that failed, 75 when another process should try, 78 when
the settings are invalid.
"""

from __future__ import annotations

import signal
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .._gpu_publisher.systemd import Notifier, log_to_journal
from .._lab.last_action import IDLE, SPOT, write_time
from .activity import Activity, Uses
from .decide import NOTHING, STOP, WARN, Situation, step
from .notices import Notice, NoticesUnreadableError, Watcher
from .settings import GuardSettings, GuardSettingsError, read_settings
from .state import (
    STATUS_FILE,
    AwakeUnreadableError,
    boot_of,
    present,
    read_awake,
    read_document,
    started_at,
    uptime,
    when,
    write_document,
)
from .stop import LOG, StopFailedError, StopInProgressError, Stopper

EX_OK, EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG = 0, 70, 75, 78
# Without a look for activity for so long, another process should try.
RENEW_SECONDS = 300.0
# Looks that may be missed before that holds a stop.
MISSED_LOOKS = 4
FIRST_LOOK_SECONDS = 10.0
WRITE_SECONDS = 60.0
# Of the two minutes of a notice; the rest is for what AWS does itself.
NOTICE_SECONDS = 110.0
LEAST_NOTICE_SECONDS = 40.0
# After a notice, AWS stops the host within two minutes.
LEAVE_SECONDS = 900.0
MOST_NOTICES = 20


def time_to_leave(notice: Notice, now: datetime) -> float:
    """Return the seconds until an interruption; the clock may be wrong."""
    left = (notice.time - now).total_seconds() if notice.time else NOTICE_SECONDS
    return min(max(left, LEAST_NOTICE_SECONDS), NOTICE_SECONDS)


class Looker(threading.Thread):
    """Look for activity in a thread of its own."""

    def __init__(self, settings: GuardSettings, end: threading.Event) -> None:
        super().__init__(name="activity", daemon=True)
        self._seconds = settings.activity_seconds
        self._activity = Activity(settings)
        self._end = end
        self.looked = threading.Event()
        # When it looked last, and what it found.
        self.found = (uptime(), Uses(unreadable=("nothing was looked at yet",)))

    def run(self) -> None:
        """Look until the end."""
        while not self._end.is_set():
            self.found = (uptime(), self._activity.read())
            self.looked.set()
            self._end.wait(self._seconds)

    def uses(self) -> Uses:
        """Return what is in use. A look that takes long holds a stop."""
        moment, found = self.found
        if uptime() - moment < MISSED_LOOKS * self._seconds:
            return found
        return Uses(unreadable=("NVML or a file system does not answer",))


class Guard:
    """Watch and decide until `end` is set."""

    def __init__(self, settings: GuardSettings, end: threading.Event) -> None:
        self._settings = settings
        self._end = end
        self._folder = Path(settings.folder)
        self._notifier = Notifier()
        self._watcher = Watcher()
        self._looker = Looker(settings, end)
        self._stopper = Stopper(settings, end, lambda: self._notifier.notify("WATCHDOG=1"))
        self._boot = boot_of(Path(settings.proc))
        self._started = started_at(Path(settings.proc))
        status = read_document(self._folder / STATUS_FILE)
        same = status.get("boot") == self._boot
        # In seconds since the boot; None before the first use.
        self._used: float | None = status.get("used_at") if same else None
        self._visited = bool(same and status.get("visited"))
        self._last_use: dict[str, Any] | None = status.get("last_use")
        self._notices: list[dict[str, str]] = status.get("notices") or []
        self._warned: float | None = None
        self._reason = ""
        self._busy: tuple[str, ...] = ()
        self._unreadable: tuple[str, ...] = ()
        # When an interruption was announced. AWS restarts only an instance that it has stopped itself.
        self._left: float | None = None
        self._trouble = ""
        self._awake_trouble = ""
        self._written = -WRITE_SECONDS
        self._written_faults: tuple[str, ...] = ()
        self._unwritten = False

    def run(self) -> int:
        """Watch until the end; return the exit status."""
        settings = self._settings
        stops = f"stopping it after {settings.idle_minutes:g} idle minutes" if settings.idle_stop else "no idle stop"
        LOG.info("watching this host; %s", stops)
        self._looker.start()
        self._looker.looked.wait(FIRST_LOOK_SECONDS)
        self._notifier.notify("READY=1")
        while not self._end.is_set() and uptime() - self._looker.found[0] < RENEW_SECONDS:
            try:
                self._watch()
                self._decide()
            except StopFailedError as error:
                LOG.error("%s", error)
                return EX_OK if self._end.is_set() else EX_SOFTWARE
            self._report()
            self._end.wait(settings.poll_seconds)
        self._notifier.notify("STOPPING=1")
        self._write()
        if self._end.is_set():
            return EX_OK
        LOG.error("another process should try, as nothing was looked at for %g s", RENEW_SECONDS)
        return EX_TEMPFAIL

    def _watch(self) -> None:
        """Read the notices of AWS, and act on those that are new."""
        try:
            notices = self._watcher.read()
        except NoticesUnreadableError as error:
            if not self._trouble:
                LOG.warning("%s", error)
            self._trouble = str(error)
            return
        if self._trouble:
            LOG.info("the metadata service reports notices again")
        self._trouble = ""
        known = {notice.get("key") for notice in self._notices}
        for notice in notices:
            if notice.key not in known:
                self._answer(notice)

    def _answer(self, notice: Notice) -> None:
        """Record a notice, leave if it is an interruption, and tell users."""
        entry = {"key": notice.key, "time": write_time(present()), "text": notice.text}
        self._notices = [*self._notices, entry][-MOST_NOTICES:]
        # Before the hook, which must not run again after a restart.
        self._write()
        if notice.leaves:
            self._left = uptime()
            self._stopper.leave(SPOT, notice.text, time_to_leave(notice, present()))
        self._stopper.tell(notice.text)

    def _situation(self) -> Situation:
        """Return what the decision needs. Durations come from the kernel's clock, which is never set."""
        settings = self._settings
        now = when(uptime())
        uses = self._looker.uses()
        unreadable = uses.unreadable
        try:
            awake = read_awake(self._folder, now)
            trouble = ""
        except AwakeUnreadableError as error:
            awake, trouble = None, str(error)
            unreadable = (*unreadable, trouble)
        if trouble and trouble != self._awake_trouble:
            LOG.warning("%s", trouble)
        self._awake_trouble = trouble
        if used := uses.users + uses.work:
            self._used = uptime()
            self._last_use = {"time": write_time(now), "what": list(used)}
        self._visited = self._visited or bool(uses.users)
        self._unreadable = unreadable
        self._busy = used + unreadable
        return Situation(
            now=now,
            started=when(self._started),
            awake_until=awake,
            busy=self._busy,
            last_use=None if self._used is None else when(self._used),
            visited=self._visited,
            idle_for=timedelta(minutes=settings.idle_minutes),
            wait_for_user=timedelta(minutes=settings.wait_for_user_minutes),
        )

    def _decide(self) -> None:
        """Warn, cancel or stop.

        Raises:
            StopFailedError: the host was not powered off.
        """
        lab = self._situation()
        warned = None if self._warned is None else when(self._warned)
        found = step(IDLE, lab, self._settings.warning, warned)
        self._reason = found.reason
        if not self._settings.idle_stop or (self._left is not None and uptime() - self._left < LEAVE_SECONDS):
            return
        if found.action == NOTHING:
            if self._warned is not None:
                LOG.info("the stop is cancelled: %s", found.reason)
            self._warned = None
        elif found.action == WARN:
            self._warned = uptime()
            self._stopper.warn(found.reason)
        elif found.action == STOP:
            self._write()
            try:
                self._stopper.power_off(IDLE, found.reason)
            except StopInProgressError as error:
                LOG.info("%s", error)
                return
            # systemd ends this process.
            if not self._end.wait(RENEW_SECONDS):
                raise StopFailedError("systemd accepted to power this host off, and did not")

    def _report(self) -> None:
        """Report to systemd, and from time to time to the file."""
        faults = (*self._unreadable, self._trouble)
        if uptime() - self._written > WRITE_SECONDS or faults != self._written_faults:
            self._written_faults = faults
            self._write()
        notices = self._trouble or "the metadata service answers"
        self._notifier.notify("WATCHDOG=1", f"STATUS={self._reason}; {notices}")

    def _write(self) -> None:
        """Write what later processes, and the user, need to know."""
        self._written = uptime()
        document = {
            "boot": self._boot,
            "time": write_time(present()),
            "busy": list(self._busy),
            "decision": self._reason,
            "idle_stop": self._settings.idle_stop,
            "unreadable": list(self._unreadable),
            "used_at": self._used,
            "visited": self._visited,
            "last_use": self._last_use,
            "notices": self._notices,
            "trouble": self._trouble,
        }
        try:
            write_document(self._folder / STATUS_FILE, document)
        except OSError as error:
            if not self._unwritten:
                LOG.error("the status cannot be written: %s", error)
            self._unwritten = True
        else:
            self._unwritten = False


def main() -> int:
    """Run the guard, and return the exit status."""
    log_to_journal(LOG)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_ignored: end.set())
    try:
        settings = read_settings(Path(sys.argv[1]))
    except GuardSettingsError as error:
        LOG.error("%s", error)
        return EX_CONFIG
    return Guard(settings, end).run()


if __name__ == "__main__":
    raise SystemExit(main())
