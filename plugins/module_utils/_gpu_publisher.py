# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service that publishes a host's GPU metrics: samples every few seconds, sends every minute, as long as it runs.

One thread samples and appends to the spool; another sends what the spool holds and waits longer after each failure. So
a CloudWatch that is slow or gone never holds up a sample. Nothing of Ansible is imported here.

Run as ``python -m ..._gpu_publisher SETTINGS``, where the file holds the fields of :class:`Settings` in JSON. The exit
status is that of sysexits.h: 0 after SIGTERM, 70 after a defect of its own, 75 when another process should try, 78 when
the file is not what it should be.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._cloudwatch import (
    MAX_BYTES,
    MAX_DATUMS,
    CloudWatch,
    Datum,
    LaterError,
    RefusedError,
    datums_of,
    is_acceptable,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_metrics import (
    DEFAULT_METRICS,
    UNITS,
    Sample,
    Sampler,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._instance_identity import (
    Identity,
    IdentityUnknownError,
    read_identity,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._metric_spool import Segment, Spool

LOG = logging.getLogger("gpu-metrics")
EX_OK, EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG = 0, 70, 75, 78
CONNECT_SECONDS, READ_SECONDS = 5, 20
# How long SIGTERM leaves for the last request.
GOODBYE_SECONDS = 10.0
CLOCK_JUMP_SECONDS = 10.0
REPORT_SECONDS = 3600.0
# systemd's own, as in journald's sd-daemon(3)
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class SettingsError(Exception):
    """The settings are not what they should be."""


@dataclass(frozen=True)
class Settings:
    """What the service is told.

    Attributes:
        namespace: of all metrics.
        spool: folder of samples that CloudWatch does not have yet.
        region: empty for the one that the metadata service names.
        instance_id: value of the dimension InstanceId; empty for what the metadata service says.
        endpoint_url: of CloudWatch; empty for the region's own.
        dimensions: more of them, for every metric.
        metrics: names of ``UNITS``.
        sample_interval: seconds between samples.
        flush_interval: seconds that a request covers.
        high_resolution: whether CloudWatch keeps seconds apart, or else minutes.
        spool_bytes: bound for the folder.
        backoff: seconds before the second attempt; doubled with each failure.
        backoff_max: bound for that.
        renew_interval: seconds without NVML after which the process ends, since only another one sees a library that
            was replaced.
    """

    namespace: str
    spool: str
    region: str = ""
    instance_id: str = ""
    endpoint_url: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=lambda: list(DEFAULT_METRICS))
    sample_interval: float = 5
    flush_interval: float = 60
    high_resolution: bool = False
    spool_bytes: int = 64 * 2**20
    backoff: float = 2
    backoff_max: float = 300
    renew_interval: float = 300


def read_settings(path: Path) -> Settings:
    """Return what a file says.

    Raises:
        SettingsError: it cannot be read, or says something else.
    """
    advice = "do: apply the role gpu_metrics again"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        settings = Settings(**document)
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; {advice}") from None
    if unknown := set(settings.metrics) - UNITS.keys():
        raise SettingsError(f"{path}: metrics has {', '.join(sorted(unknown))}; allowed: {', '.join(UNITS)}; {advice}")
    return settings


class Notifier:
    """Tells systemd how the service is; does nothing where systemd did not start it."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def tell(self, *lines: str) -> None:
        """Send assignments of sd_notify(3)."""
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(self._address)
                channel.sendall("\n".join(lines).encode())


@dataclass
class Statistics:
    """What the sender did since the process started.

    Attributes:
        requests: that CloudWatch took.
        samples: in those.
        refused: samples that CloudWatch will never take.
        outdated: datums outside the time that CloudWatch takes.
    """

    requests: int = 0
    samples: int = 0
    refused: int = 0
    outdated: int = 0


@dataclass(frozen=True)
class Parcel:
    """What is sent in one request; in several only when a single segment is more than one may hold.

    Attributes:
        segments: which are forgotten when CloudWatch has it.
        samples: how many they have.
        outdated: datums of theirs that are left out, being outside the time that CloudWatch takes.
        datums: the others.
    """

    segments: tuple[Segment, ...]
    samples: int
    outdated: int
    datums: list[Datum]

    def __add__(self, other: Parcel) -> Parcel:
        """Return both in one."""
        return Parcel(
            self.segments + other.segments,
            self.samples + other.samples,
            self.outdated + other.outdated,
            self.datums + other.datums,
        )

    def has_room_for(self, other: Parcel) -> bool:
        """Say whether one request may hold both."""
        datums = self.datums + other.datums
        return len(datums) <= MAX_DATUMS and sum(datum.size for datum in datums) <= MAX_BYTES


class Sender(threading.Thread):
    """Sends what the spool holds as soon as there is something, and keeps trying."""

    def __init__(self, settings: Settings, spool: Spool) -> None:
        super().__init__(name="sender", daemon=True)
        self._settings = settings
        self._spool = spool
        self._cloudwatch = CloudWatch(settings.namespace, settings.region or "the instance's region", self._connect)
        self._work = threading.Event()
        self._ending = threading.Event()
        self._identity: Identity | None = None
        self._failures = 0
        self._failing_since = 0.0
        self.statistics = Statistics()
        self.trouble = ""

    @property
    def instance_id(self) -> str:
        """The value of the dimension InstanceId; empty while nobody knows."""
        return self._settings.instance_id or (self._identity.instance_id if self._identity else "")

    def wake(self) -> None:
        """Say that a segment was closed."""
        self._work.set()

    def finish(self) -> None:
        """Send what is there, once, and end; within 10 seconds."""
        self._ending.set()
        self._work.set()
        self.join(GOODBYE_SECONDS)

    def run(self) -> None:
        """Send, wait, send again, until told to end."""
        while not self._ending.is_set():
            self._work.wait()
            self._work.clear()
            if self._send_all() or self._ending.is_set():
                continue
            # The pause ends early only with the service.
            self._ending.wait(self._pause())
            self._work.set()
        if self._spool.waiting():
            self._send_all()

    def _pause(self) -> float:
        """Return how long to wait after so many failures; anywhere up to a bound, so that hosts do not march."""
        bound = min(self._settings.backoff_max, self._settings.backoff * 2 ** min(self._failures, 20))
        return random.SystemRandom().uniform(self._settings.backoff, bound)

    def _send_all(self) -> bool:
        """Send everything that waits; say whether CloudWatch took, or will never take, all of it."""
        try:
            self._identify()
            while parcel := self._next_parcel():
                self._send(parcel)
        except (IdentityUnknownError, LaterError) as error:
            self._failures += 1
            if not self._failing_since:
                self._failing_since = time.monotonic()
                LOG.warning("cannot publish: %s; samples are kept in %s until it works", error, self._settings.spool)
            self.trouble = str(error)
            return False
        tidy(keep=self.statistics.requests == 1)
        if self._failing_since:
            LOG.info("publishing again after %.0f s", time.monotonic() - self._failing_since)
        self._failures, self._failing_since, self.trouble = 0, 0.0, ""
        return True

    def _identify(self) -> None:
        """Ask who this is, unless the settings or an earlier answer say all of it."""
        if self._identity is None and not (self._settings.instance_id and self._settings.region):
            self._identity = read_identity()
            LOG.info("this is %s in %s", self._identity.instance_id, self._identity.region)

    def _connect(self) -> Any:
        """Return a client of CloudWatch that reads credentials as every AWS tool does, and tries each request once."""
        # Half of what the process needs, in memory and at its start; a host whose CloudWatch is gone does without.
        # Of the client before.
        tidy()
        session: Any = importlib.import_module("botocore.session").Session()
        config: Any = importlib.import_module("botocore.config").Config
        region = self._settings.region or (self._identity.region if self._identity else "")
        return session.create_client(
            "cloudwatch",
            region_name=region,
            endpoint_url=self._settings.endpoint_url or None,
            config=config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": 1},
                # Below 10 KB botocore does not compress by itself.
                request_min_compression_size_bytes=1,
            ),
        )

    def _next_parcel(self) -> Parcel | None:
        """Return the newest of what waits, as much as one request may hold; None when nothing waits."""
        parcel: Parcel | None = None
        for segment in self._spool.waiting():
            more = self._unpack(segment)
            if parcel is not None and not parcel.has_room_for(more):
                break
            parcel = parcel + more if parcel is not None else more
        return parcel

    def _unpack(self, segment: Segment) -> Parcel:
        """Return what of a segment is still to be sent."""
        samples = self._spool.read(segment)
        dimensions = {"InstanceId": segment.instance_id or self.instance_id, **self._settings.dimensions}
        datums = datums_of(samples, self._settings.metrics, dimensions, high_resolution=self._settings.high_resolution)[
            segment.sent :
        ]
        now = time.time()
        good = [datum for datum in datums if is_acceptable(datum, now)]
        return Parcel((segment,), len(samples), len(datums) - len(good), good)

    def _send(self, parcel: Parcel) -> None:
        """Send one parcel and forget its segments; one that is refused is sent segment by segment.

        Raises:
            LaterError: CloudWatch may take it later; the spool keeps it.
        """
        try:
            for begin in range(0, len(parcel.datums), MAX_DATUMS):
                datums = parcel.datums[begin : begin + MAX_DATUMS]
                self._cloudwatch.put(datums)
                self.statistics.requests += 1
                parcel.segments[0].sent += len(datums)
        except RefusedError as error:
            if len(parcel.segments) > 1:
                for segment in parcel.segments:
                    self._send(self._unpack(segment))
                return
            self.statistics.refused += parcel.samples
            LOG.error("%d samples dropped, as CloudWatch refuses them: %s", parcel.samples, error)
        else:
            self.statistics.samples += parcel.samples
        if parcel.outdated:
            self.statistics.outdated += parcel.outdated
            LOG.warning("%d datums dropped: CloudWatch takes none older than 14 days or 2 hours ahead", parcel.outdated)
        for segment in parcel.segments:
            self._spool.remove(segment)


def tidy(*, keep: bool = False) -> None:
    """Give back memory that nobody uses, instead of when the collector comes round to it.

    Args:
        keep: whether what is left is there for good, and need not be looked at again.
    """
    gc.collect()
    if keep:
        gc.freeze()


class Service:
    """Samples until it is told to end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spool = Spool(Path(settings.spool), settings.spool_bytes)
        self._sampler = Sampler(settings.metrics)
        self._sender = Sender(settings, self._spool)
        self._notifier = Notifier()
        self._end = threading.Event()
        self._problems: tuple[str, ...] = ()
        self._disk_trouble = ""
        self._unhealthy_since: float | None = None
        self._reported = time.monotonic()

    def end(self) -> None:
        """Stop after the present sample."""
        self._end.set()

    def run(self) -> int:
        """Sample and have it sent, until the end; return the exit status."""
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
                # A sign of life at once, also of what an earlier run has left.
                self._flush()
                self._notifier.tell("READY=1")
            window = now_in
            self._report(sample)
            due = max(due + settings.sample_interval, time.monotonic())
            self._end.wait(due - time.monotonic())
        self._notifier.tell("STOPPING=1")
        self._spool.close()
        self._sender.finish()
        self._sampler.close()
        LOG.info("ended; %d segments wait", len(self._spool.waiting()))
        if self._end.is_set():
            return EX_OK
        if self._is_stale():
            LOG.info("another process should try, as NVML has been out of reach for %g s", settings.renew_interval)
            return EX_TEMPFAIL
        return EX_SOFTWARE

    def _is_stale(self) -> bool:
        """Say whether NVML has been out of reach for so long that another process should try."""
        since = self._unhealthy_since
        return since is not None and time.monotonic() - since > self._settings.renew_interval

    def _flush(self) -> None:
        self._spool.close()
        self._sender.wake()

    def _watch_clock(self, before: float) -> float:
        """Say when the clock was set, as samples carry its time; return the present offset from the monotonic one."""
        now = time.time() - time.monotonic()
        if abs(now - before) > CLOCK_JUMP_SECONDS:
            LOG.warning("the clock was set by %+.0f s", now - before)
            return now
        return before if abs(now - before) < 1 else now

    def _report(self, sample: Sample) -> None:
        """Tell systemd and the journal what changed."""
        for problem in set(sample.problems) - set(self._problems):
            LOG.warning("%s", problem)
        if self._problems and not sample.problems:
            LOG.info("all %d GPUs answer", len(sample.gpus))
        self._problems = sample.problems
        # One GPU that is gone is no reason to leave the others.
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
        self._notifier.tell("WATCHDOG=1", f"STATUS={len(sample.gpus)} GPUs, {state}; {totals}")
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


class Formatter(logging.Formatter):
    """Puts systemd's priority before each line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line for the journal."""
        text = super().format(record).replace("\n", " ")
        return f"<{PRIORITIES.get(record.levelno, 6)}>{text}"


def main() -> int:
    """Run the service, and return the exit status."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Formatter("%(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        settings = read_settings(Path(sys.argv[1]))
    except SettingsError as error:
        LOG.error("%s", error)
        return EX_CONFIG
    service = Service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_ignored: service.end())
    return service.run()


if __name__ == "__main__":
    raise SystemExit(main())
