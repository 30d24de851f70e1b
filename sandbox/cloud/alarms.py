"""CloudWatch's alarms where moto lacks them: persistent states, validation, actions on EC2 instances, and history.

Sources of the history. Read on 2026-11-30: botocore's description of DescribeAlarmHistory and public programs that read
the HistoryData of an action (actionState, stateUpdateTimestamp, notificationResource). Inferred: the keys of a failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from moto.cloudwatch import models, responses
from moto.cloudwatch.exceptions import ValidationError
from moto.core.exceptions import ServiceException
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
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
MOST_RECORDS = 100
ASCENDING = "TimestampAscending"


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

    change = backend.set_alarm_state

    def set_alarm_state(self: Any, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
        alarm = self.alarms.get(alarm_name)
        old = (alarm.state_value, alarm.state_reason) if alarm else ("", "")
        change(self, alarm_name, reason, reason_data, state_value)
        states = {"oldState": old, "newState": (state_value, reason)}
        data = {key: {"stateValue": state, "stateReason": why} for key, (state, why) in states.items()}
        summary = f"Alarm updated from {old[0]} to {state_value}"
        note(self, alarm_name, "StateUpdate", summary, {"version": "1.0", **data})

    def describe_alarm_history(self: Any) -> ActionResult:
        asked = ("AlarmName", "HistoryItemType", "StartDate", "EndDate")
        name, kind, start, end = (self._get_param(key) for key in asked)
        rows = [
            row
            for row in history_of(self.cloudwatch_backend)
            if name in (None, row["AlarmName"])
            and kind in (None, row["HistoryItemType"])
            and (start is None or as_moment(start) <= row["Timestamp"])
            and (end is None or row["Timestamp"] <= as_moment(end))
        ]
        if self._get_param("ScanBy") != ASCENDING:
            rows.reverse()
        first, most = int(self._get_param("NextToken") or 0), int(self._get_param("MaxRecords") or MOST_RECORDS)
        more = {"NextToken": str(first + most)} if len(rows) > first + most else {}
        return ActionResult({"AlarmHistoryItems": rows[first : first + most], **more})

    backend.put_metric_alarm = put_metric_alarm
    backend.set_alarm_state = set_alarm_state
    answers: Any = responses.CloudWatchResponse
    answers.describe_alarm_history = describe_alarm_history


def as_moment(value: Any) -> datetime:
    """Return a time of a request, which has a zone in some protocols only."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if isinstance(moment, (int, float)):
        return datetime.fromtimestamp(moment, UTC)
    found: datetime = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return found


def history_of(backend: Any) -> list[dict[str, Any]]:
    """Return the history of the alarms of a region, the oldest first; it outlives the alarms."""
    found: list[dict[str, Any]] = backend.__dict__.setdefault("alarm_history", [])
    return found


def note(backend: Any, alarm: str, kind: str, summary: str, data: dict[str, Any]) -> None:
    """Add an item to the history of an alarm."""
    history_of(backend).append(
        {
            "AlarmName": alarm,
            "AlarmType": "MetricAlarm",
            "Timestamp": datetime.now(UTC),
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps(data),
        }
    )


def note_action(region: str, alarm: Any, arn: str, refused: str) -> None:
    """Add an action of an alarm to its history."""
    done = "Successfully executed" if not refused else "Failed to execute"
    moment = alarm.state_updated_timestamp.replace(tzinfo=UTC)
    data = {
        "actionState": "Failed" if refused else "Succeeded",
        "stateUpdateTimestamp": int(moment.timestamp() * 1000),
        "notificationResource": arn,
        **({"error": refused} if refused else {}),
    }
    backend = models.cloudwatch_backends[DEFAULT_ACCOUNT_ID][region]
    note(backend, alarm.name, "Action", f"{done} action {arn}", data)


def raised(region: str) -> set[str]:
    """Return the names of the alarms of a region that are in the state ALARM."""
    alarms = models.cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].alarms
    return {name for name, alarm in alarms.items() if alarm.state_value == RAISED}


def act(region: str, names: Iterable[str]) -> list[Deed]:
    """Perform the EC2 actions of alarms that have just changed to ALARM; the hosts follow."""
    alarms = models.cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].alarms
    deeds = []
    for alarm in (alarms[name] for name in sorted(names)):
        for arn in (alarm.alarm_actions or ()) if alarm.actions_enabled else ():
            made = [perform(region, alarm.name, verb, one) for verb in verbs([arn]) for one in sorted(watched(alarm))]
            # Other actions, such as a notification, always succeed here.
            note_action(region, alarm, arn, "; ".join(filter(None, (deed.refused for deed in made))))
            deeds += made
    return deeds


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
