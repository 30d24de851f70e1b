# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service that publishes a host's GPU metrics: it samples every few seconds and sends every minute.

One thread samples and appends to the spool; another sends, and waits longer after each failure. So a slow or
unreachable CloudWatch never delays a sample.

Run as ``python -m ..._gpu_publisher.service SETTINGS``, where the file holds the fields of ``PublisherSettings`` in
JSON. The exit status is that of sysexits.h: 0 after SIGTERM, 70 after an internal error, 75 when another process should
try, 78 when the settings are invalid.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from .sampler import Sample, Sampler
from .sender import LOG, Sender
from .settings import PublisherSettings, PublisherSettingsError, read_settings
from .spool import Spool
from .systemd import Notifier, log_to_journal

EX_OK, EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG = 0, 70, 75, 78
CLOCK_JUMP_SECONDS = 10.0
REPORT_SECONDS = 3600.0


class PublisherService:
    """Sample until `end` is called."""

    def __init__(self, settings: PublisherSettings) -> None:
        self._settings = settings
        self._spool = Spool(Path(settings.spool), settings.spool_bytes)
        self._sampler = Sampler(settings.metrics)
        self._sender = Sender(settings, self._spool)
        self._notifier = Notifier()
        self._end = threading.Event()
        self._problems: tuple[str, ...] = ()
        self._failed: Mapping[str, str] = {}
        self._disk_trouble = ""
        self._unhealthy_since: float | None = None
        self._reported = time.monotonic()

    def end(self) -> None:
        """Stop after the current sample."""
        self._end.set()

    def run(self) -> int:
        """Sample and send until the end; return the exit status."""
        settings = self._settings
        LOG.info(
            "sampling every %g s, sending every %g s: %s",
            settings.sample_interval,
            settings.flush_interval,
            ", ".join(settings.metrics),
        )
        if waiting := self._spool.waiting():
            LOG.info("%d segments of an earlier run wait in %s", len(waiting), settings.spool)
        self._sender.start()
        window: int | None = None
        clock = time.time() - time.monotonic()
        due = time.monotonic()
        while not self._end.is_set() and self._sender.is_alive() and not self._is_stale():
            sample = self._sampler.sample()
            clock = self._watch_clock(clock)
            now_in = int(sample.time // settings.flush_interval)
            if window is not None and now_in != window:
                self._flush()
            self._spool.append(sample, self._sender.instance_id)
            if window is None:
                # Send at once, including what an earlier run has left.
                self._flush()
                self._notifier.notify("READY=1")
            window = now_in
            self._report(sample)
            due = max(due + settings.sample_interval, time.monotonic())
            self._end.wait(due - time.monotonic())
        self._notifier.notify("STOPPING=1")
        self._spool.close()
        self._sender.finish()
        self._sampler.close()
        LOG.info("ended; %d segments wait", len(self._spool.waiting()))
        if self._sender.settings_error:
            LOG.error("%s", self._sender.settings_error)
            return EX_CONFIG
        if self._end.is_set():
            return EX_OK
        if self._is_stale():
            LOG.info("another process should try, as NVML has been out of reach for %g s", settings.renew_interval)
            return EX_TEMPFAIL
        return EX_SOFTWARE

    def _is_stale(self) -> bool:
        """Return whether NVML has been unusable for so long that another process should try."""
        since = self._unhealthy_since
        return since is not None and time.monotonic() - since > self._settings.renew_interval

    def _flush(self) -> None:
        self._spool.close()
        self._sender.wake()

    def _watch_clock(self, before: float) -> float:
        """Log when the clock was set, as samples carry its time; return its offset from the monotonic clock."""
        now = time.time() - time.monotonic()
        if abs(now - before) > CLOCK_JUMP_SECONDS:
            LOG.warning("the clock was set by %+.0f s", now - before)
            return now
        return before if abs(now - before) < 1 else now

    def _report(self, sample: Sample) -> None:
        """Report changes to systemd and the journal."""
        for problem in set(sample.problems) - set(self._problems):
            LOG.warning("%s", problem)
        if self._problems and not sample.problems:
            LOG.info("all %d GPUs answer", len(sample.gpus))
        self._problems = sample.problems
        for reading in sample.failed.keys() - self._failed.keys():
            LOG.warning("%s cannot be read: %s", reading, sample.failed[reading])
        for reading in self._failed.keys() - sample.failed.keys():
            if not sample.problems:
                LOG.info("%s can be read again", reading)
        self._failed = sample.failed
        # One missing GPU does not restart the process.
        if sample.gpus:
            self._unhealthy_since = None
        elif self._unhealthy_since is None:
            self._unhealthy_since = time.monotonic()
        if self._spool.trouble != self._disk_trouble:
            self._disk_trouble = self._spool.trouble
            if self._disk_trouble:
                LOG.warning("samples are kept in memory: %s", self._disk_trouble)
            else:
                LOG.info("samples are kept on disk again")
        totals = self._totals()
        state = self._sender.trouble or "publishing"
        unread = f"; cannot be read: {', '.join(sample.failed)}" if sample.failed else ""
        self._notifier.notify("WATCHDOG=1", f"STATUS={len(sample.gpus)} GPUs, {state}; {totals}{unread}")
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            LOG.info("%d GPUs, %s; %s", len(sample.gpus), state, totals)

    def _totals(self) -> str:
        """Return the counts since the start as key=value pairs."""
        counts = {
            **dataclasses.asdict(self._sender.statistics),
            **dataclasses.asdict(self._spool.counts),
            "waiting": len(self._spool.waiting()),
        }
        return " ".join(f"{name}={count}" for name, count in counts.items())


def main() -> int:
    """Run the service, and return the exit status."""
    log_to_journal(LOG)
    try:
        settings = read_settings(Path(sys.argv[1]))
    except PublisherSettingsError as error:
        LOG.error("%s", error)
        return EX_CONFIG
    service = PublisherService(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_ignored: service.end())
    return service.run()


if __name__ == "__main__":
    raise SystemExit(main())
