"""When instances ran: EC2's time of the last start, and the datapoints of StatusCheckFailed in AWS/EC2.

Sources. Read on 2026-11-30: botocore 1.44.5, ec2 2016-11-15 (LaunchTime: when an instance was launched last) and
monitoring 2010-08-01 (GetMetricData: datapoints of a minute for 15 days, of five minutes for 63 days); EC2 User Guide,
"CloudWatch metrics that are available for your instances" (StatusCheckFailed each minute). Inferred: no datapoint of a
minute in which an instance does not run, and that the datapoints of a terminated one stay.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance

from sandbox.errors import SandboxError

METRIC = ("AWS/EC2", "StatusCheckFailed")
EPOCH = datetime(1970, 1, 1)
MINUTES_STORED, STORED = timedelta(days=15), timedelta(days=63)
LONG_PERIOD = 300
# By id: from when to when it ran; without an end it still runs.
RUNS: dict[str, list[tuple[datetime, datetime | None]]] = {}


def begin(identifier: str, moment: datetime) -> None:
    """Begin a run, unless one goes on."""
    runs = RUNS.setdefault(identifier, [])
    if not runs or runs[-1][1] is not None:
        runs.append((moment, None))


def end(identifier: str, moment: datetime) -> None:
    """End a run, if one goes on."""
    runs = RUNS.get(identifier, [])
    if runs and runs[-1][1] is None:
        runs[-1] = (runs[-1][0], moment)


def add(instance: str, start: str, end: str = "") -> None:
    """Let an instance have run in the past; without an end until now, and then EC2 reports its start as well.

    :raises SandboxError: a time is not one.
    """
    try:
        first, last = (datetime.fromisoformat(text).replace(tzinfo=None) if text else None for text in (start, end))
    except ValueError as error:
        raise SandboxError(f"time: {error}. Allowed: UTC in ISO 8601, such as 2026-11-30T08:00:00") from error
    if first is None:
        raise SandboxError("start: empty. Allowed: UTC in ISO 8601, such as 2026-11-30T08:00:00")
    known = [run for run in RUNS.get(instance, []) if last is not None or run[1] is not None]
    RUNS[instance] = sorted([*known, (first, last)])
    for found in instances():
        if found.id == instance and last is None:
            found.launch_time = first


def instances() -> list[Any]:
    """Return all instances of the account."""
    backends = ec2_backends[DEFAULT_ACCOUNT_ID].values()
    found = [reservation for backend in backends for reservation in backend.reservations.values()]
    return [instance for reservation in found for instance in reservation.instances]


def forget() -> None:
    """Forget terminated instances, as EC2 does after about an hour."""
    for backend in ec2_backends[DEFAULT_ACCOUNT_ID].values():
        for reservation in backend.reservations.values():
            reservation.instances = [item for item in reservation.instances if item.state != "terminated"]


def datapoints(identifier: str, period: int, start: datetime, last: datetime) -> list[datetime]:
    """Return the beginnings of the periods with a datapoint; all times in UTC and without a zone."""
    now, span = utcnow(), timedelta(seconds=period)
    oldest = now - (STORED if period % LONG_PERIOD == 0 else MINUTES_STORED)
    found = set()
    for first, ended in RUNS.get(identifier, []):
        moment = first - (first - EPOCH) % span
        while moment < min(ended or now, last):
            if moment >= max(start, oldest):
                found.add(moment)
            moment += span
    return sorted(found)


def results(query: dict[str, Any], start: datetime, last: datetime, scan_by: str) -> dict[str, Any]:
    """Return the result of one query of GetMetricData, whose statistic is SampleCount or one of a metric that is 0."""
    stat = query["MetricStat"]
    names = {item["Name"]: item["Value"] for item in stat["Metric"].get("Dimensions") or []}
    period = int(stat["Period"])
    times = datapoints(names.get("InstanceId", ""), period, start, last) if set(names) == {"InstanceId"} else []
    value = period / 60 if stat["Stat"] == "SampleCount" else 0.0
    return {
        "id": query["Id"],
        "label": query.get("Label") or METRIC[1],
        "values": [value] * len(times),
        "timestamps": times[::-1] if scan_by == "TimestampDescending" else times,
        "status_code": "Complete",
    }


@cache
def install() -> None:
    """Patch moto in this process."""
    kind: Any = Instance
    create, start, stop, terminate = kind.__init__, kind.start, kind.stop, kind.terminate

    def initialize(self: Any, *arguments: Any, **options: Any) -> None:
        create(self, *arguments, **options)
        begin(self.id, self.launch_time)

    def started(self: Any) -> Any:
        if self.state != "running":
            self.launch_time = utcnow()
            begin(self.id, self.launch_time)
        return start(self)

    def stopped(self: Any) -> Any:
        end(self.id, utcnow())
        return stop(self)

    def terminated(self: Any) -> Any:
        end(self.id, utcnow())
        return terminate(self)

    kind.__init__, kind.start, kind.stop, kind.terminate = initialize, started, stopped, terminated
