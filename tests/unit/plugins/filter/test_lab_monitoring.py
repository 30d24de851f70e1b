# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which alarms and which dashboard a lab gets, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_monitoring import FilterModule

FIRST, SECOND = "i-0123456789abcdef0", "i-0123456789abcdef1"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:operators"
LAB: dict[str, Any] = {
    "name": "robo",
    "region": "eu-central-1",
    "account_id": "123456789012",
    "instances": [
        {"name": "robo-1", "instance_id": FIRST, "recover": True},
        {"name": "crane", "instance_id": SECOND, "gpus": 2},
    ],
    "alarm_topics": [TOPIC],
    "log_groups": ["/digital-twin/robo/bootstrap"],
}


def plan(**given: Any) -> dict[str, Any]:
    """Return what watches the lab, but for what is given."""
    planned: dict[str, Any] = FilterModule().filters()["lab_monitoring"]({**LAB, **given})
    return planned


def alarms(**given: Any) -> dict[str, dict[str, Any]]:
    """Return the alarms by name."""
    planned = plan(**given)
    assert planned["problems"] == []
    return {alarm["name"]: alarm for alarm in planned["alarms"]}


def test_every_host_has_its_alarms() -> None:
    ends = ("gpu-idle", "heartbeat", "status-check", "gpu-0-hot", "gpu-0-memory", "gpu-1-hot", "gpu-1-memory")
    assert list(alarms()) == [f"robo-1-{end}" for end in ends[:5]] + [f"robo-crane-{end}" for end in ends]
    assert alarms(instances=[]) == {}


def test_an_idle_instance_is_stopped_and_a_silent_one_is_not() -> None:
    idle = alarms()["robo-1-gpu-idle"]
    assert idle["alarm_actions"] == ["arn:aws:automate:eu-central-1:ec2:stop", TOPIC]
    assert idle["ok_actions"] == []
    assert idle["dimensions"] == {"GpuIndex": "0", "InstanceId": FIRST}
    planned = (idle["namespace"], idle["metric_name"], idle["statistic"], idle["comparison"], idle["threshold"])
    assert planned == ("DigitalTwin", "GPUUtilization", "Maximum", "LessThanThreshold", 5.0)
    # An hour of five minutes each; no data is no idleness.
    assert (idle["period"], idle["evaluation_periods"], idle["treat_missing_data"]) == (300, 12, "notBreaching")
    assert alarms(idle_stop=False)["robo-1-gpu-idle"]["alarm_actions"] == [TOPIC]
    assert alarms(idle_minutes=1440)["robo-1-gpu-idle"]["evaluation_periods"] == 288


IDLE_HOSTS: list[dict[str, Any]] = [
    {"name": "robo-1", "instance_id": FIRST},
    {"name": "robo-2", "instance_id": SECOND, "uses_gpu": False},
]


@pytest.mark.parametrize(
    ("idle_stop", "stopped", "watched"),
    [
        ("auto", ["robo-1"], ["robo-1"]),
        (True, ["robo-1", "robo-2"], ["robo-1", "robo-2"]),
        ("yes", ["robo-1", "robo-2"], ["robo-1", "robo-2"]),
        (False, [], ["robo-1", "robo-2"]),
        # From the command line.
        ("false", [], ["robo-1", "robo-2"]),
    ],
)
def test_a_host_whose_work_leaves_the_gpu_idle_is_stopped_on_request_only(
    idle_stop: object, stopped: list[str], watched: list[str]
) -> None:
    planned = alarms(instances=IDLE_HOSTS, idle_stop=idle_stop)
    idle = {name.removesuffix("-gpu-idle"): alarm for name, alarm in planned.items() if name.endswith("-gpu-idle")}
    assert list(idle) == watched
    assert [
        name for name, alarm in idle.items() if any(":ec2:stop" in action for action in alarm["alarm_actions"])
    ] == stopped


def test_the_report_is_made_from_the_existing_alarms() -> None:
    def found(**more: Any) -> list[dict[str, Any]]:
        planned = alarms(instances=IDLE_HOSTS)["robo-1-gpu-idle"]
        return [{**planned, "alarm_name": planned["name"], **more}]

    def report(there: list[dict[str, Any]], **given: Any) -> list[str]:
        lab = {**LAB, "instances": IDLE_HOSTS, **given}
        lines: list[str] = FilterModule().filters()["lab_monitoring"](lab, {"alarms": there})["report"]
        return lines

    other = "robo-2 is not stopped when its GPU is idle: its work leaves the GPU idle."
    assert report(found()) == [
        "robo-1 is stopped when none of its GPUs is busier than 5 % for 60 minutes, even while users are logged in. "
        f"Notified: {TOPIC}.",
        other,
        "To turn this off: aws_monitoring_idle_stop=false, and apply the alarms again. For one long job: "
        "aws cloudwatch disable-alarm-actions --region eu-central-1 --alarm-names robo-1-gpu-idle",
    ]
    stop = ["arn:aws:automate:eu-central-1:ec2:stop"]
    assert "Notified: no one, as aws_monitoring_alarm_topics is empty." in report(found(alarm_actions=stop))[0]
    suspended = "robo-1 is not stopped: the actions of the alarm robo-1-gpu-idle are switched off."
    assert report(found(actions_enabled=False)) == [suspended, other]
    assert report([]) == ["robo-1 is not stopped when its GPU is idle.", other]
    assert report(found(alarm_actions=[TOPIC]), idle_stop=False)[1] == "robo-2 is not stopped when its GPU is idle."


def test_the_alarm_of_a_host_with_a_guard_is_a_backstop() -> None:
    instances = [{**host, "guarded": True} for host in IDLE_HOSTS]
    idle = alarms(instances=instances)["robo-1-gpu-idle"]
    assert (idle["period"], idle["evaluation_periods"]) == (300, 288)
    assert "for 1440 minutes" in idle["description"]
    stopped = alarms(instances=instances, idle_stop=False)["robo-1-gpu-idle"]
    assert (stopped["evaluation_periods"], stopped["alarm_actions"]) == (12, [TOPIC]), "it only notifies"
    lab = {**LAB, "instances": instances, "idle_minutes": 30}
    report = FilterModule().filters()["lab_monitoring"]
    guard = "robo-1 is stopped by its guard when it was not used for 30 minutes, after a warning."
    other = "robo-2 is not stopped when its GPU is idle: its work leaves the GPU idle."
    lines = report(lab, {"alarms": [{**idle, "alarm_name": idle["name"]}]})["report"]
    assert lines[0] == guard
    assert lines[1].startswith("robo-1 is also stopped when none of its GPUs is busier than 5 % for 1440 minutes, even")
    assert lines[2] == other
    assert report(lab, {"alarms": []})["report"] == [guard, other]


def test_several_gpus_are_idle_together_or_not_at_all() -> None:
    """CloudWatch stops instances by alarms on one metric only: the one that holds the samples of all GPUs."""
    idle = alarms()["robo-crane-gpu-idle"]
    assert idle["dimensions"] == {"InstanceId": SECOND}
    assert (idle["metric_name"], idle["statistic"]) == ("GPUUtilization", "Maximum")
    assert all("metrics" not in alarm for alarm in alarms().values())


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")],
)
def test_actions_are_of_the_regions_partition(region: str, partition: str) -> None:
    topic = f"arn:{partition}:sns:{region}:123456789012:operators"
    planned = alarms(region=region, alarm_topics=[topic])
    assert planned["robo-1-gpu-idle"]["alarm_actions"][0] == f"arn:{partition}:automate:{region}:ec2:stop"
    assert planned["robo-1-status-check"]["alarm_actions"][0] == f"arn:{partition}:automate:{region}:ec2:recover"
    told_alarms = plan(region=region, alarm_topics=[topic])["dashboard"]["widgets"][1]["properties"]["alarms"]
    assert told_alarms[0] == f"arn:{partition}:cloudwatch:{region}:123456789012:alarm:robo-1-gpu-idle"


def test_a_silent_host_causes_an_alarm() -> None:
    heartbeat = alarms(heartbeat_minutes=7)["robo-1-heartbeat"]
    assert (heartbeat["metric_name"], heartbeat["dimensions"]) == ("Heartbeat", {"InstanceId": FIRST})
    planned = (heartbeat["statistic"], heartbeat["comparison"], heartbeat["threshold"], heartbeat["treat_missing_data"])
    assert planned == ("Minimum", "LessThanThreshold", 1.0, "breaching")
    assert (heartbeat["period"], heartbeat["evaluation_periods"]) == (60, 7)
    assert heartbeat["alarm_actions"] == heartbeat["ok_actions"] == [TOPIC]


def test_each_hot_or_full_gpu_causes_an_alarm() -> None:
    planned = alarms(temperature=80, memory_percent=90)
    for name, metric, threshold in (("hot", "GPUTemperature", 80.0), ("memory", "GPUMemoryUsedPercent", 90.0)):
        alarm = planned[f"robo-crane-gpu-1-{name}"]
        assert alarm["dimensions"] == {"GpuIndex": "1", "InstanceId": SECOND}
        assert (alarm["metric_name"], alarm["threshold"]) == (metric, threshold)
        assert (alarm["comparison"], alarm["evaluation_periods"]) == ("GreaterThanOrEqualToThreshold", 5)


def test_broken_hardware() -> None:
    alarm = alarms()["robo-1-status-check"]
    assert (alarm["namespace"], alarm["metric_name"]) == ("AWS/EC2", "StatusCheckFailed_System")
    assert alarm["alarm_actions"] == ["arn:aws:automate:eu-central-1:ec2:recover", TOPIC]
    assert alarms(recover=False)["robo-1-status-check"]["alarm_actions"] == [TOPIC]


def test_an_instance_that_cannot_be_recovered_only_notifies() -> None:
    """CloudWatch refuses such an alarm when it is put."""
    assert alarms()["robo-crane-status-check"]["alarm_actions"] == [TOPIC]


def test_only_published_metrics_have_alarms() -> None:
    planned = alarms(metrics=["GPUTemperature"], idle_stop=False, heartbeat_minutes=2, flush_interval=60)
    ends = ("robo-1-status-check", "robo-1-gpu-0-hot")
    assert [name for name in planned if name.startswith("robo-1-")] == list(ends)
    assert alarms(heartbeat_minutes=5, flush_interval=120).keys() == alarms().keys()


def test_alarms_have_the_dimensions_of_the_publisher() -> None:
    planned = alarms(dimensions={"Lab": "robo", "Cell": 7}, namespace="Fleet")
    assert planned["robo-1-gpu-0-hot"]["dimensions"] == {
        "Cell": "7",
        "GpuIndex": "0",
        "InstanceId": FIRST,
        "Lab": "robo",
    }
    assert list(planned["robo-1-heartbeat"]["dimensions"]) == ["Cell", "InstanceId", "Lab"]
    assert {alarm["namespace"] for alarm in planned.values()} == {"Fleet", "AWS/EC2"}
    # EC2 knows nothing of it.
    assert planned["robo-1-status-check"]["dimensions"] == {"InstanceId": FIRST}


def test_the_description_distinguishes_labs_of_similar_names() -> None:
    """Lab robo's host robo-2 and lab robo-2 share the beginning of their alarms' names."""
    short = plan(instances=[{"name": "robo-2", "instance_id": FIRST}])
    long = plan(name="robo-2", instances=[{"name": "robo-2-1", "instance_id": SECOND}], log_groups=[])
    assert all(alarm["name"].startswith("robo-2-") for alarm in short["alarms"] + long["alarms"])
    for mine, other in ((short, long), (long, short)):
        assert all(alarm["description"].endswith(mine["marker"]) for alarm in mine["alarms"])
        assert not any(alarm["description"].endswith(other["marker"]) for alarm in mine["alarms"])
    assert not long["log_prefix"].startswith(short["log_prefix"])


def as_returned(alarm: dict[str, Any]) -> dict[str, Any]:
    """Return an alarm of the plan as cloudwatch_metric_alarm_info does."""
    renamed = {"name": "alarm_name", "description": "alarm_description", "comparison": "comparison_operator"}
    planned = {renamed.get(key, key): value for key, value in alarm.items()}
    rows = [{"name": name, "value": value} for name, value in reversed(alarm["dimensions"].items())]
    return {**planned, "dimensions": rows, "insufficient_data_actions": [], "state_value": "OK"}


def sorted_names(found: list[dict[str, Any]], **given: Any) -> dict[str, list[str]]:
    """Return the names of alarms by the planned change."""
    planned = FilterModule().filters()["lab_monitoring"]({**LAB, **given}, {"alarms": found})
    return {kind: planned[kind] for kind in ("own", "foreign", "excess", "differing")}


def test_only_what_differs_is_written() -> None:
    found = [as_returned(alarm) for alarm in plan()["alarms"]]
    names = list(alarms())
    assert sorted_names(found) == {"own": names, "foreign": [], "excess": [], "differing": []}
    assert sorted_names([]) == {"own": [], "foreign": [], "excess": [], "differing": names}
    assert sorted_names(found[1:])["differing"] == names[:1]
    changes: list[dict[str, Any]] = [
        {"threshold": 6.0},
        {"dimensions": []},
        {"alarm_actions": []},
        {"ok_actions": [TOPIC]},
        {"unit": "Percent"},
        {"datapoints_to_alarm": 1},
        {"treat_missing_data": "breaching"},
    ]
    for change in changes:
        assert sorted_names([{**found[0], **change}, *found[1:]])["differing"] == names[:1], change


def test_a_lab_that_moves_to_another_namespace_is_stopped_by_none_of_its_alarms() -> None:
    """There no data is yet: all alarms on metrics of the hosts move, and those that act take missing data for good."""
    moved = "DigitalTwin/robo"
    found = [as_returned(alarm) for alarm in plan(namespace="DigitalTwin")["alarms"]]
    there = alarms(namespace=moved)
    of_hosts = [name for name, alarm in there.items() if alarm["namespace"] == moved]
    assert sorted_names(found, namespace=moved)["differing"] == of_hosts
    assert len(of_hosts) == len(there) - len(LAB["instances"])
    acting = [alarm for alarm in there.values() if any(":ec2:stop" in action for action in alarm["alarm_actions"])]
    assert [alarm["treat_missing_data"] for alarm in acting] == ["notBreaching"] * len(LAB["instances"])


def test_alarms_that_are_no_longer_planned_are_excess() -> None:
    found = [as_returned(alarm) for alarm in plan()["alarms"]]
    fewer = sorted_names(found, instances=LAB["instances"][:1])
    assert (fewer["differing"], fewer["foreign"]) == ([], [])
    assert fewer["excess"] == [name for name in alarms() if name.startswith("robo-crane-")]


def test_what_is_not_the_labs_is_neither_removed_nor_replaced() -> None:
    neighbour = plan(name="robo-2", instances=[{"name": "robo-2-1", "instance_id": SECOND}], log_groups=[])
    found = [as_returned(alarm) for alarm in neighbour["alarms"]] + [{"alarm_name": "robo-budget"}]
    mine = sorted_names(found)
    assert (mine["own"], mine["foreign"], mine["excess"]) == ([], [], [])
    clash = sorted_names(found, instances=[{"name": "robo-2-1", "instance_id": FIRST}])
    assert clash["foreign"] == [alarm["name"] for alarm in neighbour["alarms"]]


def test_the_dashboard_shows_every_host_and_every_gpu() -> None:
    widgets = plan()["dashboard"]["widgets"]
    titles = [widget["properties"].get("title", "") for widget in widgets]
    of_host = ["alarms", "CPU", "GPU", "GPU memory", "GPU power and temperature", "Network", "Disk"]
    assert titles == ["", *(f"robo-1: {what}" for what in of_host), "", *(f"crane: {what}" for what in of_host)]
    by_title = dict(zip(titles, widgets, strict=True))
    lines = by_title["crane: GPU"]["properties"]["metrics"]
    assert lines == [
        ["DigitalTwin", "GPUUtilization", "GpuIndex", "0", "InstanceId", SECOND, {"label": "GPU 0"}],
        ["DigitalTwin", "GPUUtilization", "GpuIndex", "1", "InstanceId", SECOND, {"label": "GPU 1"}],
    ]
    shown = {(line[0], line[1]) for widget in widgets for line in widget["properties"].get("metrics", [])}
    assert shown == {
        ("AWS/EC2", "CPUUtilization"),
        ("AWS/EC2", "NetworkIn"),
        ("AWS/EC2", "NetworkOut"),
        ("AWS/EC2", "EBSReadBytes"),
        ("AWS/EC2", "EBSWriteBytes"),
        ("DigitalTwin", "GPUUtilization"),
        ("DigitalTwin", "GPUMemoryUsed"),
        ("DigitalTwin", "GPUMemoryUsedPercent"),
        ("DigitalTwin", "GPUPowerDraw"),
        ("DigitalTwin", "GPUTemperature"),
    }
    arns = {arn for widget in widgets for arn in widget["properties"].get("alarms", [])}
    assert {arn.rpartition(":")[2] for arn in arns} == set(alarms())


def test_every_heading_has_the_marker() -> None:
    """An account has one dashboard of a name, so that the region has to be planned as well."""
    planned = plan()
    headings = [
        widget["properties"]["markdown"] for widget in planned["dashboard"]["widgets"] if widget["type"] == "text"
    ]
    assert len(headings) == len(LAB["instances"])
    assert all(planned["dashboard_marker"] in heading for heading in headings)
    for other in ({"name": "robo-2", "log_groups": []}, {"region": "us-east-1", "alarm_topics": []}):
        assert plan(**other)["dashboard_marker"] not in headings[0]


def test_no_widget_covers_another() -> None:
    covered = [
        (x, y)
        for widget in plan()["dashboard"]["widgets"]
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(covered) == len(set(covered))
    assert max(x for x, y in covered if y >= 0) < 24


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"name": "robo-*"}, 'name: "robo-*" is not a lab\'s name. Allowed: 3 to 32 lowercase'),
        ({"region": "here"}, 'region: "here" is not a region. '),
        ({"namespace": "AWS/EC2"}, 'namespace: "AWS/EC2" is not a namespace of metrics. '),
        ({"dimensions": {"GpuIndex": "1"}}, 'dimensions: "GpuIndex" is reserved for the publisher. '),
        ({"dimensions": {"Zelle": "süd"}}, 'dimensions: {"Zelle": "süd"} is not a dimension. '),
        (
            {"dimensions": {f"d{n}": "x" for n in range(29)}},
            "dimensions: 29 are too many dimensions. Allowed: at most 28",
        ),
        ({"tags": {"managed_by": "me"}}, 'tags: "managed_by" is a key reserved for the lab or AWS. '),
        ({"tags": {"cost": 7}}, 'tags: 7 (the value of "cost") is not text. Allowed: text. Put it in quotes: "7"'),
        ({"instances": [{"name": "a b", "instance_id": FIRST}]}, 'instances: "a b" is not a host\'s name. '),
        ({"instances": [{"name": "a", "instance_id": "i-7"}]}, 'instances: "i-7" is not an instance\'s id (host a). '),
        (
            {"instances": [{"name": "a", "instance_id": FIRST, "gpus": 0}]},
            "instances: 0 is not a number of GPUs (host a)",
        ),
        (
            {"instances": [{"name": "robo-1", "instance_id": FIRST}, {"name": "1", "instance_id": SECOND}]},
            f'instances: "{SECOND}" occurs twice. ',
        ),
        (
            {"instances": [{"name": "a", "instance_id": FIRST}, {"name": "b", "instance_id": FIRST}]},
            f'instances: "{FIRST}" occurs twice. ',
        ),
        ({"idle_minutes": 7}, "idle_minutes: 7 is out of range. Allowed: 10 to 1440 minutes. Choose 10 or more"),
        (
            {"idle_minutes": 12},
            "idle_minutes: 12 is not a multiple of 5. Allowed: 10 to 1440 in steps of 5. Choose 15",
        ),
        ({"idle_minutes": 1445}, "idle_minutes: 1445 is out of range. "),
        ({"idle_utilization": 0}, "idle_utilization: 0 is out of range. Allowed: 1 to 100 percent. "),
        ({"heartbeat_minutes": 1}, "heartbeat_minutes: 1 is out of range. "),
        (
            {"heartbeat_minutes": 5, "flush_interval": 121},
            "heartbeat_minutes: 5 is too short for a publisher that writes every 121 s. Allowed: 6 or more. ",
        ),
        ({"flush_interval": 0}, "flush_interval: 0 is out of range. Allowed: 1 to 3600 seconds. "),
        ({"metrics": ["Heartbeat"]}, 'idle_stop: "auto" needs the metric GPUUtilization, which is not published. '),
        ({"idle_stop": True, "metrics": ["Heartbeat"]}, "idle_stop: true needs the metric GPUUtilization, "),
        (
            {"idle_stop": "sometimes"},
            'idle_stop: "sometimes" is not valid. Allowed: auto (the hosts whose work keeps a GPU busy), true (all ',
        ),
        ({"idle_stop": None}, "idle_stop: null is not valid. "),
        (
            {"instances": [{"name": "a", "instance_id": FIRST, "gpus": "two"}]},
            "instances: 0 is not a number of GPUs (host a)",
        ),
        ({"instances": [{"name": "a"}]}, 'instances: "" is not an instance\'s id (host a). '),
        ({"temperature": 200}, "temperature: 200 is out of range. Allowed: 40 to 120 degrees Celsius. "),
        ({"memory_percent": 101}, "memory_percent: 101 is out of range. "),
        ({"log_retention_days": 31}, "log_retention_days: 31 is not a number of days that CloudWatch Logs accepts. "),
        ({"log_groups": ["/aws/lambda/x"]}, 'log_groups: "/aws/lambda/x" is not a log group of this lab. '),
        ({"log_groups": ["/digital-twin/robo-2/x"]}, 'log_groups: "/digital-twin/robo-2/x" is not a log group of this'),
        ({"log_groups": ["/digital-twin/robo/"]}, 'log_groups: "/digital-twin/robo/" is not a log group of this lab. '),
        ({"alarm_topics": ["operators"]}, 'alarm_topics: "operators" is not the ARN of an SNS topic. '),
        (
            {"alarm_topics": [TOPIC.replace("eu-central-1", "us-east-1")]},
            'alarm_topics: "arn:aws:sns:us-east-1:123456789012:operators" is not in eu-central-1, ',
        ),
        ({"alarm_topics": [TOPIC] * 5}, "alarm_topics: 5 topics are too many, "),
    ],
)
def test_invalid_values(given: dict[str, Any], line: str) -> None:
    planned = plan(**given)
    assert any(problem.startswith(f"aws_monitoring_{line}") for problem in planned["problems"]), planned["problems"]
    assert all(re.fullmatch(r"[^;]+\. Allowed: .+\. .+\.", problem) for problem in planned["problems"])
    assert (planned["alarms"], planned["dashboard"]) == ([], {})


def compared(state: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Return the plan with what CloudWatch holds."""
    planned: dict[str, Any] = FilterModule().filters()["lab_monitoring"]({**LAB, **given}, state)
    return planned


def applied(**given: Any) -> dict[str, Any]:
    """Return the state of CloudWatch after the plan was applied."""
    planned = plan(**given)
    groups = [{"name": name, "retention_days": 30, "tags": planned["tags"]} for name in LAB["log_groups"]]
    return {
        "alarms": [as_returned(alarm) for alarm in planned["alarms"]],
        "log_groups": groups,
        "dashboards": [{"name": planned["dashboard_name"], "body": planned["dashboard"]}],
    }


GROUP = "/digital-twin/robo/bootstrap"
OTHERS_DASHBOARD = [{"name": "digital-twin-robo", "body": {"widgets": []}}]


def test_nothing_differs_after_the_plan_was_applied() -> None:
    planned = compared(applied())
    assert (planned["differences"], planned["conflicts"], planned["log_groups"], planned["dashboard_differs"]) == (
        [],
        [],
        [],
        False,
    )
    assert planned["existing"] == [
        *(f"alarm {name}" for name in alarms()),
        "dashboard digital-twin-robo",
        f"log group {GROUP}",
    ]
    assert (planned["dashboard_state"], planned["own_log_groups"]) == ("own", [GROUP])


def test_everything_differs_in_an_empty_account() -> None:
    planned = compared({})
    assert planned["differences"] == [
        f"log group {GROUP}",
        *(f"alarm {name}" for name in alarms()),
        "dashboard digital-twin-robo",
    ]
    assert (planned["existing"], planned["conflicts"], planned["dashboard_state"]) == ([], [], "absent")


@pytest.mark.parametrize(
    ("change", "given", "difference", "exists"),
    [
        ({"retention_days": 1}, {}, "retention of ", True),
        ({"retention_days": 0}, {}, "retention of ", True),
        ({}, {"log_retention_days": "30"}, None, True),
        ({"tags": {}}, {}, "tags of ", True),
        ({"tags": {"digital_twin_lab": "robo", "managed_by": "me"}}, {}, "tags of ", True),
        ({}, {"tags": {"team": "robotics"}}, "tags of ", True),
        ({"name": "/digital-twin/robo/x"}, {}, "", False),
    ],
)
def test_a_log_group_that_differs(
    change: dict[str, Any], given: dict[str, Any], difference: str | None, *, exists: bool
) -> None:
    state = applied()
    state["log_groups"][0] |= change
    planned = compared(state, **given)
    assert planned["differences"] == ([] if difference is None else [f"{difference}log group {GROUP}"])
    assert planned["log_groups"] == (
        [] if difference is None else [{"name": GROUP, "exists": exists, "differences": [difference]}]
    )


def test_further_tags_of_a_log_group_are_ignored() -> None:
    state = applied()
    state["log_groups"][0]["tags"] = {**state["log_groups"][0]["tags"], "cost": "7"}
    assert compared(state)["differences"] == []


def test_a_changed_dashboard_differs() -> None:
    state = applied()
    state["dashboards"][0]["body"] = {"widgets": plan()["dashboard"]["widgets"][:1]}
    planned = compared(state)
    assert planned["differences"] == ["dashboard digital-twin-robo"]
    assert (planned["dashboard_state"], planned["dashboard_differs"]) == ("own", True)


@pytest.mark.parametrize("given", [{"dashboard": False}, {"dashboard": "no"}, {"instances": []}])
def test_a_dashboard_that_is_no_longer_planned_is_deleted_if_it_is_the_labs(given: dict[str, Any]) -> None:
    planned = compared(applied(), **given)
    assert (planned["dashboard_wanted"], planned["dashboard_differs"]) == (False, True)
    planned = compared({**applied(), "dashboards": OTHERS_DASHBOARD}, **given)
    assert (planned["dashboard_differs"], planned["conflicts"], planned["dashboard_state"]) == (False, [], "foreign")
    assert compared({}, **given)["dashboard_differs"] is False


def test_alarms_and_dashboards_of_others_are_conflicts() -> None:
    others = [{"alarm_name": "robo-1-heartbeat"}, {"alarm_name": "robo-1-budget"}]
    planned = compared({"alarms": others, "dashboards": OTHERS_DASHBOARD})
    assert planned["conflicts"] == [
        "aws_monitoring_instances: robo-1-heartbeat already exist and do not belong to this lab. Allowed: names that "
        "no other alarm in eu-central-1 has. Rename the hosts, or delete these alarms.",
        'aws_monitoring_name: "robo" needs the dashboard digital-twin-robo, which already exists and does not belong '
        "to this lab in eu-central-1. Allowed: a name that no other lab or dashboard of the account has, whatever its "
        "region. Rename the lab, delete that dashboard, or set aws_monitoring_dashboard=false.",
    ]


def test_numbers_may_be_text() -> None:
    """Values of -e are text."""
    assert alarms(idle_minutes="60", temperature="85", recover="true") == alarms()
