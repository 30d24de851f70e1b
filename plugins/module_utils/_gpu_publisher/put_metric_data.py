# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn samples into requests of PutMetricData, send them, and classify its errors.

Limits are those of the API reference of PutMetricData.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# The caller reports a missing botocore before it calls anything here.
with contextlib.suppress(ImportError):
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

from .._aws.errors import CREDENTIALS, OTHER, translate_error
from .._gpu.metrics import HEARTBEAT, UNITS, UTILIZATION
from .sampler import Sample

MAX_DATUMS = 1000
MAX_VALUES = 150
# Of the 1 MB limit of a request, with room for the JSON syntax.
MAX_BYTES = 800_000
OLDEST_SECONDS = 14 * 86400
NEWEST_SECONDS = 2 * 3600

# The request itself is invalid. Every other error may be temporary, or come from a proxy or gateway on the way.
PERMANENT_CODES = frozenset(
    {
        "InvalidParameterCombination",
        "InvalidParameterCombinationException",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MissingParameter",
        "MissingRequiredParameter",
        "MissingRequiredParameterException",
        "RequestEntityTooLarge",
        "RequestEntityTooLargeException",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)
TOO_LARGE_STATUS = 413
ACTION = "cloudwatch:PutMetricData"
FOREIGN = "not an answer of AWS, as it has no request id: check for a proxy or gateway on the way"


class RetryablePutError(Exception):
    """CloudWatch did not accept a request, and may accept it later."""


class RefusedPutError(Exception):
    """CloudWatch will never accept this request."""


@dataclass(frozen=True)
class Datum:
    """One metric of one set of dimensions in one period.

    Attributes:
        time: begin of the period, in seconds since the epoch.
        resolution: the period, 60 or 1 seconds.
        values: how often each value was read in it.
    """

    name: str
    dimensions: tuple[tuple[str, str], ...]
    time: int
    resolution: int
    values: tuple[tuple[float, int], ...]

    @property
    def size(self) -> int:
        """Its size in a request in bytes, at most."""
        return 160 + sum(60 + len(name) + len(value) for name, value in self.dimensions) + 40 * len(self.values)

    def request(self) -> dict[str, Any]:
        """Return it in the form of PutMetricData."""
        return {
            "MetricName": self.name,
            "Dimensions": [{"Name": name, "Value": value} for name, value in self.dimensions],
            "Timestamp": self.time,
            "Values": [value for value, _count in self.values],
            "Counts": [float(count) for _value, count in self.values],
            "Unit": UNITS[self.name],
            "StorageResolution": self.resolution,
        }


def datums_of(
    samples: Iterable[Sample], metrics: Iterable[str], dimensions: Mapping[str, str], *, high_resolution: bool = False
) -> list[Datum]:
    """Return samples as datums, one for each metric, GPU and period; percentiles survive, as each value is kept.

    Args:
        samples: of one instance.
        metrics: names of ``UNITS``.
        dimensions: of the instance; each GPU's index is added.
        high_resolution: whether a period is a second, or else a minute.
    """
    resolution = 1 if high_resolution else 60
    wanted = set(metrics)
    host = tuple(dimensions.items())
    found: dict[tuple[str, tuple[tuple[str, str], ...], int], Counter[float]] = {}
    for sample in samples:
        period = int(sample.time // resolution) * resolution
        rows = [(HEARTBEAT, host, float(sample.healthy))]
        rows += [
            (name, (*host, ("GpuIndex", index)), value)
            for index, readings in sample.gpus.items()
            for name, value in readings.items()
        ]
        # An alarm that acts on an instance monitors one metric, so the host's metric has the samples of all its GPUs.
        # When one of them does not report its utilization, the host may be busy.
        busy = [gpu[UTILIZATION] for gpu in sample.gpus.values() if UTILIZATION in gpu]
        if sample.healthy and 1 < len(busy) == len(sample.gpus):
            rows += [(UTILIZATION, host, value) for value in busy]
        for name, names, value in rows:
            if name in wanted:
                found.setdefault((name, names, period), Counter())[float(value)] += 1
    return [
        Datum(name, names, period, resolution, chunk)
        for (name, names, period), values in found.items()
        for chunk in chunks(sorted(values.items()))
    ]


def chunks(values: list[tuple[float, int]]) -> Iterator[tuple[tuple[float, int], ...]]:
    """Yield values in chunks that fit into one datum."""
    for begin in range(0, len(values), MAX_VALUES):
        yield tuple(values[begin : begin + MAX_VALUES])


def is_acceptable(datum: Datum, now: float) -> bool:
    """Return whether a datum is in the time range that CloudWatch accepts."""
    return now - OLDEST_SECONDS < datum.time < now + NEWEST_SECONDS


class CloudWatch:
    """PutMetricData with classified errors.

    Args:
        namespace: of all metrics.
        where: the region, for messages.
        connect: creates a client, and reads the credentials again.
    """

    def __init__(self, namespace: str, where: str, connect: Callable[[], Any]) -> None:
        self._namespace = namespace
        self._where = where
        self._connect = connect
        self._client: Any = None

    def put(self, datums: list[Datum]) -> None:
        """Send one request; read expired credentials again, once.

        Raises:
            RetryablePutError: it may succeed later.
            RefusedPutError: it never will.
        """
        while True:
            reused = self._client is not None
            try:
                answer = self._put(datums)
            # botocore raises the last two for answers that are not CloudWatch's.
            except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
                if translate_error(error, ACTION, self._where).kind == CREDENTIALS:
                    self._client = None
                    if reused:
                        continue
                raise classify(error, self._where) from None
            if not is_of_aws(answer):
                status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
                raise RetryablePutError(f"{ACTION} in {self._where}: {status}: {FOREIGN}")
            return

    def _put(self, datums: list[Datum]) -> Mapping[str, Any]:
        """Send one request, create the client first if needed, and return the answer."""
        if self._client is None:
            self._client = self._connect()
        request = [datum.request() for datum in datums]
        answer: Mapping[str, Any] = self._client.put_metric_data(Namespace=self._namespace, MetricData=request)
        return answer


def is_of_aws(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer has a request id, as those of AWS do, and those of a proxy do not."""
    return bool(answer.get("ResponseMetadata", {}).get("RequestId"))


def classify(error: Exception, where: str) -> RetryablePutError | RefusedPutError:
    """Return what an error of botocore means for the request.

    Missing permissions or credentials do not drop samples, because both can be fixed meanwhile.
    """
    translated = translate_error(error, ACTION, where)
    if isinstance(error, ParamValidationError):
        return RefusedPutError(str(translated))
    if not isinstance(error, ClientError) or translated.kind != OTHER:
        return RetryablePutError(str(translated))
    if not is_of_aws(error.response):
        return RetryablePutError(f"{translated} ({FOREIGN})")
    too_large = error.response["ResponseMetadata"].get("HTTPStatusCode") == TOO_LARGE_STATUS
    if translated.code in PERMANENT_CODES or too_large:
        return RefusedPutError(str(translated))
    return RetryablePutError(str(translated))
