# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check, plan and read a request for the latest datapoints of CloudWatch metrics."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from .._problem import Problem, shown
from .errors import OTHER, ReadError, translated

ACTION = "cloudwatch:GetMetricData"
# Metrics in one request, at most.
BATCH = 500
SIMPLE_STATISTICS = ("Average", "Maximum", "Minimum", "SampleCount", "Sum")
PERCENTILE = re.compile(r"p(100|\d{1,2}(\.\d{1,10})?)")
SHORT_PERIODS = (1, 5, 10, 20, 30)
# CloudWatch stores datapoints of a minute for 15 days.
MOST_MINUTES = 15 * 24 * 60
MOST_DIMENSIONS = 30


class MetricRequestError(Exception):
    """A request that CloudWatch would reject; the text has one line for each reason."""


@dataclass(frozen=True)
class Metric:
    """A metric and its statistic.

    Attributes:
        label: Its label in the result; empty for CloudWatch's own.
    """

    name: str
    namespace: str
    dimensions: dict[str, str] = field(default_factory=dict)
    statistic: str = "Average"
    label: str = ""


@dataclass(frozen=True)
class Window:
    """The time range to read, in UTC, both ends at the beginning of a period.

    Attributes:
        period: Seconds.
    """

    start: datetime
    end: datetime
    period: int


@dataclass(frozen=True)
class Datapoint:
    """The newest datapoint of a metric: when its period began (UTC), and its value; both None without a datapoint."""

    timestamp: datetime | None
    value: float | None
    label: str


def read_moment(text: str) -> datetime:
    """Return a moment from ISO 8601 or as seconds since 1970, in UTC.

    Raises:
        MetricRequestError: it is neither.
    """
    try:
        if _is_number(text):
            return datetime.fromtimestamp(float(text), timezone.utc)
        # Python 3.10 does not parse Z.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in {"Z", "z"} else text)
    except (ValueError, OverflowError, OSError) as error:
        allowed = "a time in ISO 8601 (UTC unless it names a zone), or seconds since 1970"
        problem = Problem(
            "since", shown(text), f"is not a valid time ({error})", allowed, 'write "2026-11-24T12:00:00Z"'
        )
        raise MetricRequestError(str(problem)) from error
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _is_number(text: str) -> bool:
    """Return whether a text is a number of seconds. A compact ISO date such as 20261124T1200 is not."""
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def check_request(metrics: list[Metric], period: int, minutes: int) -> None:
    """Check a request.

    Raises:
        MetricRequestError: with one line for each reason.
    """
    problems = []
    if period not in SHORT_PERIODS and (period < 1 or period % 60):
        allowed = f"{', '.join(map(str, SHORT_PERIODS))}, or a multiple of 60 seconds"
        problems.append(Problem("period", shown(period), "is not a period", allowed, "take 60"))
    if not 1 <= minutes <= MOST_MINUTES:
        problems.append(Problem("minutes", shown(minutes), "is out of range", f"1 to {MOST_MINUTES}", "take 15"))
    for metric in metrics:
        if metric.statistic not in SIMPLE_STATISTICS and not PERCENTILE.fullmatch(metric.statistic):
            allowed = f"{', '.join(SIMPLE_STATISTICS)}, or a percentile such as p95"
            reason = f"is not a statistic (metric {metric.name})"
            problems.append(Problem("statistic", shown(metric.statistic), reason, allowed, "choose one of these"))
        if len(metric.dimensions) > MOST_DIMENSIONS:
            reason = f"{len(metric.dimensions)} dimensions are too many (metric {metric.name})"
            problems.append(Problem("dimensions", "", reason, f"at most {MOST_DIMENSIONS}", "leave some out"))
    if problems:
        raise MetricRequestError("\n".join(map(str, problems)))


def choose_window(now: datetime, period: int, minutes: int, since: datetime | None) -> Window:
    """Return the time range to read.

    A datapoint carries the beginning of its period. With `since`, only periods that begin then or later count, so that
    an older value never counts as new.
    """
    start = _floor(now - timedelta(minutes=minutes), period)
    if since is not None:
        start = max(start, _ceiling(since, period))
    # The end is exclusive, and the running period has a datapoint already.
    return Window(start, _floor(now, period) + timedelta(seconds=period), period)


def _floor(moment: datetime, period: int) -> datetime:
    """Return the beginning of the period that a moment falls into."""
    return datetime.fromtimestamp(int(moment.timestamp()) // period * period, timezone.utc)


def _ceiling(moment: datetime, period: int) -> datetime:
    """Return the first beginning of a period that is not before a moment."""
    return datetime.fromtimestamp(-(-math.ceil(moment.timestamp()) // period) * period, timezone.utc)


def query(metric: Metric, number: int, period: int) -> dict[str, Any]:
    """Return the query of one metric. Its number identifies its results."""
    one_query = {
        "Id": f"m{number}",
        "MetricStat": {
            "Metric": {
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in sorted(metric.dimensions.items())],
            },
            "Period": period,
            "Stat": metric.statistic,
        },
    }
    return {**one_query, "Label": metric.label} if metric.label else one_query


def read(client: Any, metrics: list[Metric], window: Window, region: str) -> list[Datapoint]:
    """Return the newest datapoint of each metric within a window, in the order of the metrics.

    Raises:
        ReadError: CloudWatch did not answer, or not about one of the metrics.
    """
    if window.start >= window.end:
        return [Datapoint(None, None, metric.label) for metric in metrics]
    queries = [query(metric, number, window.period) for number, metric in enumerate(metrics)]
    results: list[dict[str, Any]] = []
    for first in range(0, len(queries), BATCH):
        with translated(ACTION, region):
            pages = client.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries[first : first + BATCH],
                StartTime=window.start,
                EndTime=window.end,
                ScanBy="TimestampDescending",
            )
            results += [result for page in pages for result in page["MetricDataResults"]]
    by_id: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_id.setdefault(result["Id"], []).append(result)
    return [newest(by_id.get(query["Id"], []), metric, region) for query, metric in zip(queries, metrics, strict=True)]


def newest(results: list[dict[str, Any]], metric: Metric, region: str) -> Datapoint:
    """Return the newest datapoint in all pages of results of one metric.

    Raises:
        ReadError: CloudWatch reported an error for this metric, which does not mean that it has no datapoint.
    """
    for result in results:
        if result.get("StatusCode") in ("Forbidden", "InternalError"):
            reasons = "; ".join(message.get("Value", "") for message in result.get("Messages", []))
            raise ReadError(OTHER, ACTION, region, result["StatusCode"], f"metric {metric.name}: {reasons}")
    points = [
        (timestamp, value)
        for result in results
        for timestamp, value in zip(result.get("Timestamps", []), result.get("Values", []), strict=True)
    ]
    label = next((result["Label"] for result in results if result.get("Label")), metric.label)
    if not points:
        return Datapoint(None, None, label)
    timestamp, value = max(points)
    return Datapoint(timestamp.astimezone(timezone.utc), float(value), label)
