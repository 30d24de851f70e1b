"""CloudWatch's alarms where moto lacks them: persistent states, validation, and actions on EC2 instances."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.cloudwatch import models
from moto.cloudwatch.exceptions import ValidationError
from moto.core.exceptions import ServiceException
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

RAISED = "ALARM"
EC2_ACTION = re.compile(
    r"arn:[\w-]+:(?:automate:[\w-]+:ec2:|swf:[\w-]+:\d*:action/actions/AWS_EC2\.InstanceId\.)"
    r"(?P<verb>stop|terminate|reboot|recover)(?:/1\.0)?",
    re.IGNORECASE,
)
# The call of each action. A recovered instance starts on other hardware: seen from inside, it is a reboot.
CALLS = {
    "stop": "StopInstances",
    "terminate": "TerminateInstances",
    "reboot": "RebootInstances",
    "recover": "RebootInstances",
}
DAY, WEEK, HOUR = 86400, 7 * 86400, 3600


@dataclass(frozen=True)
class Deed:
    """The action of an alarm on an instance.

    :param refused: why it failed; empty when it did not.
    """

    alarm: str
    call: str
    instance_id: str
    refused: str = ""


def verbs(actions: Iterable[str] | None) -> list[str]:
    """Return an alarm's actions on EC2, keys of ``CALLS``."""
    found = (EC2_ACTION.fullmatch(action) for action in actions or [])
    return [match["verb"].lower() for match in found if match]


def watched(alarm: Any) -> set[str]:
    """Return the instances that an alarm is about, from the dimensions of what it watches."""
    metrics = [query.metric_stat.metric for query in alarm.metric_data_queries if query.metric_stat]
    dimensions = [*alarm.dimensions, *(dimension for metric in metrics for dimension in metric.dimensions)]
    return {dimension.value for dimension in dimensions if dimension.name == "InstanceId"}


def check(alarm: Any) -> None:
    """Check an alarm as CloudWatch does.

    :raises ValidationError: it acts on EC2 without watching one instance, or its period is too long.
    """
    if verbs([*(alarm.alarm_actions or []), *alarm.ok_actions, *alarm.insufficient_data_actions]):
        if alarm.rule is not None:
            raise ValidationError("EC2 actions are not supported for composite alarms.")
        if any(query.expression for query in alarm.metric_data_queries):
            raise ValidationError("EC2 actions are not supported for alarms based on math expressions.")
        if len(watched(alarm)) != 1:
            raise ValidationError(
                "Invalid use of EC2 action. An EC2 action can only be used if the alarm is monitoring an EC2 instance."
            )
    period = int(alarm.period or 0)
    most, words = (WEEK, "seven days") if period >= HOUR else (DAY, "a day")
    if period * int(alarm.evaluation_periods or 0) > most:
        raise ValidationError(
            f"Metrics cannot be checked across more than {words} (EvaluationPeriods * Period must be <= {most})."
        )


@cache
def install() -> None:
    """Patch moto in this process."""
    backend: Any = models.CloudWatchBackend
    put = backend.put_metric_alarm

    def put_metric_alarm(self: Any, **options: Any) -> Any:
        known = self.alarms.get(options["name"])
        alarm = put(self, **options)
        try:
            check(alarm)
        except ValidationError:
            del self.alarms[alarm.name]
            if known is not None:
                self.alarms[alarm.name] = known
            raise
        if known is None:
            alarm.state_value = "INSUFFICIENT_DATA"
        else:
            for kept in ("state_value", "state_reason", "state_reason_data", "state_updated_timestamp", "history"):
                setattr(alarm, kept, getattr(known, kept))
        return alarm

    backend.put_metric_alarm = put_metric_alarm


def raised(region: str) -> set[str]:
    """Return the names of the alarms of a region that are in the state ALARM."""
    alarms = models.cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].alarms
    return {name for name, alarm in alarms.items() if alarm.state_value == RAISED}


def act(region: str, names: Iterable[str]) -> list[Deed]:
    """Perform the EC2 actions of alarms that have just changed to ALARM; the hosts follow."""
    alarms = models.cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].alarms
    return [
        perform(region, alarm.name, verb, instance_id)
        for alarm in (alarms[name] for name in sorted(names))
        if alarm.actions_enabled
        for verb in verbs(alarm.alarm_actions)
        for instance_id in sorted(watched(alarm))
    ]


def perform(region: str, alarm: str, verb: str, instance_id: str) -> Deed:
    """Perform an alarm's action on an instance, like a call by its owner."""
    backend = ec2_backends[DEFAULT_ACCOUNT_ID][region]
    calls = {
        "StopInstances": backend.stop_instances,
        "TerminateInstances": backend.terminate_instances,
        "RebootInstances": backend.reboot_instances,
    }
    call = CALLS[verb]
    try:
        state = backend.get_instance(instance_id).state
        if state != "running":
            return Deed(alarm, call, instance_id, f"the instance is {state}")
        calls[call]([instance_id])
    except ServiceException as error:
        return Deed(alarm, call, instance_id, str(error))
    return Deed(alarm, call, instance_id)
