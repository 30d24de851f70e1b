# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read, compare and write the AWS Budgets budget of a lab, with the action that stops its instances.

A budget belongs to the account, not to a region. Its tags show whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._lab.record import MANAGED_BY

# The share of the limit at which subscribers are notified, in percent. At all of it the instances are stopped.
NOTIFIED_AT = 80
STOPPED_AT = 100
MOST_INSTANCES = 100


class BudgetError(Exception):
    """A budget that must not be changed, or that AWS would not accept."""


@dataclass(frozen=True)
class Wanted:
    """A lab's budget.

    Attributes:
        limit: US dollars a month.
        notify: ARNs of SNS topics and e-mail addresses.
        instance_ids: The instances to stop.
        role_arn: The role with which AWS Budgets stops them.
    """

    lab: str
    region: str
    limit: float
    notify: Sequence[str] = ()
    instance_ids: Sequence[str] = ()
    role_arn: str = ""

    @property
    def name(self) -> str:
        """The name of the budget."""
        return name_of(self.lab)

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return {"digital_twin_lab": self.lab, "managed_by": MANAGED_BY, "digital_twin_region": self.region}

    def budget(self) -> dict[str, Any]:
        """Return it as the API describes it. The filter is the cost allocation tag of the lab."""
        return {
            "BudgetName": self.name,
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": f"{self.limit:.2f}", "Unit": "USD"},
            "CostFilters": {"TagKeyValue": [f"user:digital_twin_lab${self.lab}"], "Region": [self.region]},
        }

    def subscribers(self) -> list[dict[str, str]]:
        """Return who is notified."""
        return [
            {"SubscriptionType": "SNS" if address.startswith("arn:") else "EMAIL", "Address": address}
            for address in dict.fromkeys(self.notify)
        ]

    def notification(self) -> dict[str, Any]:
        """Return the notification."""
        return {
            "NotificationType": "ACTUAL",
            "ComparisonOperator": "GREATER_THAN",
            "Threshold": float(NOTIFIED_AT),
            "ThresholdType": "PERCENTAGE",
        }

    def action(self) -> dict[str, Any]:
        """Return the action."""
        instances = sorted(self.instance_ids)
        stop = {"ActionSubType": "STOP_EC2_INSTANCES", "Region": self.region, "InstanceIds": instances}
        return {
            "NotificationType": "ACTUAL",
            "ActionType": "RUN_SSM_DOCUMENTS",
            "ActionThreshold": {"ActionThresholdValue": float(STOPPED_AT), "ActionThresholdType": "PERCENTAGE"},
            "Definition": {"SsmActionDefinition": stop},
            "ExecutionRoleArn": self.role_arn,
            "ApprovalModel": "AUTOMATIC",
            "Subscribers": self.subscribers(),
        }


@dataclass(frozen=True)
class Existing:
    """A budget in the account.

    Attributes:
        subscribers: Of each notification, with the notification.
    """

    budget: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    notifications: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, str]]]] = ()
    actions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Call:
    """A call that changes the budget: boto3's method, and its parameters without account and budget."""

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """The action in the API's notation."""
        return f"budgets:{''.join(map(str.capitalize, self.method.split('_')))}"

    @property
    def permission(self) -> str:
        """The action in IAM's notation, which has one for all changes of budgets and notifications."""
        return self.action if self.method.endswith("_budget_action") else "budgets:ModifyBudget"


def name_of(lab: str) -> str:
    """Return the name of a lab's budget."""
    return f"digital-twin-{lab}"


def arn_of(partition: str, account_id: str, name: str) -> str:
    """Return the ARN of a budget."""
    return f"arn:{partition}:budgets::{account_id}:budget/{name}"


def read(client: Any, account_id: str, arn: str, name: str) -> Existing | None:
    """Return a budget, or None when it does not exist."""
    named = {"AccountId": account_id, "BudgetName": name}
    try:
        budget = client.describe_budget(**named)["Budget"]
    except client.exceptions.NotFoundException:
        return None
    tags = client.list_tags_for_resource(ResourceARN=arn)["ResourceTags"]
    notifications = []
    for found in _pages(client, "describe_notifications_for_budget", "Notifications", **named):
        asked = {key: value for key, value in found.items() if key != "NotificationState"}
        listed = _pages(client, "describe_subscribers_for_notification", "Subscribers", Notification=asked, **named)
        notifications.append((asked, listed))
    actions = _pages(client, "describe_budget_actions_for_budget", "Actions", **named)
    return Existing(budget, {tag["Key"]: tag["Value"] for tag in tags}, notifications, actions)


def _pages(client: Any, method: str, key: str, **parameters: Any) -> list[Any]:
    """Return the items of all pages."""
    pages = client.get_paginator(method).paginate(**parameters)
    return [item for page in pages for item in page.get(key) or []]


def check_own(found: Existing | None, wanted: Wanted) -> None:
    """Check that an existing budget is the lab's.

    Raises:
        BudgetError: It is another one, such as that of a lab of the same name in another region.
    """
    if found is not None and not wanted.tags.items() <= found.tags.items():
        text = ", ".join(f"{key}={value}" for key, value in wanted.tags.items())
        raise BudgetError(
            f"The budget {wanted.name} exists and does not carry the tags of this lab ({text}). Nothing was changed."
            " Choose another name for the lab, or delete that budget, or set these tags if the lab created it."
        )


def plan(found: Existing | None, wanted: Wanted) -> list[Call]:
    """Return the calls that make a budget what it should be.

    Raises:
        BudgetError: AWS would not accept it, or another one has its name.
    """
    check_own(found, wanted)
    subscribers = wanted.subscribers()
    if not subscribers:
        raise BudgetError(
            "notify: empty. AWS Budgets requires a subscriber. Set the ARN of an SNS topic or an e-mail address."
        )
    emails = [item for item in subscribers if item["SubscriptionType"] == "EMAIL"]
    if len(subscribers) - len(emails) > 1 or len(emails) > 10:
        raise BudgetError("notify: AWS allows one SNS topic and ten e-mail addresses. Remove the others.")
    if len(wanted.instance_ids) > MOST_INSTANCES:
        raise BudgetError(f"instance_ids: {len(wanted.instance_ids)} instances. AWS allows {MOST_INSTANCES}.")
    calls = []
    notified = {"Notification": wanted.notification(), "Subscribers": subscribers}
    if found is None:
        tags = [{"Key": key, "Value": value} for key, value in wanted.tags.items()]
        given = {"Budget": wanted.budget(), "NotificationsWithSubscribers": [notified], "ResourceTags": tags}
        calls.append(Call("create_budget", given))
    else:
        if not _same_budget(found.budget, wanted.budget()):
            calls.append(Call("update_budget", {"NewBudget": wanted.budget()}))
        kept = [item for item in found.notifications if dict(item[0]) == notified["Notification"]]
        if not kept or _sorted(kept[0][1]) != _sorted(subscribers):
            calls += [Call("delete_notification", {"Notification": dict(item[0])}) for item in kept]
            calls.append(Call("create_notification", notified))
        others = [item[0] for item in found.notifications if dict(item[0]) != notified["Notification"]]
        calls += [Call("delete_notification", {"Notification": dict(item)}) for item in others if not _of_action(item)]
    return calls + _plan_action(found.actions if found else [], wanted)


def _of_action(notification: Mapping[str, Any]) -> bool:
    """Return whether a notification is the one that AWS keeps for the action: it has the action's threshold."""
    return float(notification["Threshold"]) == STOPPED_AT and notification["NotificationType"] == "ACTUAL"


def _plan_action(actions: Sequence[Mapping[str, Any]], wanted: Wanted) -> list[Call]:
    """Return the calls that make the action what it should be. Without instances there is none."""
    if not wanted.instance_ids:
        return [Call("delete_budget_action", {"ActionId": action["ActionId"]}) for action in actions]
    wished = wanted.action()
    own = [action for action in actions if action["ActionType"] == wished["ActionType"]]
    calls = [
        Call("delete_budget_action", {"ActionId": action["ActionId"]}) for action in actions if action not in own[:1]
    ]
    if not own:
        tags = [{"Key": key, "Value": value} for key, value in wanted.tags.items()]
        return [*calls, Call("create_budget_action", {**wished, "ResourceTags": tags})]
    changes = {key: value for key, value in wished.items() if _normal(own[0].get(key)) != _normal(value)}
    changes.pop("ActionType", None)
    if changes:
        calls.append(Call("update_budget_action", {"ActionId": own[0]["ActionId"], **changes}))
    return calls


def _same_budget(found: Mapping[str, Any], wished: Mapping[str, Any]) -> bool:
    """Return whether a budget is as it should be; AWS adds to it, and writes amounts in its own way."""
    amount = found.get("BudgetLimit") or {}
    same = all(found.get(key) == wished[key] for key in ("BudgetType", "TimeUnit"))
    return (
        same
        and float(amount.get("Amount", -1)) == float(wished["BudgetLimit"]["Amount"])
        and _normal(found.get("CostFilters") or {}) == _normal(wished["CostFilters"])
    )


def _sorted(items: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return subscribers in an order."""
    return sorted((item["SubscriptionType"], item["Address"]) for item in items)


def _normal(value: Any) -> Any:
    """Return a value in which the order of lists does not matter."""
    if isinstance(value, Mapping):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return sorted((_normal(item) for item in value), key=repr)
    return float(value) if isinstance(value, int) else value


def plan_removal(found: Existing | None, wanted: Wanted) -> list[Call]:
    """Return the calls that delete a budget. Its notifications end with it.

    Raises:
        BudgetError: Another one has its name.
    """
    if found is None:
        return []
    check_own(found, wanted)
    actions = [Call("delete_budget_action", {"ActionId": action["ActionId"]}) for action in found.actions]
    return [*actions, Call("delete_budget")]


def apply(client: Any, account_id: str, name: str, call: Call) -> None:
    """Make one call."""
    named = {"AccountId": account_id}
    if call.method not in ("create_budget", "update_budget"):
        named["BudgetName"] = name
    getattr(client, call.method)(**named, **call.parameters)
