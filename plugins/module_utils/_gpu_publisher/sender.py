# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Send the samples of the spool to CloudWatch, and retry until it accepts them."""

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
    RefusedPutError,
    RetryablePutError,
    datums_of,
    is_acceptable,
)
from .settings import PublisherSettings, PublisherSettingsError
from .spool import Segment, Spool

LOG = logging.getLogger("gpu-metrics")
CONNECT_SECONDS, READ_SECONDS = 5, 20
# Seconds for the last request after SIGTERM.
GOODBYE_SECONDS = 10.0


@dataclass
class Statistics:
    """Counts since the process started.

    Attributes:
        requests: accepted by CloudWatch.
        samples: in those requests.
        refused: samples that CloudWatch will never accept.
        outdated: datums outside the time range that CloudWatch accepts.
    """

    requests: int = 0
    samples: int = 0
    refused: int = 0
    outdated: int = 0


@dataclass(frozen=True)
class Batch:
    """The content of one request; of several only when a single segment exceeds one.

    Attributes:
        segments: which are deleted when CloudWatch has accepted it.
        samples: how many they have.
        outdated: how many datums are left out, being outside the time range that CloudWatch accepts.
        datums: the others.
    """

    segments: tuple[Segment, ...]
    samples: int
    outdated: int
    datums: list[Datum]

    def __add__(self, other: Batch) -> Batch:
        """Return both as one batch."""
        return Batch(
            self.segments + other.segments,
            self.samples + other.samples,
            self.outdated + other.outdated,
            self.datums + other.datums,
        )

    def has_room_for(self, other: Batch) -> bool:
        """Return whether both fit into one request."""
        datums = self.datums + other.datums
        return len(datums) <= MAX_DATUMS and sum(datum.size for datum in datums) <= MAX_BYTES


class Sender(threading.Thread):
    """Send the segments of the spool as soon as they are closed, with retries."""

    def __init__(self, settings: PublisherSettings, spool: Spool) -> None:
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
        # Why the thread ended by itself, when only other settings would help.
        self.settings_error = ""

    @property
    def instance_id(self) -> str:
        """The value of the dimension InstanceId; empty while it is unknown."""
        return self._settings.instance_id or (self._identity.instance_id if self._identity else "")

    def wake(self) -> None:
        """Signal that a segment was closed."""
        self._work.set()

    def finish(self) -> None:
        """Send the remaining samples once, and end within 10 seconds."""
        self._ending.set()
        self._work.set()
        self.join(GOODBYE_SECONDS)

    def run(self) -> None:
        """Send, wait, send again, until finish is called or the settings turn out to be invalid."""
        try:
            self._run()
        except PublisherSettingsError as error:
            self.settings_error = str(error)

    def _run(self) -> None:
        """Send, wait, send again, until finish is called.

        Raises:
            PublisherSettingsError: botocore does not accept the region or the endpoint.
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
        """Return how long to wait after the failures so far; random, so that hosts do not retry at the same time."""
        bound = min(self._settings.backoff_max, self._settings.backoff * 2 ** min(self._failures, 20))
        return random.SystemRandom().uniform(self._settings.backoff, bound)

    def _send_all(self) -> bool:
        """Send everything; return whether CloudWatch accepted, or will never accept, all of it."""
        try:
            self._identify()
            while batch := self._next_batch():
                self._send(batch)
        except (IdentityUnknownError, RetryablePutError) as error:
            self._failures += 1
            if not self._failing_since:
                self._failing_since = time.monotonic()
                LOG.warning("cannot publish: %s; samples are kept in %s until it works", error, self._settings.spool)
            self.trouble = str(error)
            return False
        tidy(keep=self.statistics.requests == 1)
        if self._failing_since:
            LOG.info("publishing again after %.0f s", time.monotonic() - self._failing_since)
        # Unreadable segments are tried again with the next segment, which must not wait for them.
        self._failures, self._failing_since, self.trouble = 0, 0.0, self._unreadable
        return True

    def _identify(self) -> None:
        """Get the instance and the region, unless the settings or an earlier reply have both."""
        if self._identity is None and not (self._settings.instance_id and self._settings.region):
            self._identity = read_identity()
            LOG.info("this is %s in %s", self._identity.instance_id, self._identity.region)

    def _connect(self) -> Any:
        """Return a client of CloudWatch that reads credentials as every AWS tool does, and tries each request once.

        Raises:
            PublisherSettingsError: botocore does not accept the region or the endpoint.
        """
        # Memory of the previous client.
        tidy()
        # botocore takes half of the memory and start time, which an unidentified host does not need.
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
                    # By default botocore compresses from 10 KB only.
                    request_min_compression_size_bytes=1,
                ),
            )
        except (json.JSONDecodeError, UnicodeError):
            # From a document with credentials, which may have changed the next time.
            raise
        except ValueError as error:
            raise PublisherSettingsError(
                f"{error}. Correct region and endpoint_url, and apply the role gpu_metrics again"
            ) from None

    def _next_batch(self) -> Batch | None:
        """Return the newest readable segments that fit into one request; None when there are none."""
        batch: Batch | None = None
        unreadable = ""
        for segment in self._spool.waiting():
            try:
                more = self._unpack(segment)
            except RetryablePutError as error:
                unreadable = str(error)
                continue
            if batch is not None and not batch.has_room_for(more):
                break
            batch = batch + more if batch is not None else more
        if batch is None:
            if unreadable not in ("", self._unreadable):
                LOG.warning("%s; it is kept until it can be read", unreadable)
            self._unreadable = unreadable
        return batch

    def _unpack(self, segment: Segment) -> Batch:
        """Return the unsent part of a segment.

        Raises:
            RetryablePutError: the segment cannot be read now.
        """
        try:
            samples = self._spool.read(segment)
        except OSError as error:
            raise RetryablePutError(f"segment {segment.number} cannot be read: {error.strerror or error}") from None
        dimensions = {"InstanceId": segment.instance_id or self.instance_id, **self._settings.dimensions}
        datums = datums_of(samples, self._settings.metrics, dimensions, high_resolution=self._settings.high_resolution)[
            segment.sent :
        ]
        now = time.time()
        good = [datum for datum in datums if is_acceptable(datum, now)]
        return Batch((segment,), len(samples), len(datums) - len(good), good)

    def _send(self, batch: Batch) -> None:
        """Send one batch and delete its segments; send a refused batch segment by segment.

        Raises:
            RetryablePutError: CloudWatch may accept it later. The spool keeps it.
        """
        try:
            for begin in range(0, len(batch.datums), MAX_DATUMS):
                datums = batch.datums[begin : begin + MAX_DATUMS]
                self._cloudwatch.put(datums)
                self.statistics.requests += 1
                batch.segments[0].sent += len(datums)
        except RefusedPutError as error:
            if len(batch.segments) > 1:
                for segment in batch.segments:
                    self._send(self._unpack(segment))
                return
            self.statistics.refused += batch.samples
            LOG.error("%d samples dropped, as CloudWatch refuses them: %s", batch.samples, error)
        else:
            self.statistics.samples += batch.samples
        if batch.outdated:
            self.statistics.outdated += batch.outdated
            LOG.warning(
                "%d datums dropped: CloudWatch accepts none older than 14 days or 2 hours ahead", batch.outdated
            )
        for segment in batch.segments:
            self._spool.remove(segment)


def tidy(*, keep: bool = False) -> None:
    """Collect garbage now.

    Args:
        keep: whether the remaining objects are permanent, so that later collections skip them.
    """
    gc.collect()
    if keep:
        gc.freeze()
