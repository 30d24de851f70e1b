# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The description of a monitored lab, and its validation. Nothing here contacts AWS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...module_utils._aws.names import (
    DIMENSIONS_ALLOWED,
    MOST_DIMENSIONS,
    NAMESPACE,
    NAMESPACES_ALLOWED,
    OWN_DIMENSIONS,
    REGION,
    is_dimension,
    partition_of,
)
from ...module_utils._lab.names import is_lab_name
from ...module_utils._problem import Problem, listed, shown

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
TOPIC = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
LOG_GROUP = re.compile(r"[A-Za-z0-9_/.#-]{1,512}")

# Idle stop for the hosts whose work keeps a GPU busy.
AUTO = "auto"
# Reserved for the lab.
OWN_TAGS = ("digital_twin_lab", "managed_by")
# An alarm has five actions, and one of them may be to stop or to recover the instance.
MOST_TOPICS = 4
# The longest time of an alarm. A guarded host has it, as the alarm knows neither sessions nor clients.
GUARDED_IDLE_MINUTES = 1440
MOST_GPUS = 16
# Accepted by CloudWatch Logs and amazon.aws.cloudwatchlogs_log_group, which deletes the group for other values.
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653)
RANGES = {
    "idle_minutes": (10, 1440, "minutes"),
    "idle_utilization": (1, 100, "percent"),
    "heartbeat_minutes": (2, 1440, "minutes"),
    "temperature": (40, 120, "degrees Celsius"),
    "memory_percent": (1, 100, "percent"),
    "flush_interval": (1, 3600, "seconds"),
}


@dataclass(frozen=True)
class MonitoredHost:
    """A host of a lab.

    Attributes:
        gpus: Number of GPUs; 0 if that is not a number.
        recover: Whether its instance type can be recovered.
        uses_gpu: Whether its work keeps a GPU busy, so that an idle GPU means that the host is not in use.
        guarded: Whether a program on the host stops it when it is idle, with regard to sessions and clients.
    """

    name: str
    instance_id: str
    gpus: int
    recover: bool
    uses_gpu: bool
    guarded: bool = False


@dataclass(frozen=True)
class Lab:
    """A lab, and how to monitor it.

    Attributes:
        account_id: The AWS account, for the ARNs of alarms.
        namespace: Where the publisher on the hosts writes its metrics.
        dimensions: The dimensions that it adds to InstanceId and GpuIndex.
        metrics: The metrics that it writes. Others have no alarm.
        flush_interval: Seconds between its requests.
        alarm_topics: ARNs of the SNS topics to notify.
        idle_stop: Whether an idle instance is stopped: True and False are for all hosts, "auto" for those that use
            their GPUs.
        idle_minutes: Idle minutes before the stop; a multiple of five.
        idle_utilization: Percentage below which a GPU counts as idle.
        heartbeat_minutes: Minutes without a heartbeat before the alarm.
        temperature: Degrees Celsius from which a GPU is hot.
        memory_percent: Percentage from which its memory is nearly full.
        recover: Whether AWS moves an instance that can be recovered to other hardware when its own fails.
        log_retention_days: Days for which log groups keep their events.
        dashboard: Whether the lab has a dashboard.
    """

    name: str
    region: str
    account_id: str = ""
    namespace: str = "DigitalTwin"
    dimensions: dict[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("GPUUtilization", "GPUMemoryUsedPercent", "GPUTemperature", "Heartbeat")
    flush_interval: int = 60
    hosts: tuple[MonitoredHost, ...] = ()
    alarm_topics: tuple[str, ...] = ()
    idle_stop: bool | str = AUTO
    idle_minutes: int = 60
    idle_utilization: int = 5
    heartbeat_minutes: int = 5
    temperature: int = 85
    memory_percent: int = 95
    recover: bool = True
    log_retention_days: int = 30
    log_groups: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    dashboard: bool = True

    @property
    def partition(self) -> str:
        """The partition that the region belongs to, as ARNs name it."""
        return partition_of(self.region)

    @property
    def log_prefix(self) -> str:
        """The beginning of the names of this lab's log groups, and of no other's."""
        return f"/digital-twin/{self.name}/"

    @property
    def marker(self) -> str:
        """The end of the description of this lab's alarms, as labs may share the beginning of their alarms' names."""
        return f"(digital_twin_lab: {self.name}, managed_by: digital_twin.robotics_lab)"

    @property
    def dashboard_marker(self) -> str:
        """A text in the headings of this lab's dashboard, and of no other."""
        return f"(digital_twin_lab: {self.name}, region: {self.region}, managed_by: digital_twin.robotics_lab)"

    @property
    def dashboard_name(self) -> str:
        """The name of this lab's dashboard. Dashboard names are unique in an account, across regions."""
        return f"digital-twin-{self.name}"

    @property
    def has_dashboard(self) -> bool:
        """Whether this lab has a dashboard. Without hosts it would be empty."""
        return self.dashboard and bool(self.hosts)

    @property
    def all_tags(self) -> dict[str, Any]:
        """The tags of the log groups."""
        return {**self.tags, "digital_twin_lab": self.name, "managed_by": "digital_twin.robotics_lab"}

    def stops(self, host: MonitoredHost) -> bool:
        """Return whether a host is stopped when its GPUs are idle."""
        return host.uses_gpu if self.idle_stop == AUTO else bool(self.idle_stop)

    def idle_minutes_of(self, host: MonitoredHost) -> int:
        """Return how long the GPUs of a host are idle before its alarm."""
        return GUARDED_IDLE_MINUTES if host.guarded and self.stops(host) else self.idle_minutes

    def title(self, host: MonitoredHost) -> str:
        """Return the beginning of the names of a host's alarms, which has the lab's name once."""
        return host.name if host.name.startswith(f"{self.name}-") else f"{self.name}-{host.name}"

    def dimensions_of(self, host: MonitoredHost, index: int | None = None) -> dict[str, str]:
        """Return the dimensions of a published metric of a host, or of one of its GPUs, sorted by name."""
        gpu = {} if index is None else {"GpuIndex": str(index)}
        extra = {name: str(value) for name, value in self.dimensions.items()}
        return dict(sorted({**extra, **gpu, "InstanceId": host.instance_id}.items()))


def check(lab: Lab) -> list[Problem]:
    """Return the problems of the description of a lab."""
    return [*_check_names(lab), *_check_hosts(lab), *_check_numbers(lab), *_check_topics(lab), *_check_logs(lab)]


def _problem(option: str, value: object, reason: str, allowed: str, remedy: str) -> Problem:
    """Return a problem with the value of one of the role's variables."""
    return Problem(f"aws_monitoring_{option}", shown(value), reason, allowed, remedy)


def _check_names(lab: Lab) -> Iterator[Problem]:
    """Check the lab's name, region, namespace, dimensions and tags."""
    if not is_lab_name(lab.name):
        allowed = (
            "3 to 32 lowercase letters, digits and dashes, beginning with a letter and ending with a letter or digit"
        )
        yield _problem("name", lab.name, "is not a lab's name", allowed, "choose such a name")
    if not REGION.fullmatch(lab.region):
        allowed = "the name of a region such as us-east-1"
        yield _problem("region", lab.region, "is not a region", allowed, "choose one")
    if not NAMESPACE.fullmatch(lab.namespace):
        reason = "is not a namespace of metrics"
        yield _problem("namespace", lab.namespace, reason, NAMESPACES_ALLOWED, "use DigitalTwin")
    for name, value in lab.dimensions.items():
        if name in OWN_DIMENSIONS:
            allowed = f"any name but {listed(list(OWN_DIMENSIONS))}"
            yield _problem("dimensions", name, "is reserved for the publisher", allowed, "rename it")
        elif not is_dimension(name, value):
            yield _problem("dimensions", {name: value}, "is not a dimension", DIMENSIONS_ALLOWED, "correct it")
    if len(lab.dimensions) > MOST_DIMENSIONS:
        reason = "are too many dimensions"
        allowed = f"at most {MOST_DIMENSIONS}"
        yield _problem("dimensions", len(lab.dimensions), reason, allowed, "leave some out")
    for key, value in lab.tags.items():
        if key in OWN_TAGS or key.lower().startswith("aws:"):
            allowed = "any other key"
            yield _problem("tags", key, "is a key reserved for the lab or AWS", allowed, "rename it")
        elif not isinstance(value, str):
            reason = f"(the value of {shown(key)}) is not text"
            yield _problem("tags", value, reason, "text", f"put it in quotes: {shown(str(value))}")


def _check_hosts(lab: Lab) -> Iterator[Problem]:
    """Check the lab's hosts."""
    for index, host in enumerate(lab.hosts):
        if not HOST_NAME.fullmatch(host.name):
            allowed = "up to 100 letters, digits, dots, dashes and underscores"
            yield _problem("instances", host.name, "is not a host's name", allowed, "correct it")
        if not INSTANCE_ID.fullmatch(host.instance_id):
            allowed = "an instance's id such as i-0123456789abcdef0"
            reason = f"is not an instance's id (host {host.name})"
            yield _problem("instances", host.instance_id, reason, allowed, "correct it")
        if not 1 <= host.gpus <= MOST_GPUS:
            reason = f"is not a number of GPUs (host {host.name})"
            yield _problem("instances", host.gpus, reason, f"1 to {MOST_GPUS}", "count them")
        for earlier in lab.hosts[:index]:
            # An alarm is identified by its name and by the instance that it stops.
            if lab.title(earlier) == lab.title(host) or earlier.instance_id == host.instance_id:
                value = host.name if earlier.name == host.name else host.instance_id
                allowed = "each host once, by a name and an id of its own"
                yield _problem("instances", value, "occurs twice", allowed, "remove one of them")


def _check_numbers(lab: Lab) -> Iterator[Problem]:
    """Check the thresholds and times."""
    for option, (least, most, unit) in RANGES.items():
        value = getattr(lab, option)
        if not least <= value <= most:
            allowed = f"{least} to {most} {unit}"
            remedy = f"choose {least} or more" if value < least else f"choose {most} or less"
            yield _problem(option, value, "is out of range", allowed, remedy)
    # Samples arrive at the end of an interval, and CloudWatch shows them later.
    least = -(-(2 * lab.flush_interval + 60) // 60)
    if "Heartbeat" in lab.metrics and lab.heartbeat_minutes < least:
        reason = f"is too short for a publisher that writes every {lab.flush_interval} s"
        remedy = f"choose {least} or more, or write more often"
        yield _problem("heartbeat_minutes", lab.heartbeat_minutes, reason, f"{least} or more", remedy)
    if lab.idle_stop not in (True, False, AUTO):
        allowed = "auto (the hosts whose work keeps a GPU busy), true (all hosts) or false"
        yield _problem("idle_stop", lab.idle_stop, "is not valid", allowed, "Choose one of the three.")
    elif any(map(lab.stops, lab.hosts)) and "GPUUtilization" not in lab.metrics:
        reason = "needs the metric GPUUtilization, which is not published"
        remedy = "publish GPUUtilization, or set aws_monitoring_idle_stop=false"
        allowed = "auto or true where aws_monitoring_metrics has it"
        yield _problem("idle_stop", lab.idle_stop, reason, allowed, remedy)
    if lab.idle_minutes % 5:
        least, most, _unit = RANGES["idle_minutes"]
        remedy = f"choose {max(least, lab.idle_minutes // 5 * 5 + 5)}"
        reason = "is not a multiple of 5"
        yield _problem("idle_minutes", lab.idle_minutes, reason, f"{least} to {most} in steps of 5", remedy)


def _check_topics(lab: Lab) -> Iterator[Problem]:
    """Check the SNS topics: an alarm notifies topics of its own region only."""
    for topic in lab.alarm_topics:
        match = TOPIC.fullmatch(topic)
        allowed = f"arn:{lab.partition}:sns:{lab.region}:<account>:<topic>"
        if not match:
            yield _problem("alarm_topics", topic, "is not the ARN of an SNS topic", allowed, "correct it")
        elif match.groups() != (lab.partition, lab.region):
            reason = f"is not in {lab.region}, and an alarm notifies topics of its own region only"
            yield _problem("alarm_topics", topic, reason, allowed, "create a topic there")
    if len(lab.alarm_topics) > MOST_TOPICS:
        reason = "topics are too many, as an alarm has five actions and one may be the instance's"
        allowed = f"at most {MOST_TOPICS}"
        yield _problem(
            "alarm_topics", len(lab.alarm_topics), reason, allowed, "subscribe several receivers to one topic"
        )


def _check_logs(lab: Lab) -> Iterator[Problem]:
    """Check the log groups: all below the lab's own prefix are deleted with it."""
    if lab.log_retention_days not in RETENTIONS:
        allowed = listed([str(days) for days in RETENTIONS])
        reason = "is not a number of days that CloudWatch Logs accepts"
        remedy = f"choose {min(RETENTIONS, key=lambda days: abs(days - lab.log_retention_days))}"
        yield _problem("log_retention_days", lab.log_retention_days, reason, allowed, remedy)
    for group in lab.log_groups:
        if (
            not LOG_GROUP.fullmatch(group)
            or not group.removeprefix(lab.log_prefix)
            or not group.startswith(lab.log_prefix)
        ):
            allowed = f"{lab.log_prefix} and letters, digits or _/.#-"
            yield _problem("log_groups", group, "is not a log group of this lab", allowed, "rename it")
