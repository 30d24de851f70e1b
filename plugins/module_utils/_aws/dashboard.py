# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read, compare and write CloudWatch dashboards."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any

# AnsibleAWSModule reports a missing botocore before anything here is called.
with contextlib.suppress(ImportError):
    from botocore.exceptions import ClientError

from .._problem import Problem, shown
from .errors import ReadError, translated

NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
ABSENT = "ResourceNotFound"
INVALID = "InvalidParameterInput"


class DashboardError(Exception):
    """A dashboard that cannot be created; the text has one line for each reason."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard in CloudWatch.

    Attributes:
        arn: Its ARN.
        body: Its body; text when the stored body is not JSON.
    """

    arn: str
    body: object


@dataclass(frozen=True)
class Message:
    """An error or warning of CloudWatch about a body, and its place there."""

    data_path: str
    message: str

    def __str__(self) -> str:
        """Return both as one line."""
        return f"{self.data_path or '/'}: {self.message}"


def check_name(name: str) -> str:
    """Return a dashboard's name.

    Raises:
        DashboardError: CloudWatch does not accept it.
    """
    if not NAME.fullmatch(name):
        allowed = "1 to 255 letters, digits, dashes and underscores, without accents"
        raise DashboardError(str(Problem("name", shown(name), "is not a dashboard's name", allowed, "choose another")))
    return name


def parse_body(body: object) -> dict[str, Any]:
    """Return a body from a mapping or from JSON text.

    Raises:
        DashboardError: it is neither.
    """
    parsed = body
    if isinstance(body, str):
        try:
            parsed = json.loads(body)
        except ValueError as error:
            problem = Problem(
                "body", shown(body), f"is not JSON ({error})", "a JSON object, or a mapping", "correct it"
            )
            raise DashboardError(str(problem)) from error
    if not isinstance(parsed, dict):
        reason = "is not a JSON object"
        raise DashboardError(
            str(Problem("body", shown(parsed), reason, "a mapping with the key widgets", 'write {"widgets": []}'))
        )
    return parsed


def pretty(body: object) -> str:
    """Return a body as canonical JSON, so that equal texts mean equal dashboards."""
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read(client: Any, name: str, region: str) -> Dashboard | None:
    """Return a dashboard, or None when it does not exist.

    Raises:
        ReadError: CloudWatch did not answer.
    """
    try:
        with translated("cloudwatch:GetDashboard", region):
            answer = client.get_dashboard(DashboardName=name)
    except ReadError as error:
        if error.code == ABSENT:
            return None
        raise
    body: object = answer["DashboardBody"]
    with contextlib.suppress(ValueError):
        body = json.loads(answer["DashboardBody"])
    return Dashboard(answer.get("DashboardArn", ""), body)


def has_marker(body: object, marker: str) -> bool:
    """Return whether a text widget of a body contains a marker."""
    widgets = body.get("widgets") if isinstance(body, dict) else None
    texts = [widget for widget in widgets or [] if isinstance(widget, dict) and widget.get("type") == "text"]
    return any(
        marker in str(widget["properties"].get("markdown", ""))
        for widget in texts
        if isinstance(widget.get("properties"), dict)
    )


def check_marker(body: dict[str, Any], marker: str) -> None:
    """Check that a body contains the marker by which the next run identifies it.

    Raises:
        DashboardError: it does not.
    """
    if not has_marker(body, marker):
        allowed = "a body with the marker in the markdown of a text widget"
        reason = "is not in the body, where the next run expects it"
        raise DashboardError(str(Problem("marker", shown(marker), reason, allowed, "write it there")))


def foreign(name: str, marker: str) -> str:
    """Return why an existing dashboard is not replaced."""
    reason = f"is an existing dashboard without {marker} in a text widget"
    allowed = "a name that no other dashboard of the account has, whatever its region"
    return str(Problem("name", shown(name), reason, allowed, "choose another, or delete this dashboard"))


def write(client: Any, name: str, body: dict[str, Any], region: str) -> list[Message]:
    """Store a dashboard and return the warnings of CloudWatch.

    Raises:
        DashboardError: CloudWatch finds errors in the body; nothing was stored.
        ReadError: CloudWatch did not answer.
    """
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    with translated("cloudwatch:PutDashboard", region):
        try:
            answer = client.put_dashboard(DashboardName=name, DashboardBody=text)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != INVALID:
                raise
            raise DashboardError("\n".join(refusals(name, dict(error.response)))) from error
    return _messages(answer.get("DashboardValidationMessages"))


def refusals(name: str, answer: dict[str, Any]) -> list[str]:
    """Return one line for each error that CloudWatch found in a body."""
    messages = _messages(answer.get("dashboardValidationMessages") or answer.get("DashboardValidationMessages"))
    if not messages:
        messages = [Message("", " ".join(str(answer["Error"].get("Message", "")).split()))]
    allowed = "a body without errors"
    return [
        str(Problem("body", "", f"CloudWatch refuses it for {name} at {message}", allowed, "correct it there"))
        for message in messages
    ]


def delete(client: Any, name: str, region: str) -> None:
    """Delete a dashboard, unless it has been deleted in the meantime.

    Raises:
        ReadError: CloudWatch did not answer.
    """
    try:
        with translated("cloudwatch:DeleteDashboards", region):
            client.delete_dashboards(DashboardNames=[name])
    except ReadError as error:
        if error.code != ABSENT:
            raise


def _messages(messages: list[dict[str, str]] | None) -> list[Message]:
    """Return CloudWatch's messages about a body."""
    return [Message(item.get("DataPath", ""), " ".join(item.get("Message", "").split())) for item in messages or []]
