# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the alarms of a lab, and report which of its hosts are stopped when idle. Nothing here contacts AWS.

The thresholds are variables: their defaults are in roles/aws_monitoring/defaults/main.yml.
"""

from __future__ import annotations

from typing import Any

from .lab import AUTO, Lab, MonitoredHost

PERIOD = 60
IDLE_PERIOD = 300
# Minutes in a row that count as hot or full, so that a peak of one minute does not.
LASTING = 5
# By the end of an alarm's name: its metric, the option with its threshold, and its description.
HIGH = {
    "hot": ("GPUTemperature", "temperature", "GPU {} of {} has had {} degrees Celsius"),
    "memory": ("GPUMemoryUsedPercent", "memory_percent", "The memory of GPU {} of {} has been {} % full"),
}


def alarms(lab: Lab) -> list[dict[str, Any]]:
    """Return the alarms of a lab, each as the options of amazon.aws.cloudwatch_metric_alarm."""
    return [alarm for host in lab.hosts for alarm in alarms_of(lab, host)]


def alarms_of(lab: Lab, host: MonitoredHost) -> list[dict[str, Any]]:
    """Return the alarms of one host, on published metrics only."""
    found = [_heartbeat(lab, host), _status(lab, host)]
    # On a host whose GPU is idle by design this alarm would stop a host in use.
    if lab.idle_stop != AUTO or host.uses_gpu:
        found.insert(0, _idle(lab, host))
    for index in range(host.gpus):
        found += [_high(lab, host, index, name) for name in HIGH]
    return [alarm for alarm in found if alarm["namespace"] != lab.namespace or alarm["metric_name"] in lab.metrics]


def _action(lab: Lab, verb: str) -> str:
    """Return the ARN by which an alarm acts on the instance that its metric's dimension InstanceId names."""
    return f"arn:{lab.partition}:automate:{lab.region}:ec2:{verb}"


def _alarm(lab: Lab, host: MonitoredHost, name: str, description: str, **how: Any) -> dict[str, Any]:
    """Return an alarm; `how` sets what it monitors, and overrides defaults."""
    topics = sorted(lab.alarm_topics)
    return {
        "name": f"{lab.title(host)}-{name}",
        "description": f"{description} {lab.marker}",
        "namespace": lab.namespace,
        "statistic": "Maximum",
        "period": PERIOD,
        "comparison": "GreaterThanOrEqualToThreshold",
        "treat_missing_data": "notBreaching",
        "alarm_actions": topics,
        "ok_actions": topics,
        **how,
    }


def _idle(lab: Lab, host: MonitoredHost) -> dict[str, Any]:
    """Return the alarm that stops an instance whose GPUs are idle.

    Missing data does not count as idle: a failed publisher or an instance that has just booted must not cause a stop.
    So the alarm returns to OK while the instance is stopped, and acts again after its next start.

    CloudWatch acts on instances by alarms on one metric only, not on an expression. With several GPUs the alarm
    therefore monitors the metric of the host, which holds the samples of all its GPUs.

    Where the host has a guard, the alarm stops it only when the guard has not done so for a day.
    """
    minutes = lab.idle_minutes_of(host)
    return _alarm(
        lab,
        host,
        "gpu-idle",
        f"No GPU of {host.name} was busier than {lab.idle_utilization} % for {minutes} minutes.",
        metric_name="GPUUtilization",
        dimensions=lab.dimensions_of(host, 0 if host.gpus == 1 else None),
        period=IDLE_PERIOD,
        evaluation_periods=minutes * 60 // IDLE_PERIOD,
        comparison="LessThanThreshold",
        threshold=float(lab.idle_utilization),
        alarm_actions=sorted([*lab.alarm_topics, *([_action(lab, "stop")] if lab.stops(host) else [])]),
        # Renewed use needs no notification.
        ok_actions=[],
    )


def _heartbeat(lab: Lab, host: MonitoredHost) -> dict[str, Any]:
    """Return the alarm for a host, or a GPU of it, that no longer answers."""
    return _alarm(
        lab,
        host,
        "heartbeat",
        f"{host.name} has not reported for {lab.heartbeat_minutes} minutes that all its GPUs answer.",
        metric_name="Heartbeat",
        dimensions=lab.dimensions_of(host),
        statistic="Minimum",
        evaluation_periods=lab.heartbeat_minutes,
        comparison="LessThanThreshold",
        threshold=1.0,
        treat_missing_data="breaching",
    )


def _status(lab: Lab, host: MonitoredHost) -> dict[str, Any]:
    """Return the alarm for broken hardware, which may recover the instance on other hardware.

    CloudWatch rejects an alarm that recovers an instance whose type does not support it.
    """
    return _alarm(
        lab,
        host,
        "status-check",
        f"AWS finds the hardware below {host.name} broken.",
        namespace="AWS/EC2",
        metric_name="StatusCheckFailed_System",
        dimensions={"InstanceId": host.instance_id},
        evaluation_periods=2,
        threshold=1.0,
        treat_missing_data="missing",
        alarm_actions=sorted([*lab.alarm_topics, *([_action(lab, "recover")] if lab.recover and host.recover else [])]),
    )


def _high(lab: Lab, host: MonitoredHost, index: int, name: str) -> dict[str, Any]:
    """Return the alarm for a hot GPU, or one whose memory is nearly full."""
    metric, option, description = HIGH[name]
    limit = getattr(lab, option)
    return _alarm(
        lab,
        host,
        f"gpu-{index}-{name}",
        f"{description.format(index, host.name, limit)} or more for {LASTING} minutes.",
        metric_name=metric,
        dimensions=lab.dimensions_of(host, index),
        evaluation_periods=LASTING,
        threshold=float(limit),
    )


def report(lab: Lab, found: list[dict[str, Any]]) -> list[str]:
    """Return sentences about when which hosts are stopped and how to turn that off, from the existing alarms.

    Args:
        lab: The lab.
        found: The existing alarms that may belong to this lab.
    """
    existing = {alarm["alarm_name"]: alarm for alarm in found}
    lines = []
    stopping = []
    for host in lab.hosts:
        name = f"{lab.title(host)}-gpu-idle"
        alarm = existing.get(name, {})
        guarded = host.guarded and lab.stops(host)
        if guarded:
            time = f"{lab.idle_minutes} minutes"
            lines.append(f"{host.name} is stopped by its guard when it was not used for {time}, after a warning.")
        if _action(lab, "stop") not in alarm.get("alarm_actions", []):
            if guarded:
                continue
            why = ": its work leaves the GPU idle" if lab.idle_stop == AUTO and not host.uses_gpu else ""
            lines.append(f"{host.name} is not stopped when its GPU is idle{why}.")
            continue
        if not alarm.get("actions_enabled", True):
            lines.append(f"{host.name} is not stopped: the actions of the alarm {name} are switched off.")
            continue
        stopping.append(name)
        topics = [action for action in alarm["alarm_actions"] if ":sns:" in action]
        lines.append(
            f"{host.name} is {'also ' if guarded else ''}stopped when none of its GPUs is busier than "
            f"{alarm['threshold']:g} % for {alarm['period'] * alarm['evaluation_periods'] // 60} minutes, even while "
            "users are logged in. "
            f"Notified: {', '.join(topics) or 'no one, as aws_monitoring_alarm_topics is empty'}."
        )
    if stopping:
        lines.append(
            "To turn this off: aws_monitoring_idle_stop=false, and apply the alarms again. For one long job: "
            f"aws cloudwatch disable-alarm-actions --region {lab.region} --alarm-names {' '.join(stopping)}"
        )
    return lines
