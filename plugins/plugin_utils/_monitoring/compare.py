# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the planned monitoring of a lab with what CloudWatch holds. Nothing here contacts AWS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...module_utils._aws.dashboard import has_marker
from ...module_utils._problem import Problem, listed, shown
from .alarms import alarms
from .dashboard import dashboard
from .lab import Lab

ABSENT, OWN, FOREIGN = "absent", "own", "foreign"
# The keys in cloudwatch_info, by the option of amazon.aws.cloudwatch_metric_alarm.
PLAIN = {
    "description": "alarm_description",
    "namespace": "namespace",
    "metric_name": "metric_name",
    "statistic": "statistic",
    "period": "period",
    "evaluation_periods": "evaluation_periods",
    "comparison": "comparison_operator",
    "threshold": "threshold",
    "treat_missing_data": "treat_missing_data",
}
# The lab never sets these. actions_enabled is not compared, so that operators can disable the actions of an alarm, such
# as stopping an instance during a long job. The next change of that alarm enables its actions again.
UNSET = ("datapoints_to_alarm", "insufficient_data_actions", "metrics", "unit")


def compare(lab: Lab, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to the lab and what differs from the plan.

    Args:
        lab: The lab.
        state: What cloudwatch_info returned.
    """
    of_alarms = compare_alarms(lab, state.get("alarms", []))
    of_dashboard = compare_dashboard(lab, state.get("dashboards", []))
    groups = {group["name"]: group for group in state.get("log_groups", [])}
    changes = [change for name in lab.log_groups if (change := compare_log_group(lab, name, groups.get(name)))]
    title = f"dashboard {lab.dashboard_name}"
    return {
        **of_alarms,
        **of_dashboard,
        "log_groups": changes,
        "conflicts": conflicts(lab, of_alarms["foreign"], of_dashboard["dashboard_state"]),
        "differences": [
            *(f"{what}log group {change['name']}" for change in changes for what in change["differences"]),
            *(f"alarm {name}" for name in of_alarms["differing"]),
            *(f"excess alarm {name}" for name in of_alarms["excess"]),
            *([title] if of_dashboard["dashboard_differs"] else []),
        ],
        "existing": [
            *(f"alarm {name}" for name in of_alarms["own"]),
            *([title] if of_dashboard["dashboard_state"] == OWN else []),
            *(f"log group {name}" for name in groups),
        ],
        "own_log_groups": list(groups),
    }


def compare_alarms(lab: Lab, found: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of alarms in four lists.

    Returns:
        own: Existing alarms of this lab, by their descriptions. Host robo-2 of lab robo and lab robo-2 share names.
        foreign: Existing alarms of others with a name that an alarm of this lab needs.
        excess: Existing alarms of this lab that are no longer planned.
        differing: Planned alarms that are missing or differ.
    """
    planned = {alarm["name"]: alarm for alarm in alarms(lab)}
    existing = {alarm["alarm_name"]: alarm for alarm in found}
    own = [name for name, alarm in existing.items() if alarm.get("alarm_description", "").endswith(lab.marker)]
    return {
        "own": own,
        "foreign": [name for name in planned if name in existing and name not in own],
        "excess": [name for name in own if name not in planned],
        "differing": [
            name for name, alarm in planned.items() if name not in existing or not is_alarm_like(existing[name], alarm)
        ],
    }


def is_alarm_like(found: dict[str, Any], planned: dict[str, Any]) -> bool:
    """Return whether an alarm is as planned, in any order of its dimensions and actions."""
    return (
        all(found.get(theirs) == planned[ours] for ours, theirs in PLAIN.items())
        and {row["name"]: row["value"] for row in found.get("dimensions", [])} == planned["dimensions"]
        and all(sorted(found.get(key, [])) == sorted(planned[key]) for key in ("alarm_actions", "ok_actions"))
        and not any(found.get(key) for key in UNSET)
    )


def compare_dashboard(lab: Lab, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the owner of the existing dashboard, and whether to write or delete it."""
    body = found[0]["body"] if found else None
    state = ABSENT if not found else OWN if has_marker(body, lab.dashboard_marker) else FOREIGN
    differs = body != dashboard(lab) if lab.has_dashboard else state == OWN
    return {"dashboard_state": state, "dashboard_differs": differs}


def compare_log_group(lab: Lab, name: str, found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what differs about one log group; None when it is as planned. Further tags of it are ignored."""
    if found is None:
        return {"name": name, "exists": False, "differences": [""]}
    differences = []
    if found["retention_days"] != lab.log_retention_days:
        differences.append("retention of ")
    if any(found["tags"].get(key) != value for key, value in lab.all_tags.items()):
        differences.append("tags of ")
    return {"name": name, "exists": True, "differences": differences} if differences else None


def conflicts(lab: Lab, foreign_alarms: list[str], dashboard_state: str) -> list[Problem]:
    """Return why applying the plan would overwrite alarms or a dashboard of others."""
    problems = []
    if foreign_alarms:
        problems.append(
            Problem(
                "aws_monitoring_instances",
                listed(foreign_alarms),
                "already exist and do not belong to this lab",
                f"names that no other alarm in {lab.region} has",
                "rename the hosts, or delete these alarms",
            )
        )
    if lab.has_dashboard and dashboard_state == FOREIGN:
        problems.append(
            Problem(
                "aws_monitoring_name",
                shown(lab.name),
                f"needs the dashboard {lab.dashboard_name}, which already exists and does not belong to this lab in "
                f"{lab.region}",
                "a name that no other lab or dashboard of the account has, whatever its region",
                "rename the lab, delete that dashboard, or set aws_monitoring_dashboard=false",
            )
        )
    return problems
