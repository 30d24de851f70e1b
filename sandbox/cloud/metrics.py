"""CloudWatch's metrics where moto differs.

Writes: values are validated and the resolution is stored. Reads: a metric is one namespace, one name and one set of
dimensions, periods begin at whole multiples of their length, and percentiles are supported.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from moto.cloudwatch import models, responses
from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue
from moto.cloudwatch.metric_data_expression_parser import parse_expression
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow

from sandbox.cloud import runs

MOST_DATUMS = 1000
MOST_VALUES = 150
MOST_DIMENSIONS = 30
LONGEST = {"Name": 255, "Value": 1024}  # characters of a dimension
LARGEST = 2.0**360
OLDEST = timedelta(days=14)
NEWEST = timedelta(hours=2)
RESOLUTIONS = (1, 60)
EPOCH = datetime(1970, 1, 1)
ASCENDING = "TimestampAscending"
STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
PERCENTILE = re.compile(r"p\d{1,3}(\.\d{1,10})?")
SIZES = ("", "Kilo", "Mega", "Giga", "Tera")
UNITS = {
    *("Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None"),
    *((size + unit).capitalize() + rate for size in SIZES for unit in ("bits", "bytes") for rate in ("", "/Second")),
}


def dimension_faults(dimensions: list[dict[str, str]], where: str) -> Iterator[str]:
    """Yield why CloudWatch refuses the dimensions of a datum; ``where`` is their place in the request."""
    if len(dimensions) > MOST_DIMENSIONS:
        yield f"The collection {where} must not have a size greater than {MOST_DIMENSIONS}."
    for number, dimension in enumerate(dimensions, start=1):
        for part, longest in LONGEST.items():
            text = dimension.get(part, "")
            if not text.strip() or len(text) > longest or not text.isascii():
                yield f"The value {text} for parameter {where}.member.{number}.{part} is invalid."
    if len({dimension.get("Name") for dimension in dimensions}) < len(dimensions):
        yield f"The collection {where} must not hold a name twice."


def value_faults(datum: dict[str, Any], where: str) -> Iterator[str]:
    """Yield why CloudWatch refuses the numbers of a datum; ``where`` is its place in the request."""
    values = list(datum.get("Values") or [])
    if len(values) > MOST_VALUES:
        yield f"The collection {where}.Values must not have a size greater than {MOST_VALUES}."
    single = [datum["Value"]] if "Value" in datum else []
    for value in [*values, *single, *(datum.get("StatisticValues") or {}).values()]:
        if not math.isfinite(float(value)) or abs(float(value)) > LARGEST:
            yield f"The value {value} for parameter {where}.Value is invalid."
    for count in datum.get("Counts") or []:
        if not math.isfinite(float(count)) or float(count) <= 0:
            yield f"The value {count} for parameter {where}.Counts is invalid."


def faults_of(datum: dict[str, Any], where: str, now: datetime) -> Iterator[str]:
    """Yield why CloudWatch refuses a datum.

    :param where: its place in the request, such as ``MetricData.member.1``.
    :param now: the time of the request; like the datum's own, in UTC and without a zone.
    """
    yield from dimension_faults(list(datum.get("Dimensions") or []), f"{where}.Dimensions")
    yield from value_faults(datum, where)
    timestamp = datum.get("Timestamp") or now
    if timestamp < now - OLDEST:
        yield f"The parameter {where}.Timestamp must specify a time no more than two weeks in the past."
    if timestamp > now + NEWEST:
        yield f"The parameter {where}.Timestamp must specify a time no more than two hours in the future."
    if int(datum.get("StorageResolution") or 60) not in RESOLUTIONS:
        yield f"The value {datum['StorageResolution']} for parameter {where}.StorageResolution must be 1 or 60."
    if datum.get("Unit", "None") not in UNITS:
        yield f"The value {datum['Unit']} for parameter {where}.Unit is not a unit of CloudWatch."


def check(namespace: str, data: list[dict[str, Any]]) -> None:
    """Check a PutMetricData request as a whole, as CloudWatch does.

    :raises InvalidParameterValue: a value is out of range.
    :raises InvalidParameterCombination: a datum has no value.
    """
    if not namespace or namespace.startswith(("AWS/", ":")) or not namespace.isascii():
        raise InvalidParameterValue(f"The value {namespace} for parameter Namespace is invalid.")
    if len(data) > MOST_DATUMS:
        raise InvalidParameterValue(f"The collection MetricData must not have a size greater than {MOST_DATUMS}.")
    now = utcnow()
    for number, datum in enumerate(data, start=1):
        where = f"MetricData.member.{number}"
        for fault in faults_of(datum, where, now):
            raise InvalidParameterValue(fault)
        if not datum.get("Values") and not datum.get("StatisticValues") and "Value" not in datum:
            raise InvalidParameterCombination(f"{where}: one of Value, Values and StatisticValues must be specified.")


def same_dimensions(one: Iterable[Any], other: Iterable[Any]) -> bool:
    """Return whether two metrics have the same dimensions; moto's own comparison fails for two or more."""
    return {(part.name, part.value) for part in one} == {(part.name, part.value) for part in other}


class Stored:
    """Replaces moto's list of all data with the data of one metric."""

    def __init__(self, backend: Any, namespace: str, name: str, dimensions: Iterable[dict[str, str]]) -> None:
        """Select a metric."""
        wanted = [models.Dimension(dimension["Name"], dimension["Value"]) for dimension in dimensions]
        self._found = [
            datum
            for datum in backend.get_all_metrics()
            if (datum.namespace, datum.name) == (namespace, name) and same_dimensions(datum.dimensions, wanted)
        ]

    def get_all_metrics(self) -> list[Any]:
        """Return the metric's data."""
        return self._found


def period_start(moment: datetime, seconds: int) -> datetime:
    """Return the start of the period of a time; both in UTC and without a zone."""
    return moment - (moment - EPOCH) % timedelta(seconds=seconds)


def percentile(statistics: Any, name: str) -> float:
    """Return a percentile of one period: the smallest value with at least that share of values at or below it.

    :param name: such as ``p99`` or ``p99.9``.
    :raises InvalidParameterValue: it is not a percentile.
    """
    share = float(name[1:]) if PERCENTILE.fullmatch(name) else -1.0
    if not 0 <= share <= 100:
        raise InvalidParameterValue(
            f"The statistic {name} is not supported by the sandbox. Allowed: Sum, and p0 to p100."
        )
    # A statistic set with equal values counts like these values, any other is ignored.
    sets = [(one.min, one.sample_count) for one in statistics.metric_aggregated_list if one.min == one.max]
    values = sorted(
        [*statistics.metric_single_values_list, *(low for low, count in sets for each in range(int(count)))]
    )
    return float(values[max(math.ceil(share / 100 * len(values)), 1) - 1]) if values else math.nan


def named(metric: dict[str, Any]) -> tuple[str, str]:
    """Return namespace and name of a metric."""
    return metric["Namespace"], metric["MetricName"]


def install_reading() -> None:
    """Patch the reads."""
    statistics: Any = models.Statistics
    backend: Any = models.CloudWatchBackend
    answers: Any = responses.CloudWatchResponse
    plain, data, plain_answer = (
        statistics.get_statistics_for_type,
        backend.get_metric_data,
        answers.get_metric_statistics,
    )

    def get_statistics_for_type(self: Any, stat: str) -> Any:
        return plain(self, stat) if stat in STATISTICS else percentile(self, stat)

    def get_metric_data(self: Any, queries: list[Any], start_time: Any, end_time: Any, scan_by: str = ASCENDING) -> Any:
        results = []
        for query in queries:
            if "MetricStat" in query and named(query["MetricStat"]["Metric"]) == runs.METRIC:
                period = int(query["MetricStat"]["Period"])
                results.append(runs.results(query, period_start(start_time, period), end_time, scan_by))
            elif "MetricStat" in query:
                metric, period = query["MetricStat"]["Metric"], int(query["MetricStat"]["Period"])
                stored = Stored(self, metric["Namespace"], metric["MetricName"], metric.get("Dimensions") or [])
                start = period_start(start_time, period)
                results += data(stored, [{**query, "ReturnData": True}], start, end_time, scan_by)
            elif query["Expression"].startswith("SELECT"):
                results += data(self, [query], start_time, end_time, scan_by)
        for query in queries:
            # moto's metric math supports one expression: the name of another query
            if "Expression" in query and not query["Expression"].startswith("SELECT"):
                values, times = parse_expression(query["Expression"], results)
                row = {"id": query["Id"], "label": query.get("Label") or query["Id"], "status_code": "Complete"}
                results.append({**row, "values": values, "timestamps": times})
        hidden = {query["Id"] for query in queries if not query.get("ReturnData", True)}
        return [result for result in results if result["id"] not in hidden]

    def get_metric_statistics(
        self: Any,
        namespace: str,
        metric_name: str,
        *span: Any,
        dimensions: list[dict[str, str]],
        unit: str | None = None,
    ) -> list[Any]:
        start_time, end_time, period, stats = span
        if start_time >= end_time:
            raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
        periods: dict[datetime, Any] = {}
        for datum in Stored(self, namespace, metric_name, dimensions).get_all_metrics():
            first = period_start(datum.timestamp, period)
            if period_start(start_time, period) <= first and datum.timestamp < end_time and unit in (None, datum.unit):
                found = periods.setdefault(first, models.Statistics(stats, first))
                found.metric_data.append(datum)
                found.unit = datum.unit
        return [periods[first] for first in sorted(periods)]

    def answer_metric_statistics(self: Any) -> Any:
        answer = plain_answer(self)
        for found in answer.result["Datapoints"]:
            names = self._get_param("ExtendedStatistics", [])
            found.extended_statistics = {name: percentile(found, name) for name in names}
        return answer

    statistics.get_statistics_for_type = get_statistics_for_type
    backend.get_metric_data = get_metric_data
    backend.get_metric_statistics = get_metric_statistics
    answers.get_metric_statistics = answer_metric_statistics


def count(region: str, namespace: str, name: str, dimensions: dict[str, str]) -> None:
    """Add one to a metric of AWS itself, in whose namespaces a user must not write."""
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    stored: Any = models.MetricDatum(namespace, name, 1.0, named, utcnow(), "Count")
    stored.storage_resolution, stored.request = 60, -1
    models.cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].metric_data.append(stored)


@cache
def install() -> None:
    """Patch moto in this process."""
    untyped: Any = models
    untyped.are_dimensions_same = same_dimensions
    backend: Any = models.CloudWatchBackend
    put = backend.put_metric_data
    requests = itertools.count()

    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        check(namespace, metric_data)
        request = next(requests)
        for datum in metric_data:
            known = len(self.metric_data)
            put(self, namespace, [datum])
            for stored in self.metric_data[known:]:
                stored.storage_resolution = int(datum.get("StorageResolution") or 60)
                stored.request = request

    backend.put_metric_data = put_metric_data
    runs.install()
    install_reading()
