# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of a lab's usage against a local AWS: what it holds, when it is written, and what it costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_month_cost import lab_month_cost
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.entries import Entry, merge
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.record import (
    month_of,
    read_month,
    write_month,
)
from ansible_collections.digital_twin.robotics_lab.plugins.modules import lab_usage, lab_usage_info

from tests.support.local_aws import LocalAws, running
from tests.support.run_module import runner
from tests.support.small_lab import SmallLab

Run = Callable[..., dict[str, Any]]
NAMES = (f"lab-{number}" for number in itertools.count(1))
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as local:
        yield local


@pytest.fixture
def lab(aws: LocalAws) -> SmallLab:
    made = SmallLab(aws, next(NAMES)).make()
    aws.calls()
    return made


@pytest.fixture
def run(aws: LocalAws, lab: SmallLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(aws, lab_usage.main, monkeypatch, capsys, name=lab.name)


@pytest.fixture
def read(aws: LocalAws, lab: SmallLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(aws, lab_usage_info.main, monkeypatch, capsys, name=lab.name)


def mutating(aws: LocalAws) -> list[str]:
    """Return the changing calls since the last time."""
    return [call["action"] for call in aws.calls() if call["mutating"]]


def parameters(aws: LocalAws, name: str) -> dict[str, str]:
    """Return the texts of a lab's record by their names."""
    pages = aws.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=f"/digital-twin/{name}/usage")
    return {item["Name"]: item["Value"] for page in pages for item in page["Parameters"]}


def recorded(aws: LocalAws, lab: SmallLab) -> list[Entry]:
    """Return the entries of all months of a lab's record."""
    return merge(*(read_month(text) for text in parameters(aws, lab.name).values()))


def of_kind(result: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the entries of a kind."""
    return [entry for entry in result["entries"] if entry["kind"] == kind]


def test_twice_and_in_check_mode(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    watch = aws.client("cloudwatch").put_metric_alarm
    for name, instance in ((f"{lab.name}-1-idle", lab.ids["instance"]), (f"{lab.name}-2-1-idle", "i-of-another-lab")):
        watch(
            AlarmName=name,
            Namespace="AWS/EC2",
            MetricName="StatusCheckFailed",
            Statistic="Maximum",
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
            Period=60,
            EvaluationPeriods=2,
            Dimensions=[{"Name": "InstanceId", "Value": instance}],
        )
    aws.calls()
    would = run(check=True)
    assert (would["changed"], mutating(aws)) == (True, [])
    assert parameters(aws, lab.name) == {}

    first = run()
    (name,) = first["parameters"]
    assert name == would["parameters"][0] == f"/digital-twin/{lab.name}/usage/{first['month']}-1"
    assert mutating(aws) == ["PutParameter"]
    found = {entry["kind"]: entry for entry in first["entries"]}
    assert sorted(found) == ["address", "alarm", "instance", "volume"]
    assert found["alarm"]["what"] == "1"
    assert (found["instance"]["identifier"], found["instance"]["what"]) == (lab.ids["instance"], "g5.xlarge/on-demand")
    assert found["volume"]["what"] == "gp3/200/3000/125"
    assert {entry["end"] for entry in first["entries"]} == {"open"}
    tags = aws.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == lab.tags

    text = parameters(aws, lab.name)
    again = run()
    assert (again["changed"], mutating(aws), parameters(aws, lab.name)) == (False, [], text)
    assert [entry["identifier"] for entry in again["entries"]] == [entry["identifier"] for entry in first["entries"]]


def test_a_replaced_instance_keeps_its_hours(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    """It ran for ten days until now, is terminated, and EC2 forgets it. The next one has run for some seconds."""
    now = datetime.now(UTC)
    start = now - 10 * DAY
    aws.control("POST", "runs", {"instance": lab.ids["instance"], "start": start.isoformat()})
    run()
    ec2 = aws.client("ec2")
    ec2.terminate_instances(InstanceIds=[lab.ids["instance"]])
    aws.control("POST", "runs/forget")
    known = [item["InstanceId"] for group in ec2.describe_instances()["Reservations"] for item in group["Instances"]]
    assert lab.ids["instance"] not in known
    other = lab.launch("g6.xlarge")
    result = run()
    assert result["changed"]
    first, second = sorted(of_kind(result, "instance"), key=lambda entry: entry["start"])
    assert (first["identifier"], first["end"]) == (lab.ids["instance"], "metrics")
    assert abs(first["seen"] - first["start"] - 10 * 86400) <= 180
    assert (second["identifier"], second["what"], second["end"]) == (other, "g6.xlarge/on-demand", "open")
    # 1.006 for each hour of the first, as far as it is in this month.
    cost = lab_month_cost(result["record"], result["month"], "us-east-1", datetime.fromisoformat(result["now"]))
    begin = max(start, now.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    assert cost["cost"]["instances"] == pytest.approx((now - begin).total_seconds() / 3600 * 1.006, abs=0.1)
    assert not run()["changed"]


def test_a_console_started_and_stopped_it(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    run()
    ec2, identifier = aws.client("ec2"), lab.ids["instance"]
    ec2.stop_instances(InstanceIds=[identifier])
    # Two further runs in between, of which EC2 reports nothing.
    base = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=3)
    for days in (0, 1):
        start = base + days * DAY
        end = start + timedelta(hours=2)
        aws.control("POST", "runs", {"instance": identifier, "start": start.isoformat(), "end": end.isoformat()})
    result = run()
    ended = [entry for entry in of_kind(result, "instance") if entry["end"] == "ec2"]
    assert [entry["reason"] for entry in ended] == ["Client.UserInitiatedShutdown"]
    assert not run()["changed"]

    ec2.start_instances(InstanceIds=[identifier])
    result = run()
    assert [entry["end"] for entry in of_kind(result, "instance")].count("open") == 1
    assert result["changed"]
    assert not run()["changed"]


def test_runs_that_only_metrics_show(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    """No run of the collection for five days, in which a console stopped the instance twice and started it again."""
    identifier, ec2 = lab.ids["instance"], aws.client("ec2")
    base = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=5)
    start = int(base.timestamp())
    month = month_of(start)
    (text,) = write_month([Entry("instance", identifier, "g5.xlarge/on-demand", start, start + 600)], month)
    name = f"/digital-twin/{lab.name}/usage/{month}-1"
    aws.client("ssm").put_parameter(Name=name, Value=text, Type="String")
    ec2.stop_instances(InstanceIds=[identifier])
    ec2.start_instances(InstanceIds=[identifier])
    spans = [(base, base + timedelta(hours=1)), (base + DAY, base + DAY + timedelta(hours=3))]
    for begin, end in spans:
        given = {"instance": identifier, "start": begin.isoformat(), "end": end.isoformat()}
        aws.control("POST", "runs", given)
    assert run()["changed"]
    runs = [entry for entry in recorded(aws, lab) if entry.kind == "instance"]
    found = [(entry.end, round((entry.seen - entry.start) / 3600, 1)) for entry in runs]
    # The run between launch and stop in this test took less than a minute.
    assert found[:2] == [("metrics", 1.0), ("metrics", 3.0)]
    assert (runs[-1].end, runs[-1].exact) == ("open", True)
    assert all(entry.seen - entry.start < 180 for entry in runs[2:])
    assert not run()["changed"]


def test_a_grown_and_a_deleted_volume(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    ec2 = aws.client("ec2")
    extra = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=50, VolumeType="gp2", TagSpecifications=lab.specification("volume")
    )["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=extra, TagSpecifications=lab.specification("snapshot"))["SnapshotId"]
    result = run()
    assert {entry["what"] for entry in of_kind(result, "volume")} == {"gp3/200/3000/125", "gp2/50/150"}
    (kept,) = of_kind(result, "snapshot")
    assert (kept["identifier"], kept["what"]) == (snapshot, "50")
    ec2.delete_volume(VolumeId=extra)
    result = run()
    assert result["changed"]
    assert {entry["what"]: entry["end"] for entry in of_kind(result, "volume")} == {
        "gp3/200/3000/125": "open",
        "gp2/50/150": "seen",
    }
    assert not run()["changed"]


def test_a_data_volume_counts_when_it_is_recorded(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    ec2 = aws.client("ec2")
    own, copy = (
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=size, VolumeType="gp2")["VolumeId"] for size in (60, 70)
    )
    tags = [*lab.specification("volume")[0]["Tags"], {"Key": "digital_twin_data", "Value": "true"}]
    ec2.create_tags(Resources=[own, copy], Tags=tags)
    record = [{"Key": "digital_twin_data_volumes_1", "Value": f"1={own}"}]
    aws.client("iam").tag_role(RoleName=f"{lab.name}-instance", Tags=record)
    assert {entry["what"] for entry in of_kind(run(), "volume")} == {"gp3/200/3000/125", "gp2/60/180"}


def test_another_lab_is_untouched(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    """Also one whose name begins with that of this lab, and an instance that only carries this lab's tags."""
    ec2, ssm = aws.client("ec2"), aws.client("ssm")
    for name in (f"{lab.name}-b", "lab"):
        ssm.put_parameter(Name=f"/digital-twin/{name}/usage/2026-10-1", Value="1 2026-10", Type="String")
    ssm.put_parameter(Name=f"/digital-twin/{lab.name}/other", Value="mine", Type="String")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    stranger = lab.launch(subnet=ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"])
    result = run()
    assert stranger not in {entry["identifier"] for entry in result["entries"]}
    assert len(of_kind(result, "volume")) == 1

    gone = run(state="absent")
    assert (gone["changed"], parameters(aws, lab.name)) == (True, {})
    assert not run(state="absent")["changed"]
    for name in (f"{lab.name}-b", "lab"):
        assert parameters(aws, name)
    assert ssm.get_parameter(Name=f"/digital-twin/{lab.name}/other")["Parameter"]["Value"] == "mine"
    ec2.terminate_instances(InstanceIds=[stranger])


def test_what_is_not_a_record_stays(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    ssm = aws.client("ssm")
    month = time.strftime("%Y-%m", time.gmtime())
    name = f"/digital-twin/{lab.name}/usage/{month}-1"
    ssm.put_parameter(Name=name, Value="of someone else", Type="String")
    result = run()
    assert result["failed"]
    assert name in result["msg"]
    gone = run(state="absent")
    assert (gone["changed"], gone["foreign"]) == (False, [name])
    assert parameters(aws, lab.name) == {name: "of someone else"}


def test_many_entries_have_several_parts(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    ec2 = aws.client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    made = [
        ec2.create_snapshot(VolumeId=volume, TagSpecifications=lab.specification("snapshot"))["SnapshotId"]
        for _number in range(110)
    ]
    run()
    texts = parameters(aws, lab.name)
    assert len(texts) >= 2
    assert max(map(len, texts.values())) <= 4096
    assert not run()["changed"]
    assert len(of_kind(run(), "snapshot")) == len(made)
    run(state="absent")
    assert parameters(aws, lab.name) == {}


def test_a_lab_that_does_not_exist_has_used_nothing(run: Run, aws: LocalAws) -> None:
    for check in (True, False):
        result = run(name="nothing", check=check)
        assert (result["changed"], result["entries"], mutating(aws)) == (False, [], [])


def test_a_denied_call_is_named(run: Run, aws: LocalAws) -> None:
    aws.inject(service="ssm", kind="denied", action="GetParametersByPath")
    try:
        result = run()
    finally:
        aws.mend()
    assert "ssm:GetParametersByPath" in result["msg"]
    assert "denied" in result["msg"]


def test_the_record_is_read_as_it_was_written(run: Run, read: Run, aws: LocalAws, lab: SmallLab) -> None:
    nothing = {"changed": False, "record": [], "parameters": [], "foreign": []}
    assert {key: read()[key] for key in nothing} == nothing
    ssm = aws.client("ssm")
    earlier, other = (f"/digital-twin/{lab.name}/usage/{name}" for name in ("2026-10-1", "notes"))
    ssm.put_parameter(Name=earlier, Value="1 2026-10", Type="String")
    ssm.put_parameter(Name=other, Value="mine", Type="String")
    written = run()
    for check in (True, False):
        found = read(check=check)
        assert found["parameters"] == [earlier, *written["parameters"]]
        assert found["record"] == ["1 2026-10", *written["record"]]
        assert found["foreign"] == [other]
        assert not found["changed"]
    aws.calls()
    read()
    assert [call["action"] for call in aws.calls()] == ["GetParametersByPath"]
    assert "is not the name of a lab" in read(name="Lab *")["msg"]
