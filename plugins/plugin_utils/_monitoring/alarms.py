# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alarms of a lab, and how they compare with those that there are. Nothing here asks AWS anything.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

from typing import Any

from .lab import AUTO, Host, Lab

PERIOD = 60
IDLE_PERIOD = 300
# How many minutes in a row count as hot, or as full: a peak of a minute is neither.
LASTING = 5


def alarms(lab: Lab) -> list[dict[str, Any]]:
    """Return the alarms of a lab, each as the options of amazon.aws.cloudwatch_metric_alarm."""
    return [alarm for host in lab.hosts for alarm in alarms_of(lab, host)]


def alarms_of(lab: Lab, host: Host) -> list[dict[str, Any]]:
    """Return the alarms of one host, on metrics that there are."""
    found = [_heartbeat(lab, host), _status(lab, host)]
    # Where the GPU is idle by design, this alarm would stop a host that is in use.
    if lab.idle_stop != AUTO or host.uses_gpu:
        found.insert(0, _idle(lab, host))
    for index in range(host.gpus):
        found += [_hot(lab, host, index), _full(lab, host, index)]
    return [alarm for alarm in found if alarm["namespace"] != lab.namespace or alarm["metric_name"] in lab.metrics]


def _action(lab: Lab, verb: str) -> str:
    """Return the ARN by which an alarm acts on the instance that its metric's dimension InstanceId names."""
    return f"arn:{lab.partition}:automate:{lab.region}:ec2:{verb}"


def _alarm(lab: Lab, host: Host, name: str, description: str, **how: Any) -> dict[str, Any]:
    """Return an alarm; `how` says what it watches, and may replace what most alarms have in common."""
    topics = sorted(lab.alarm_topics)
    return {
        "name": f"{lab.title(host)}-{name}",
        "description": f"{description} {lab.marker}",
        "period": PERIOD,
        "alarm_actions": topics,
        "ok_actions": topics,
        **how,
    }


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
        dimensions=lab.dimensions_of(host, 0 if host.gpus == 1 else None),
        statistic="Maximum",
        period=IDLE_PERIOD,
        evaluation_periods=lab.idle_minutes * 60 // IDLE_PERIOD,
        comparison="LessThanThreshold",
        threshold=float(lab.idle_utilization),
        treat_missing_data="notBreaching",
        alarm_actions=sorted([*lab.alarm_topics, *([_action(lab, "stop")] if lab.stops(host) else [])]),
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
        dimensions=lab.dimensions_of(host),
        statistic="Minimum",
        evaluation_periods=lab.heartbeat_minutes,
        comparison="LessThanThreshold",
        threshold=1.0,
        treat_missing_data="breaching",
    )


def _status(lab: Lab, host: Host) -> dict[str, Any]:
    """Return the alarm that tells of broken hardware, and may have AWS move the instance away from it.

    CloudWatch takes no alarm that recovers an instance whose type cannot be recovered.
    """
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
        alarm_actions=sorted([*lab.alarm_topics, *([_action(lab, "recover")] if lab.recover and host.recover else [])]),
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
        dimensions=lab.dimensions_of(host, index),
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
        dimensions=lab.dimensions_of(host, index),
        statistic="Maximum",
        evaluation_periods=LASTING,
        comparison="GreaterThanOrEqualToThreshold",
        threshold=float(lab.memory_percent),
        treat_missing_data="notBreaching",
    )


def report(lab: Lab, found: list[dict[str, Any]]) -> list[str]:
    """Return in words which hosts are stopped when, and how to turn that off, by the alarms that there are.

    Args:
        lab: the lab.
        found: What amazon.aws.cloudwatch_metric_alarm_info says of all alarms that may be this lab's.
    """
    there = {alarm["alarm_name"]: alarm for alarm in found}
    lines = []
    stopping = []
    for host in lab.hosts:
        name = f"{lab.title(host)}-gpu-idle"
        alarm = there.get(name, {})
        if _action(lab, "stop") not in alarm.get("alarm_actions", []):
            why = ": its work leaves the GPU idle" if lab.idle_stop == AUTO and not host.uses_gpu else ""
            lines.append(f"{host.name} is not stopped when its GPU is idle{why}.")
            continue
        if not alarm.get("actions_enabled", True):
            lines.append(f"{host.name} is not stopped: the actions of the alarm {name} are switched off.")
            continue
        stopping.append(name)
        topics = [action for action in alarm["alarm_actions"] if ":sns:" in action]
        lines.append(
            f"{host.name} is stopped when none of its GPUs is busier than {alarm['threshold']:g} % for "
            f"{alarm['period'] * alarm['evaluation_periods'] // 60} minutes, even while users are logged in. "
            f"Notified: {', '.join(topics) or 'no one, as aws_monitoring_alarm_topics is empty'}."
        )
    if stopping:
        lines.append(
            "To turn this off: aws_monitoring_idle_stop=false, and apply the alarms again. For one long job: "
            f"aws cloudwatch disable-alarm-actions --region {lab.region} --alarm-names {' '.join(stopping)}"
        )
    return lines


def sort_alarms(lab: Lab, found: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of alarms by what is to become of them.

    Args:
        lab: the lab.
        found: What amazon.aws.cloudwatch_metric_alarm_info returns of all alarms that may be this lab's.

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
