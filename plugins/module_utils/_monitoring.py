# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What watches a lab: which alarms there are, and what the dashboard shows. Nothing here asks AWS anything.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab_problem import Problem, listed, shown

LAB_NAME = re.compile(r"(?=.{3,32}$)[a-z][a-z0-9-]+[a-z0-9]")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]+")
NAMESPACE = re.compile(r"(?!AWS/)[A-Za-z0-9._/#-][A-Za-z0-9._/#:-]{0,254}")
DIMENSION = re.compile(r"(?!:)[\x20-\x7e]{1,255}")
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
TOPIC = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
LOG_GROUP = re.compile(r"[A-Za-z0-9_/.#-]{1,512}")

# The publisher's own, and a lab's own: nobody may give them another meaning.
OWN_DIMENSIONS = ("InstanceId", "GpuIndex")
OWN_TAGS = ("digital_twin_lab", "managed_by")
# 30 a metric, of which two are the publisher's own.
MOST_DIMENSIONS = 28
# An alarm has five actions, and one of them may be to stop or to recover the instance.
MOST_TOPICS = 4
MOST_GPUS = 16
IDLE_PERIOD = 300
PERIOD = 60
# How many minutes in a row count as hot, or as full: a peak of a minute is neither.
LASTING = 5
# Those that both CloudWatch Logs and the module that sets them take. The module deletes the group at any other.
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653)
RANGES = {
    "idle_minutes": (10, 1440, "minutes"),
    "idle_utilization": (1, 100, "percent"),
    "heartbeat_minutes": (2, 1440, "minutes"),
    "temperature": (40, 120, "degrees Celsius"),
    "memory_percent": (1, 100, "percent"),
}

WIDTH, HEIGHT = 8, 6


@dataclass(frozen=True)
class Host:
    """A host of a lab, and how many GPUs it has."""

    name: str
    instance_id: str
    gpus: int


@dataclass(frozen=True)
class Lab:
    """A lab, and how it is to be watched.

    Attributes:
        account_id: The AWS account, for the ARNs of alarms.
        namespace: Where the publisher on the hosts writes its metrics.
        dimensions: What it adds to InstanceId and GpuIndex.
        alarm_topics: ARNs of the SNS topics that are told.
        idle_stop: Whether an idle instance is stopped.
        idle_minutes: After how long; a multiple of five.
        idle_utilization: Below which percentage of every GPU it is idle.
        heartbeat_minutes: After how many minutes without a heartbeat somebody is told.
        temperature: Degrees Celsius from which a GPU is hot.
        memory_percent: Percentage from which its memory is nearly full.
        recover: Whether AWS moves an instance to other hardware when its own fails.
        log_retention_days: How long log groups keep their events.
    """

    name: str
    region: str
    account_id: str
    namespace: str
    dimensions: dict[str, str]
    hosts: tuple[Host, ...]
    alarm_topics: tuple[str, ...]
    idle_stop: bool
    idle_minutes: int
    idle_utilization: int
    heartbeat_minutes: int
    temperature: int
    memory_percent: int
    recover: bool
    log_retention_days: int
    log_groups: tuple[str, ...]
    tags: dict[str, Any]

    @property
    def partition(self) -> str:
        """The partition that the region belongs to, as ARNs name it."""
        for prefix, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
            if self.region.startswith(prefix):
                return partition
        return "aws"

    @property
    def log_prefix(self) -> str:
        """What the names of all log groups of this lab begin with, and of no other."""
        return f"/digital-twin/{self.name}/"

    @property
    def marker(self) -> str:
        """How the description of this lab's alarms ends: names alone do not tell a lab from another."""
        return f"(digital_twin_lab: {self.name}, managed_by: digital_twin.robotics_lab)"


def check(lab: Lab) -> list[Problem]:
    """Return everything for which a lab cannot be watched as described."""
    return [*_check_names(lab), *_check_hosts(lab), *_check_numbers(lab), *_check_topics(lab), *_check_logs(lab)]


def _problem(option: str, value: object, reason: str, allowed: str, remedy: str) -> Problem:
    """Return what is wrong with the value of one of the role's variables."""
    return Problem(f"aws_monitoring_{option}", shown(value), reason, allowed, remedy)


def _check_names(lab: Lab) -> list[Problem]:
    """Check the lab's name, region, namespace, dimensions and tags."""
    problems = []
    if not LAB_NAME.fullmatch(lab.name):
        allowed = (
            "3 to 32 lowercase letters, digits and dashes, beginning with a letter and ending with a letter or digit"
        )
        problems.append(_problem("name", lab.name, "is not a lab's name", allowed, "choose such a name"))
    if not REGION.fullmatch(lab.region):
        allowed = "the name of a region such as us-east-1"
        problems.append(_problem("region", lab.region, "is not a region", allowed, "choose one"))
    if not NAMESPACE.fullmatch(lab.namespace):
        allowed = "1 to 255 letters, digits and ._-/#:, not beginning with a colon or AWS/"
        problems.append(
            _problem("namespace", lab.namespace, "is not a namespace of metrics", allowed, "use DigitalTwin")
        )
    for name, value in lab.dimensions.items():
        if name in OWN_DIMENSIONS:
            allowed = f"any name but {listed(list(OWN_DIMENSIONS))}"
            problems.append(_problem("dimensions", name, "is a dimension of the publisher's own", allowed, "rename it"))
        elif not DIMENSION.fullmatch(name) or not DIMENSION.fullmatch(str(value)):
            allowed = "names and values of 1 to 255 ASCII characters, not beginning with a colon"
            problems.append(_problem("dimensions", {name: value}, "is not a dimension", allowed, "correct it"))
    if len(lab.dimensions) > MOST_DIMENSIONS:
        reason = "are too many dimensions"
        allowed = f"at most {MOST_DIMENSIONS}"
        problems.append(_problem("dimensions", len(lab.dimensions), reason, allowed, "leave some out"))
    for key, value in lab.tags.items():
        if key in OWN_TAGS or key.lower().startswith("aws:"):
            allowed = "any other key"
            problems.append(
                _problem("tags", key, "is a key that the lab or AWS keeps for itself", allowed, "rename it")
            )
        elif not isinstance(value, str):
            reason = f"(the value of {shown(key)}) is not text"
            problems.append(_problem("tags", value, reason, "text", f"put it in quotes: {shown(str(value))}"))
    return problems


def _check_hosts(lab: Lab) -> list[Problem]:
    """Check the lab's hosts."""
    problems = []
    for index, host in enumerate(lab.hosts):
        if not HOST_NAME.fullmatch(host.name):
            allowed = "up to 100 letters, digits, dots, dashes and underscores"
            problems.append(_problem("instances", host.name, "is not a host's name", allowed, "correct it"))
        if not INSTANCE_ID.fullmatch(host.instance_id):
            allowed = "an instance's id such as i-0123456789abcdef0"
            reason = f"is not an instance's id (host {host.name})"
            problems.append(_problem("instances", host.instance_id, reason, allowed, "correct it"))
        if not 1 <= host.gpus <= MOST_GPUS:
            reason = f"is not a number of GPUs (host {host.name})"
            problems.append(_problem("instances", host.gpus, reason, f"1 to {MOST_GPUS}", "count them"))
        for earlier in lab.hosts[:index]:
            # Both parts of an alarm's identity: what it is called, and what it stops.
            if _title(lab, earlier) == _title(lab, host) or earlier.instance_id == host.instance_id:
                value = host.name if earlier.name == host.name else host.instance_id
                allowed = "each host once, by a name and an id of its own"
                problems.append(_problem("instances", value, "is there twice", allowed, "drop one of them"))
    return problems


def _check_numbers(lab: Lab) -> list[Problem]:
    """Check the thresholds and times."""
    problems = []
    for option, (least, most, unit) in RANGES.items():
        value = getattr(lab, option)
        if not least <= value <= most:
            allowed = f"{least} to {most} {unit}"
            remedy = f"choose {least} or more" if value < least else f"choose {most} or less"
            problems.append(_problem(option, value, "is out of range", allowed, remedy))
    if lab.idle_minutes % 5:
        least, most, _unit = RANGES["idle_minutes"]
        remedy = f"choose {max(least, lab.idle_minutes // 5 * 5 + 5)}"
        reason = "is not a multiple of 5"
        problems.append(_problem("idle_minutes", lab.idle_minutes, reason, f"{least} to {most} in steps of 5", remedy))
    return problems


def _check_topics(lab: Lab) -> list[Problem]:
    """Check the SNS topics: an alarm tells only those of its own region."""
    problems = []
    for topic in lab.alarm_topics:
        match = TOPIC.fullmatch(topic)
        allowed = f"arn:{lab.partition}:sns:{lab.region}:<account>:<topic>"
        if not match:
            problems.append(_problem("alarm_topics", topic, "is not the ARN of an SNS topic", allowed, "correct it"))
        elif match.groups() != (lab.partition, lab.region):
            reason = f"is not in {lab.region}, and an alarm tells topics of its own region only"
            problems.append(_problem("alarm_topics", topic, reason, allowed, "make a topic there"))
    if len(lab.alarm_topics) > MOST_TOPICS:
        reason = "topics are too many, as an alarm has five actions and one may be the instance's"
        allowed = f"at most {MOST_TOPICS}"
        problems.append(_problem("alarm_topics", len(lab.alarm_topics), reason, allowed, "let one topic tell several"))
    return problems


def _check_logs(lab: Lab) -> list[Problem]:
    """Check the log groups: all below the lab's own prefix are removed with it, and nothing else is."""
    problems = []
    if lab.log_retention_days not in RETENTIONS:
        allowed = listed([str(days) for days in RETENTIONS])
        reason = "is not a number of days that CloudWatch Logs takes"
        remedy = f"choose {min(RETENTIONS, key=lambda days: abs(days - lab.log_retention_days))}"
        problems.append(_problem("log_retention_days", lab.log_retention_days, reason, allowed, remedy))
    for group in lab.log_groups:
        if (
            not LOG_GROUP.fullmatch(group)
            or not group.removeprefix(lab.log_prefix)
            or not group.startswith(lab.log_prefix)
        ):
            allowed = f"{lab.log_prefix} and letters, digits or _/.#-"
            problems.append(_problem("log_groups", group, "is not a log group of this lab", allowed, "rename it"))
    return problems


def _title(lab: Lab, host: Host) -> str:
    """Return how the names of a host's alarms begin; a lab's name does not stand there twice."""
    return host.name if host.name.startswith(f"{lab.name}-") else f"{lab.name}-{host.name}"


def alarms(lab: Lab) -> list[dict[str, Any]]:
    """Return the alarms of a lab, each as the options of amazon.aws.cloudwatch_metric_alarm."""
    return [alarm for host in lab.hosts for alarm in _alarms_of(lab, host)]


def _alarms_of(lab: Lab, host: Host) -> list[dict[str, Any]]:
    """Return the alarms of one host."""
    found = [_idle(lab, host), _heartbeat(lab, host), _status(lab, host)]
    for index in range(host.gpus):
        found += [_hot(lab, host, index), _full(lab, host, index)]
    return found


def _action(lab: Lab, verb: str) -> str:
    """Return the ARN by which an alarm acts on the instance that its metric's dimension InstanceId names."""
    return f"arn:{lab.partition}:automate:{lab.region}:ec2:{verb}"


def _alarm(lab: Lab, host: Host, name: str, description: str, **how: Any) -> dict[str, Any]:
    """Return an alarm; `how` says what it watches, and may replace what most alarms have in common."""
    topics = sorted(lab.alarm_topics)
    return {
        "name": f"{_title(lab, host)}-{name}",
        "description": f"{description} {lab.marker}",
        "period": PERIOD,
        "alarm_actions": topics,
        "ok_actions": topics,
        **how,
    }


def _dimensions(lab: Lab, host: Host, index: int | None = None) -> dict[str, str]:
    """Return the dimensions that the publisher gives a metric of a host, or of one of its GPUs, sorted by name."""
    gpu = {} if index is None else {"GpuIndex": str(index)}
    extra = {name: str(value) for name, value in lab.dimensions.items()}
    return dict(sorted({**extra, **gpu, "InstanceId": host.instance_id}.items()))


def _idle(lab: Lab, host: Host) -> dict[str, Any]:
    """Return the alarm that stops an instance whose GPUs have nothing to do.

    Missing data is not idleness: neither a dead publisher nor an instance that has just booted may be stopped. For the
    same reason the alarm goes back to OK while the instance is stopped, and acts again after its next start.

    CloudWatch acts on instances by alarms on a metric only, not by those on an expression over several. With more than
    one GPU the alarm therefore watches the metric of the host, which holds the samples of all its GPUs.
    """
    return _alarm(
        lab,
        host,
        "gpu-idle",
        f"No GPU of {host.name} was busier than {lab.idle_utilization} % for {lab.idle_minutes} minutes.",
        namespace=lab.namespace,
        metric_name="GPUUtilization",
        dimensions=_dimensions(lab, host, 0 if host.gpus == 1 else None),
        statistic="Maximum",
        period=IDLE_PERIOD,
        evaluation_periods=lab.idle_minutes * 60 // IDLE_PERIOD,
        comparison="LessThanThreshold",
        threshold=float(lab.idle_utilization),
        treat_missing_data="notBreaching",
        alarm_actions=sorted([*lab.alarm_topics, *([_action(lab, "stop")] if lab.idle_stop else [])]),
        # That somebody works again is no news.
        ok_actions=[],
    )


def _heartbeat(lab: Lab, host: Host) -> dict[str, Any]:
    """Return the alarm that tells of a host, or a GPU of it, that does not answer any more."""
    return _alarm(
        lab,
        host,
        "heartbeat",
        f"{host.name} has not told for {lab.heartbeat_minutes} minutes that all its GPUs answer.",
        namespace=lab.namespace,
        metric_name="Heartbeat",
        dimensions=_dimensions(lab, host),
        statistic="Minimum",
        evaluation_periods=lab.heartbeat_minutes,
        comparison="LessThanThreshold",
        threshold=1.0,
        treat_missing_data="breaching",
    )


def _status(lab: Lab, host: Host) -> dict[str, Any]:
    """Return the alarm that tells of broken hardware, and may have AWS move the instance away from it."""
    return _alarm(
        lab,
        host,
        "status-check",
        f"AWS finds the hardware below {host.name} broken.",
        namespace="AWS/EC2",
        metric_name="StatusCheckFailed_System",
        dimensions={"InstanceId": host.instance_id},
        statistic="Maximum",
        evaluation_periods=2,
        comparison="GreaterThanOrEqualToThreshold",
        threshold=1.0,
        treat_missing_data="missing",
        alarm_actions=sorted([*lab.alarm_topics, *([_action(lab, "recover")] if lab.recover else [])]),
    )


def _hot(lab: Lab, host: Host, index: int) -> dict[str, Any]:
    """Return the alarm that tells of a hot GPU."""
    return _alarm(
        lab,
        host,
        f"gpu-{index}-hot",
        f"GPU {index} of {host.name} has had {lab.temperature} degrees Celsius or more for {LASTING} minutes.",
        namespace=lab.namespace,
        metric_name="GPUTemperature",
        dimensions=_dimensions(lab, host, index),
        statistic="Maximum",
        evaluation_periods=LASTING,
        comparison="GreaterThanOrEqualToThreshold",
        threshold=float(lab.temperature),
        treat_missing_data="notBreaching",
    )


def _full(lab: Lab, host: Host, index: int) -> dict[str, Any]:
    """Return the alarm that tells of a GPU whose memory is nearly full."""
    return _alarm(
        lab,
        host,
        f"gpu-{index}-memory",
        f"The memory of GPU {index} of {host.name} has been {lab.memory_percent} % full or more for {LASTING} minutes.",
        namespace=lab.namespace,
        metric_name="GPUMemoryUsedPercent",
        dimensions=_dimensions(lab, host, index),
        statistic="Maximum",
        evaluation_periods=LASTING,
        comparison="GreaterThanOrEqualToThreshold",
        threshold=float(lab.memory_percent),
        treat_missing_data="notBreaching",
    )


def sort_alarms(lab: Lab, found: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of alarms by what is to become of them.

    Args:
        lab: the lab.
        found: What amazon.aws.cloudwatch_metric_alarm_info says of all alarms that may be this lab's.

    Returns:
        own: Those that are this lab's. Names alone do not tell: lab robo's host robo-2, and a lab of that name.
        foreign: Those that are not, and bear a name that one of this lab's has to bear.
        surplus: This lab's that are no longer wanted.
        differing: Those that are wanted and not there, or not like that.
    """
    wanted = {alarm["name"]: alarm for alarm in alarms(lab)}
    there = {alarm["alarm_name"]: alarm for alarm in found}
    own = [name for name, alarm in there.items() if alarm.get("alarm_description", "").endswith(lab.marker)]
    return {
        "own": own,
        "foreign": [name for name in wanted if name in there and name not in own],
        "surplus": [name for name in own if name not in wanted],
        "differing": [name for name, alarm in wanted.items() if name not in there or not _is_like(there[name], alarm)],
    }


def _is_like(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether an alarm is as wanted; neither the order of dimensions nor that of actions matters."""
    plain = {
        "alarm_description": "description",
        "namespace": "namespace",
        "metric_name": "metric_name",
        "statistic": "statistic",
        "period": "period",
        "evaluation_periods": "evaluation_periods",
        "comparison_operator": "comparison",
        "threshold": "threshold",
        "treat_missing_data": "treat_missing_data",
    }
    return (
        all(found.get(theirs) == wanted[ours] for theirs, ours in plain.items())
        and {row["name"]: row["value"] for row in found.get("dimensions", [])} == wanted["dimensions"]
        and all(sorted(found.get(key, [])) == sorted(wanted[key]) for key in ("alarm_actions", "ok_actions"))
        # What only somebody else can have set.
        and not any(found.get(key) for key in ("datapoints_to_alarm", "insufficient_data_actions", "metrics", "unit"))
    )


def dashboard(lab: Lab) -> dict[str, Any]:
    """Return the body of a lab's dashboard: a section for each host, and in it a line for each GPU."""
    widgets: list[dict[str, Any]] = []
    for host in lab.hosts:
        widgets += _section(lab, host, top=max((widget["y"] + widget["height"] for widget in widgets), default=0))
    return {"widgets": widgets}


def _section(lab: Lab, host: Host, top: int) -> list[dict[str, Any]]:
    """Return the widgets of one host: a heading, its alarms, and below them three columns of graphs."""
    gpus = range(host.gpus)
    heading = {"markdown": f"## {host.name}\n`{host.instance_id}`, lab {lab.name}, {lab.region}"}
    arn = f"arn:{lab.partition}:cloudwatch:{lab.region}:{lab.account_id}:alarm:"
    told = {"title": f"{host.name}: alarms", "alarms": [arn + alarm["name"] for alarm in _alarms_of(lab, host)]}
    percent = {"min": 0, "max": 100, "label": "%", "showUnits": False}
    graphs = [
        _graph(lab, host, "CPU", [_of_instance(host, "CPUUtilization", "CPU")], 300, left=percent),
        _graph(
            lab, host, "GPU", [_of_gpu(lab, host, index, "GPUUtilization", "") for index in gpus], PERIOD, left=percent
        ),
        _graph(
            lab,
            host,
            "GPU memory",
            [
                line
                for index in gpus
                for line in (
                    _of_gpu(lab, host, index, "GPUMemoryUsed", "MB"),
                    _of_gpu(lab, host, index, "GPUMemoryUsedPercent", "%", yAxis="right"),
                )
            ],
            PERIOD,
            left={"min": 0, "label": "MB", "showUnits": False},
            right=percent,
        ),
        _graph(
            lab,
            host,
            "GPU power and temperature",
            [
                line
                for index in gpus
                for line in (
                    _of_gpu(lab, host, index, "GPUPowerDraw", "W"),
                    _of_gpu(lab, host, index, "GPUTemperature", "°C", yAxis="right"),
                )
            ],
            PERIOD,
            left={"min": 0, "label": "W", "showUnits": False},
            right={"min": 0, "label": "°C", "showUnits": False},
        ),
        _graph(
            lab,
            host,
            "Network",
            [_of_instance(host, "NetworkIn", "in", stat="Sum"), _of_instance(host, "NetworkOut", "out", stat="Sum")],
            300,
            left={"min": 0, "label": "bytes in 5 minutes", "showUnits": False},
        ),
        _graph(
            lab,
            host,
            "Disk",
            [
                _of_instance(host, "EBSReadBytes", "read", stat="Sum"),
                _of_instance(host, "EBSWriteBytes", "written", stat="Sum"),
            ],
            300,
            left={"min": 0, "label": "bytes in 5 minutes", "showUnits": False},
        ),
    ]
    placed = [
        {"type": "text", "x": 0, "y": top, "width": WIDTH, "height": 3, "properties": heading},
        {"type": "alarm", "x": WIDTH, "y": top, "width": 2 * WIDTH, "height": 3, "properties": told},
    ]
    for number, properties in enumerate(graphs):
        row, column = divmod(number, 3)
        place = {"x": column * WIDTH, "y": top + 3 + row * HEIGHT, "width": WIDTH, "height": HEIGHT}
        placed.append({"type": "metric", **place, "properties": properties})
    return placed


def _of_instance(host: Host, metric: str, label: str, **how: str) -> list[Any]:
    """Return a line that shows a metric of EC2."""
    return ["AWS/EC2", metric, "InstanceId", host.instance_id, {"label": label, **how}]


def _of_gpu(lab: Lab, host: Host, index: int, metric: str, unit: str, **how: str) -> list[Any]:
    """Return a line that shows a metric of one GPU."""
    pairs = [word for pair in _dimensions(lab, host, index).items() for word in pair]
    return [lab.namespace, metric, *pairs, {"label": f"GPU {index} {unit}".strip(), **how}]


def _graph(lab: Lab, host: Host, title: str, lines: list[list[Any]], period: int, **axes: Any) -> dict[str, Any]:
    """Return what a graph shows, and how."""
    return {
        "title": f"{host.name}: {title}",
        "region": lab.region,
        "view": "timeSeries",
        "stacked": False,
        "stat": "Average",
        "period": period,
        "metrics": lines,
        "yAxis": axes,
    }
