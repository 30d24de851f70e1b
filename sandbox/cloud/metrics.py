"""What CloudWatch does with metrics and moto leaves out: it refuses what is out of range, and keeps the resolution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from moto.cloudwatch import models
from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue
from moto.core.utils import utcnow

MOST_DATUMS = 1000
MOST_VALUES = 150
MOST_DIMENSIONS = 30
LONGEST = {"Name": 255, "Value": 1024}  # characters of a dimension
LARGEST = 2.0**360
OLDEST = timedelta(days=14)
NEWEST = timedelta(hours=2)
RESOLUTIONS = (1, 60)
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
        yield f"The value {datum['Unit']} for parameter {where}.Unit is no unit of CloudWatch."


def check(namespace: str, data: list[dict[str, Any]]) -> None:
    """Refuse a PutMetricData request as a whole, as CloudWatch does.

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
    """Say whether two metrics have the same dimensions; moto's own says so of none with two or more."""
    return {(part.name, part.value) for part in one} == {(part.name, part.value) for part in other}


@cache
def install() -> None:
    """Fill the gaps for this process."""
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
