# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What starts and stops a lab, as the options of the modules that create it, and as sentences. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ...module_utils._aws.names import partition_of
from ...module_utils._aws.schedule_group import TIME_FORM, Schedule, begun, moment_of
from ...module_utils._lab.last_action import MOVE_TAG
from ...module_utils._lab.record import MANAGED_BY
from ...module_utils._lab.schedule_state import (
    DIMENSION,
    DROPPED,
    ERRORS,
    NAMESPACE,
    alarm_prefix,
    group_name,
    role_name,
)
from .timers import AWAKE, START, STOP, Held, Timer, fires

SERVICE = "scheduler.amazonaws.com"
TARGETS = {START: "startInstances", STOP: "stopInstances"}
# How far ahead the next start and stop are looked for: exceptions may close a lab for weeks.
AHEAD = timedelta(days=366)
# Each instance has schedules of its own: a call for several instances fails for all when one of them is terminated.
OF_INSTANCE = re.compile(r"(.+)-(i-[0-9a-f]+)")
# By how much the clocks of AWS and of the caller may differ.
SKEW = timedelta(minutes=5)
# A call is made again after a minute at first, so that few attempts fit into an hour. AWS's own number is the limit.
ATTEMPTS = 185
ALARM_SECONDS = 300
EMPTY = Schedule("", "")
# The description of the schedule that stops the lab when `awake` ends begins with this.
SINCE = "Awake since "
ALARMS = {
    "dropped": (DROPPED, "The schedule has given up starting or stopping the lab {}."),
    "errors": (ERRORS, "A call with which the schedule starts or stops the lab {} has failed, and may be repeated."),
}


@dataclass(frozen=True)
class ScheduledLab:
    """A lab with a schedule.

    Attributes:
        instances: The ids of its instances.
        topics: ARNs of the SNS topics to notify of failures.
        volume_key: ARN of the account's own key that encrypts new volumes; empty for AWS's.
        boundary: Name or ARN of the permissions boundary of its role; empty to leave it as it is.
    """

    name: str
    region: str
    account_id: str
    instances: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    topics: tuple[str, ...] = ()
    volume_key: str = ""
    boundary: str = ""

    @property
    def partition(self) -> str:
        """The partition of the region."""
        return partition_of(self.region)

    @property
    def group_arn(self) -> str:
        """The ARN of its group, which the role's trust names: Scheduler names the group, never a schedule."""
        place = f"arn:{self.partition}:scheduler:{self.region}:{self.account_id}"
        return f"{place}:schedule-group/{group_name(self.name)}"

    @property
    def role_arn(self) -> str:
        """The ARN of its role."""
        return f"arn:{self.partition}:iam::{self.account_id}:role/{role_name(self.name)}"

    @property
    def boundary_arn(self) -> str:
        """The ARN of the permissions boundary; empty without one."""
        if not self.boundary or self.boundary.startswith("arn:"):
            return self.boundary
        return f"arn:{self.partition}:iam::{self.account_id}:policy/{self.boundary}"

    @property
    def owner_tags(self) -> dict[str, str]:
        """The tags by which its group and its role are recognised. IAM has no regions."""
        return {"digital_twin_lab": self.name, "managed_by": MANAGED_BY, "digital_twin_region": self.region}

    @property
    def marker(self) -> str:
        """The end of the descriptions of its alarms."""
        return f"(schedule of digital_twin_lab: {self.name}, region: {self.region}, managed_by: {MANAGED_BY})"


def trust_conditions(lab: ScheduledLab) -> dict[str, Any]:
    """Return the conditions under which Scheduler may assume the role: for the lab's group only."""
    return {"StringEquals": {"aws:SourceAccount": lab.account_id, "aws:SourceArn": lab.group_arn}}


def trust(lab: ScheduledLab) -> dict[str, Any]:
    """Return the trust policy of the role, as iam_service_role writes it."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": SERVICE},
        "Action": "sts:AssumeRole",
        "Condition": trust_conditions(lab),
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy(lab: ScheduledLab) -> dict[str, Any]:
    """Return the policy of the role: the instances with the lab's tags, and the key of their volumes."""
    own = {"aws:ResourceTag/digital_twin_lab": lab.name, "aws:ResourceTag/managed_by": MANAGED_BY}
    place = f"arn:{lab.partition}:ec2:{lab.region}:{lab.account_id}:instance/*"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "Start",
            "Effect": "Allow",
            "Action": "ec2:StartInstances",
            "Resource": place,
            # A host that moves to another zone has two instances, of which only one may run.
            "Condition": {"StringEquals": own, "Null": {f"aws:ResourceTag/{MOVE_TAG}": "true"}},
        },
        {
            "Sid": "Stop",
            "Effect": "Allow",
            "Action": "ec2:StopInstances",
            "Resource": place,
            "Condition": {"StringEquals": own},
        },
    ]
    if lab.volume_key:
        # Without it EC2 starts no instance with such a volume, and reports that in its state only.
        statements.append(
            {
                "Sid": "VolumeKey",
                "Effect": "Allow",
                "Action": "kms:CreateGrant",
                "Resource": lab.volume_key,
                "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def schedules(lab: ScheduledLab, planned: list[Timer], since: datetime) -> list[dict[str, Any]]:
    """Return schedules as options of scheduler_schedule, one for each instance and timer.

    Stops come first: no run ends with a start without a stop, or with a held stop without the one that replaces it.

    Args:
        lab: The lab.
        planned: The timers.
        since: Since when the lab is kept awake, which the next run reads.
    """
    return [
        {
            "name": "-".join(filter(None, [timer.name, instance])),
            "expression": timer.expression,
            "timezone": timer.zone,
            "begin": timer.begin.astimezone(UTC).strftime(TIME_FORM) if timer.begin else "",
            "end": timer.end.astimezone(UTC).strftime(TIME_FORM) if timer.end else "",
            "description": f"{SINCE}{since.strftime(TIME_FORM)}" if timer.name == AWAKE else "",
            "target_arn": f"arn:{lab.partition}:scheduler:::aws-sdk:ec2:{TARGETS[timer.verb]}",
            "role_arn": lab.role_arn,
            "input": {"InstanceIds": [instance] if instance else []},
            "retry_seconds": timer.retry_seconds,
            "retry_attempts": ATTEMPTS,
            "once": timer.once,
        }
        for timer in sorted(planned, key=lambda timer: (timer.verb != STOP, timer.name != AWAKE, timer.name))
        # Check mode also shows the schedules of a lab that has no instances yet.
        for instance in sorted(lab.instances) or [""]
    ]


def split_name(name: str) -> tuple[str, str]:
    """Return the timer and the instance that the name of a schedule names; the instance is empty if it names none."""
    match = OF_INSTANCE.fullmatch(name)
    return (match[1], match[2]) if match else (name, "")


def by_timer(names: Iterable[str], instances: Iterable[str]) -> list[str]:
    """Return one phrase for each timer of some schedules, with the instances unless they are all of the lab's."""
    found: dict[str, list[str]] = {}
    for name in names:
        timer, instance = split_name(name)
        found.setdefault(timer, []).append(instance)
    everything = set(instances)
    return [
        timer if set(some) in ({""}, everything) else f"{timer} of {', '.join(filter(None, some))}"
        for timer, some in found.items()
    ]


def alarms(lab: ScheduledLab) -> list[dict[str, Any]]:
    """Return the alarms on failed calls, each as the options of amazon.aws.cloudwatch_metric_alarm."""
    return [
        {
            "name": f"{alarm_prefix(lab.name)}{ending}",
            "description": f"{description.format(lab.name)} {lab.marker}",
            "namespace": NAMESPACE,
            "metric_name": metric,
            "dimensions": {DIMENSION: group_name(lab.name)},
            "statistic": "Sum",
            "period": ALARM_SECONDS,
            "evaluation_periods": 1,
            "comparison": "GreaterThanOrEqualToThreshold",
            "threshold": 1.0,
            "treat_missing_data": "notBreaching",
            "alarm_actions": sorted(lab.topics),
            # There is no data between calls, so the end of an alarm means nothing.
            "ok_actions": [],
        }
        for ending, (metric, description) in ALARMS.items()
    ]


def has_tags(thing: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
    """Return whether a group or role exists and has some tags."""
    return bool(thing) and all(thing["tags"].get(key) == value for key, value in tags.items())


def differences(
    lab: ScheduledLab, state: Mapping[str, Any], planned: list[dict[str, Any]], now: datetime, *, over: bool = True
) -> list[str]:
    """Return what of the group and the role differs from the description, as phrases.

    Args:
        lab: The lab.
        state: What lab_schedule_info returned.
        planned: Its schedules, as `schedules` returns them.
        now: The time.
        over: Whether schedules whose time is over differ, too. AWS deletes a one-time schedule some time later.
    """
    group, role = state.get("group") or {}, state.get("role") or {}
    found = {row["name"]: Schedule(**row) for row in state.get("schedules") or []}
    wanted = {row["name"]: begun(Schedule(**row), now) for row in planned}
    tags = dict(lab.tags) | lab.owner_tags
    policies = role.get("inline_policies")
    name = role_name(lab.name)
    wrong_role = (
        role.get("trust_policy") != trust(lab)
        or not has_tags(role, tags)
        # None if the caller may not read them.
        or (policies is not None and policies.get(name) != policy(lab))
        or lab.boundary_arn not in ("", role.get("permissions_boundary"))
    )
    ignored = {one for one, row in {**found, **wanted}.items() if not over and is_over(vars(row), now)}
    wrong = [
        one
        for one, schedule in wanted.items()
        if begun(found.get(one, EMPTY), now) != schedule and (one in found or one not in ignored)
    ]
    excess = [one for one in found if one not in wanted and one not in ignored]
    return [
        *([f"role {name}"] if wrong_role else []),
        *([] if has_tags(group, tags) else [f"schedule group {group_name(lab.name)}"]),
        *(f"schedule {phrase}" for phrase in by_timer(wrong, lab.instances)),
        *(f"excess schedule {phrase}" for phrase in by_timer(excess, lab.instances)),
    ]


def read_timers(found: list[Mapping[str, Any]]) -> list[Timer]:
    """Return the timers of a group's enabled schedules that start or stop instances, each once for all instances."""
    verbs = {target: verb for verb, target in TARGETS.items()}
    timers = []
    for row in found:
        verb = verbs.get(str(row["target_arn"]).rpartition(":")[2])
        if verb and row["enabled"]:
            begin, end = (moment_of(row[key]) if row[key] else None for key in ("begin", "end"))
            name, zone, seconds = split_name(row["name"])[0], row["timezone"], row["retry_seconds"]
            timers.append(Timer(name, verb, row["expression"], zone, begin, end, seconds))
    return list(dict.fromkeys(timers))


def is_over(row: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a schedule invokes nothing any more, or only in the minutes by which clocks may differ."""
    known, _unknown = readable(read_timers([{**row, "enabled": True}]), now)
    if not known:
        return False
    timer = known[0]
    if timer.once:
        return not fires([timer], now + SKEW, now + timedelta(days=36525))
    return timer.end is not None and timer.end < now + SKEW


def read_held(found: list[Mapping[str, Any]], now: datetime) -> Held | None:
    """Return the schedules that stop the lab when `awake` ends, or None.

    They differ after a run that was interrupted: the lab is awake since the first time, until the last.
    """
    held = []
    for row in found:
        text = str(row["description"])
        if split_name(row["name"])[0] != AWAKE or not text.startswith(SINCE):
            continue
        moments = fires(readable(read_timers([row]), now)[0], now, now + AHEAD)
        try:
            since = moment_of(text.removeprefix(SINCE))
        except ValueError:
            continue
        if moments:
            held.append(Held(since, moments[0][0]))
    return Held(min(one.since for one in held), max(one.end for one in held)) if held else None


def readable(timers: list[Timer], now: datetime) -> tuple[list[Timer], list[str]]:
    """Return the schedules that can be foretold, and the names of the others, which another program wrote."""
    known, unknown = [], []
    for timer in timers:
        try:
            fires([timer], now, now)
            known.append(timer)
        except (KeyError, ValueError):
            unknown.append(timer.name)
    return known, unknown


def report(state: Mapping[str, Any], instances: list[str], awake_until: datetime | None, now: datetime) -> list[str]:
    """Return sentences about when the lab starts and stops, from the existing schedules.

    Args:
        state: What lab_schedule_info returned.
        instances: The ids of the lab's instances.
        awake_until: Until when nothing stops the lab.
        now: The time.
    """
    found = list(state.get("schedules") or [])
    timers, unknown = readable(read_timers(found), now)
    zone = next((timer.zone for timer in timers if not timer.once), "UTC")
    lines = []
    if not state.get("group"):
        lines.append("The lab has no schedule: nothing starts or stops it at a time.")
    for verb in (START, STOP) if state.get("group") else ():
        moments = [moment for moment, one in fires(timers, now, now + AHEAD) if one == verb]
        when = shown(moments[0], zone) if moments else f"not by its schedule{' within a year' if timers else ''}"
        lines.append(f"Next {verb}: {when}.")
    if awake_until and awake_until > now:
        lines.append(f"The lab is kept awake until {shown(awake_until, zone)}: nothing stops it before.")
    lines += [
        f"The schedule {name} is not one of this collection's, so its times are not shown."
        for name in dict.fromkeys(unknown)
    ]
    if off := by_timer([row["name"] for row in found if not row["enabled"]], instances):
        lines.append(f"Switched off in EventBridge Scheduler: {', '.join(off)}. Run playbooks/schedule.yml.")
    named = {one for row in found for one in row["input"].get("InstanceIds") or []}
    if found and named != set(instances):
        wrong = ", ".join(sorted(named ^ set(instances)))
        lines.append(f"The schedule does not name the lab's instances ({wrong} differs). Run playbooks/schedule.yml.")
    return lines + report_failures(state, zone)


def report_failures(state: Mapping[str, Any], zone: str) -> list[str]:
    """Return sentences about calls of the schedule that failed."""
    failed = state.get("failures") or {}
    dropped, errors = (failed.get(kind) or {"count": 0, "last": ""} for kind in ("dropped", "errors"))
    if not dropped["count"] and not errors["count"]:
        return []
    last = shown(moment_of(max(dropped["last"], errors["last"])), zone)
    given_up = f"{dropped['count']} of its starts and stops were given up" if dropped["count"] else "none was given up"
    return [
        f"The schedule's calls failed {errors['count']} times lately, and {given_up}; the last failure was in the hour "
        f"from {last}. CloudTrail has the reason, at the event StartInstances or StopInstances."
    ]


def shown(moment: datetime, zone: str) -> str:
    """Return a time as a user of a zone reads it."""
    return f"{moment.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M} ({zone})"
