# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sender of the service that publishes a host's GPU metrics: from the spool to CloudWatch, for as long as it takes.

Nothing of Ansible is imported here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from .imds import Identity, IdentityUnknownError, read_identity
from .put_metric_data import (
    MAX_BYTES,
    MAX_DATUMS,
    CloudWatch,
    Datum,
    LaterError,
    RefusedError,
    datums_of,
    is_acceptable,
)
from .settings import Settings, SettingsError
from .spool import Segment, Spool

LOG = logging.getLogger("gpu-metrics")
CONNECT_SECONDS, READ_SECONDS = 5, 20
# How long SIGTERM leaves for the last request.
GOODBYE_SECONDS = 10.0


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
        self._unreadable = ""
        self.statistics = Statistics()
        self.trouble = ""
        # Why it has ended by itself: only other settings would help.
        self.misled = ""

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
        """Send, wait, send again, until told to end, or until the settings turn out to be none."""
        try:
            self._run()
        except SettingsError as error:
            self.misled = str(error)

    def _run(self) -> None:
        """Send, wait, send again, until told to end.

        Raises:
            SettingsError: botocore takes the region or the endpoint for none.
        """
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
        # What the disk does not give back is tried again with the next segment: no reason to keep that one waiting.
        self._failures, self._failing_since, self.trouble = 0, 0.0, self._unreadable
        return True

    def _identify(self) -> None:
        """Ask who this is, unless the settings or an earlier answer say all of it."""
        if self._identity is None and not (self._settings.instance_id and self._settings.region):
            self._identity = read_identity()
            LOG.info("this is %s in %s", self._identity.instance_id, self._identity.region)

    def _connect(self) -> Any:
        """Return a client of CloudWatch that reads credentials as every AWS tool does, and tries each request once.

        Raises:
            SettingsError: botocore takes the region or the endpoint for none.
        """
        # Of the client before.
        tidy()
        # Half of what the process needs, in memory and at its start: a host that does not know who it is does without.
        session: Any = importlib.import_module("botocore.session").Session()
        config: Any = importlib.import_module("botocore.config").Config
        region = self._settings.region or (self._identity.region if self._identity else "")
        try:
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
        except (json.JSONDecodeError, UnicodeError):
            # Of a document with credentials, which may be another the next time.
            raise
        except ValueError as error:
            raise SettingsError(
                f"{error}. Correct region and endpoint_url, and apply the role gpu_metrics again"
            ) from None

    def _next_parcel(self) -> Parcel | None:
        """Return the newest of what can be read, as much as one request may hold; None when there is nothing."""
        parcel: Parcel | None = None
        unreadable = ""
        for segment in self._spool.waiting():
            try:
                more = self._unpack(segment)
            except LaterError as error:
                unreadable = str(error)
                continue
            if parcel is not None and not parcel.has_room_for(more):
                break
            parcel = parcel + more if parcel is not None else more
        if parcel is None:
            if unreadable not in ("", self._unreadable):
                LOG.warning("%s; it is kept until it can be read", unreadable)
            self._unreadable = unreadable
        return parcel

    def _unpack(self, segment: Segment) -> Parcel:
        """Return what of a segment is still to be sent.

        Raises:
            LaterError: the disk does not give it back now.
        """
        try:
            samples = self._spool.read(segment)
        except OSError as error:
            raise LaterError(f"segment {segment.number} cannot be read: {error.strerror or error}") from None
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
