# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read from AWS what a lab uses now, and when its instances ran."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .._aws.account import Account
from .._aws.cloudwatch import watched_instances
from .._aws.errors import OTHER, ReadError
from .._aws.resources import read_instance, read_tags
from .._lab.ownership import Claimed, settle, wrong_with_address, wrong_with_instance
from .._lab.record import DATA_TAG, MANAGED_BY, Record, read_record
from .entries import ADDRESS, ALARM, EC2, INSTANCE, METRICS, ON_DEMAND, SNAPSHOT, SPOT, VOLUME, Entry, machine
from .observe import RUNS, Datapoints, Instance, Thing

# How long CloudWatch stores datapoints of a minute, and those of five minutes, in seconds.
MINUTES_STORED, STORED = 15 * 86400, 63 * 86400
ENDED = ("shutting-down", "terminated")
# Metrics in one request of GetMetricData, at most.
BATCH = 500


@dataclass(frozen=True)
class Found:
    """What a lab uses now."""

    instances: Sequence[Instance]
    things: Sequence[Thing]


def read_lab(account: Account, lab: str, region: str, known: Collection[str]) -> Found:
    """Return what a lab uses now, and its instances that EC2 still describes.

    Args:
        account: The account to read.
        lab: The lab's name.
        region: Its region.
        known: Ids of instances that are in its record. An instance that has ended no longer shows whose it was.

    Raises:
        ReadError: AWS did not answer.
    """
    filters = [
        {"Name": "tag:digital_twin_lab", "Values": [lab]},
        {"Name": "tag:managed_by", "Values": [MANAGED_BY]},
    ]
    answer = account.read("ec2", "describe_instances", Filters=filters)
    described = [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]
    role = account.role(f"{lab}-instance")
    live = [read_instance(item) for item in described if item["State"]["Name"] not in ENDED]
    record = settle(lab, None, read_record(lab, region, role.tags if role else None), Claimed(instances=live))
    own = [item for item in described if _is_own(lab, record, item, known)]
    return Found([_instance(item) for item in own], _things(account, lab, record, own, filters))


def _is_own(lab: str, record: Record, item: Mapping[str, Any], known: Collection[str]) -> bool:
    """Return whether an instance with a lab's tags belongs to the lab."""
    instance = read_instance(dict(item))
    if instance.state in ENDED:
        return instance.instance_id in known or instance.profile in ("", f"{lab}-instance")
    return not wrong_with_instance(lab, None, record, instance)


def _instance(item: Mapping[str, Any]) -> Instance:
    """Return an instance of EC2's answer."""
    return Instance(
        item["InstanceId"],
        machine(item["InstanceType"], SPOT if item.get("InstanceLifecycle") == "spot" else ON_DEMAND),
        int(item["LaunchTime"].timestamp()),
        item["State"]["Name"],
        item.get("StateTransitionReason") or "",
        # The record separates by spaces.
        "_".join(((item.get("StateReason") or {}).get("Code") or "").split()),
    )


def _things(
    account: Account, lab: str, record: Record, own: Sequence[Mapping[str, Any]], filters: list[dict[str, Any]]
) -> list[Thing]:
    """Return volumes, snapshots, addresses and alarms."""
    ids = {item["InstanceId"] for item in own if item["State"]["Name"] not in ENDED}
    volumes = account.read("ec2", "describe_volumes", Filters=filters)["Volumes"]
    if ids:
        attached = [{"Name": "attachment.instance-id", "Values": sorted(ids)}]
        volumes += account.read("ec2", "describe_volumes", Filters=attached)["Volumes"]
    found = {}
    data = set(record.data_volumes.values())
    for volume in volumes:
        # Without an instance, only the record proves whose a data volume is.
        if DATA_TAG in read_tags(volume.get("Tags")) and volume["VolumeId"] not in data:
            continue
        holders = {attachment["InstanceId"] for attachment in volume.get("Attachments", [])}
        if not holders or holders & ids:
            sizes = (volume["VolumeType"], volume["Size"], volume.get("Iops") or "", volume.get("Throughput") or "")
            what = "/".join(map(str, sizes)).rstrip("/")
            found[volume["VolumeId"]] = Thing(VOLUME, volume["VolumeId"], what, _seconds(volume["CreateTime"]))
    # The name does not identify the lab: robo-2-1-gpu-idle could be that of the lab robo.
    alarms = account.read("cloudwatch", "describe_alarms", AlarmNamePrefix=f"{lab}-")["MetricAlarms"]
    watching = sum(1 for alarm in alarms if watched_instances(alarm) & ids)
    snapshots = account.read("ec2", "describe_snapshots", Filters=filters, OwnerIds=["self"])["Snapshots"]
    return [
        *found.values(),
        *(
            Thing(SNAPSHOT, item["SnapshotId"], str(item["VolumeSize"]), _seconds(item["StartTime"]))
            for item in snapshots
            if read_tags(item.get("Tags")).get("digital_twin_lab")
        ),
        *(
            # An address costs the same in use or not, and AWS does not report when it was allocated.
            Thing(ADDRESS, address.allocation_id, "address")
            for address in account.addresses()
            if not wrong_with_address(record, address)
        ),
        *([Thing(ALARM, lab, str(watching))] if watching else []),
    ]


def _seconds(moment: datetime) -> int:
    """Return a time in seconds since 1970."""
    return int(moment.timestamp())


def unknown_span(runs: Iterable[Entry], current: Instance | None, now: int) -> tuple[int, int] | None:
    """Return from when to when it is not known whether an instance ran; None if it is.

    Args:
        runs: Its recorded runs.
        current: The instance, if EC2 describes it.
        now: The time.
    """
    ordered = sorted(runs, key=lambda run: run.start)
    until = now
    if current is not None:
        earlier = [run for run in ordered if run.start < current.launched]
        # EC2 reports the current run of a running instance completely. Of one that is stopped it may not report when.
        until = current.launched if current.state in RUNS else now
        ordered = earlier if current.state in RUNS else ordered
    begins = [run.seen if run.end in (EC2, METRICS) else run.start for run in ordered]
    last = until if current is None or current.state in RUNS else max(current.launched, *begins, 0)
    begin = max(min([*begins, last]), now - STORED)
    return (begin, until) if begin < until else None


def read_datapoints(
    client: Any, record: Iterable[Entry], instances: Sequence[Instance], now: int
) -> dict[str, Datapoints]:
    """Return when instances ran, as far as EC2 does not report it.

    Args:
        client: The client of CloudWatch.
        record: The usage so far.
        instances: The instances that EC2 describes.
        now: The time.

    Raises:
        ReadError: CloudWatch reported an error for an instance, which does not mean that it did not run.
    """
    runs: dict[str, list[Entry]] = {}
    for entry in record:
        if entry.kind == INSTANCE:
            runs.setdefault(entry.identifier, []).append(entry)
    described = {instance.identifier: instance for instance in instances}
    spans: dict[int, dict[str, tuple[int, int]]] = {}
    for identifier in sorted({*runs, *described}):
        current = described.get(identifier)
        span = unknown_span(runs.get(identifier, []), current, now)
        recent = current is not None or any(run.seen > now - STORED for run in runs[identifier])
        if span and recent:
            period = 60 if span[0] >= now - MINUTES_STORED else 300
            spans.setdefault(period, {})[identifier] = span
    found: dict[str, Datapoints] = {}
    for period, of_period in spans.items():
        found.update(_read(client, of_period, period))
    return found


def _read(client: Any, spans: Mapping[str, tuple[int, int]], period: int) -> dict[str, Datapoints]:
    """Return the datapoints of instances, each within its span."""
    starts: dict[str, list[int]] = {identifier: [] for identifier in spans}
    names = list(spans)
    for first in range(0, len(names), BATCH):
        part = names[first : first + BATCH]
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[_query(identifier, number, period) for number, identifier in enumerate(part)],
            StartTime=_moment(min(spans[identifier][0] for identifier in part) // period * period),
            EndTime=_moment(-(-max(spans[identifier][1] for identifier in part) // period) * period),
            ScanBy="TimestampAscending",
        )
        for result in (result for page in pages for result in page["MetricDataResults"]):
            identifier = part[int(result["Id"][1:])]
            if result.get("StatusCode") in ("Forbidden", "InternalError"):
                detail = f"StatusCheckFailed of {identifier}"
                raise ReadError(OTHER, "cloudwatch:GetMetricData", "", result["StatusCode"], detail)
            begin, end = spans[identifier]
            points = (_seconds(moment) for moment in result.get("Timestamps", []))
            starts[identifier] += [point for point in points if begin - period < point < end]
    return {identifier: Datapoints(points, period) for identifier, points in starts.items()}


def _query(identifier: str, number: int, period: int) -> dict[str, Any]:
    """Return the query of one instance. SampleCount exists wherever the metric has data."""
    metric = {
        "Namespace": "AWS/EC2",
        "MetricName": "StatusCheckFailed",
        "Dimensions": [{"Name": "InstanceId", "Value": identifier}],
    }
    return {"Id": f"m{number}", "MetricStat": {"Metric": metric, "Period": period, "Stat": "SampleCount"}}


def _moment(when: int) -> datetime:
    """Return a time."""
    return datetime.fromtimestamp(when, timezone.utc)
