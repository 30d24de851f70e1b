"""AWS Budgets where moto lacks it: tags, subscribers, updates, actions that stop instances, and validation.

Sources. Read on 2026-11-30: botocore 1.44.5, budgets 2016-10-20 (patterns, ranges, errors; one SNS topic and ten e-mail
addresses for a notification, ten notifications for a budget, which ends with them; roles and actions are in the same
account); AWS Cost Management User Guide, "Setting up a role for AWS Budgets to run budget actions" (its trust names
budgets.amazonaws.com). Inferred: the messages, that a role without that trust is refused, and that a budget with
actions can be deleted.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

from moto.budgets.exceptions import DuplicateRecordException, NotFoundException
from moto.budgets.models import BudgetsBackend, budgets_backends
from moto.budgets.responses import BudgetsResponse
from moto.core.exceptions import JsonRESTError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import unix_time
from moto.iam.models import iam_backends

from sandbox.errors import SandboxError

NAME = re.compile(r"(?!.*/action/)[^:\\]{1,100}")
INSTANCE = re.compile(r"i-(\w{8}|\w{17})")
REGION = re.compile(r"\w{2,4}-\w+(-\w+)?-\d")
ROLE = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?:.+/)?(?P<name>[\w+=,.@-]+)")
ARN = re.compile(r"arn:aws[a-z-]*:budgets::(?P<account>\d{12}):budget/(?P<name>[^/]+)(?:/action/(?P<action>.+))?")
MOST_NOTIFICATIONS, MOST_TOPICS, MOST_EMAILS, MOST_INSTANCES = 10, 1, 10, 100
SERVICE = "budgets.amazonaws.com"
BUSY = ("EXECUTION_IN_PROGRESS", "REVERSE_IN_PROGRESS", "RESET_IN_PROGRESS")
# By the name of the budget: what moto does not keep.
TAGS: dict[str, list[dict[str, str]]] = {}
ACTIONS: dict[str, dict[str, dict[str, Any]]] = {}


def invalid(message: str) -> JsonRESTError:
    """Return an InvalidParameterException."""
    return JsonRESTError("InvalidParameterException", message)


def backend() -> BudgetsBackend:
    """Return moto's budgets of the account."""
    found: BudgetsBackend = budgets_backends[DEFAULT_ACCOUNT_ID]["aws"]
    return found


def budget_of(name: str) -> Any:
    """Return a budget.

    :raises NotFoundException: there is none.
    """
    found = backend().budgets[DEFAULT_ACCOUNT_ID].get(name)
    if found is None:
        raise NotFoundException(f"Unable to get budget: {name} - the budget doesn't exist.")
    return found


def check_budget(budget: dict[str, Any]) -> None:
    """Check a budget.

    :raises JsonRESTError: it is not one.
    """
    if not NAME.fullmatch(str(budget.get("BudgetName", ""))):
        raise invalid("The budget name is not valid.")
    limit = budget.get("BudgetLimit") or {}
    if not re.fullmatch(r"([0-9]*\.)?[0-9]+", str(limit.get("Amount", ""))) or not limit.get("Unit"):
        raise invalid("Please provide a budget limit.")
    for value in (budget.get("CostFilters") or {}).get("TagKeyValue", []):
        if "$" not in value:
            raise invalid(f"The tag filter {value} must be a key and a value, separated by $.")


def check_subscribers(subscribers: list[dict[str, str]]) -> None:
    """Check who is notified.

    :raises JsonRESTError: no one, or more than AWS allows.
    """
    kinds = [item["SubscriptionType"] for item in subscribers]
    if not kinds:
        raise invalid("At least one subscriber is required.")
    if kinds.count("SNS") > MOST_TOPICS or kinds.count("EMAIL") > MOST_EMAILS:
        raise JsonRESTError("CreationLimitExceededException", "One SNS and ten email subscribers are allowed.")
    for item in subscribers:
        form = r"arn:aws[a-z-]*:sns:.+" if item["SubscriptionType"] == "SNS" else r"[^@\s]+@[^@\s]+"
        if not re.fullmatch(form, item["Address"]):
            raise invalid("The address of a subscriber is not valid.")


def check_action(given: dict[str, Any]) -> None:
    """Check the definition of an action.

    :raises JsonRESTError: it is not one that the sandbox carries out.
    """
    definition = (given.get("Definition") or {}).get("SsmActionDefinition") or {}
    if given.get("ActionType") != "RUN_SSM_DOCUMENTS" or definition.get("ActionSubType") != "STOP_EC2_INSTANCES":
        raise invalid("The sandbox carries out RUN_SSM_DOCUMENTS with STOP_EC2_INSTANCES only.")
    ids = definition.get("InstanceIds") or []
    if not 1 <= len(ids) <= MOST_INSTANCES or not all(INSTANCE.fullmatch(item) for item in ids):
        raise invalid("InstanceIds is not valid.")
    if not REGION.fullmatch(str(definition.get("Region", ""))):
        raise invalid("Region is not valid.")
    check_subscribers(given.get("Subscribers") or [])
    check_role(str(given.get("ExecutionRoleArn", "")))


def check_role(arn: str) -> None:
    """Check that AWS Budgets may assume a role.

    :raises JsonRESTError: it may not.
    """
    match = ROLE.fullmatch(arn)
    if match is None or match["account"] != DEFAULT_ACCOUNT_ID:
        raise invalid("ExecutionRoleArn is not the ARN of a role of this account.")
    roles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].roles.values()
    role = next((role for role in roles if role.name == match["name"]), None)
    if role is None or SERVICE not in str(role.assume_role_policy_document):
        raise invalid(f"The execution role {arn} does not exist, or {SERVICE} may not assume it.")


def create_budget(self: Any) -> str:
    """Answer CreateBudget."""
    budget, notifications = self._get_param("Budget"), self._get_param("NotificationsWithSubscribers", [])
    check_budget(budget)
    if len(notifications) > MOST_NOTIFICATIONS:
        raise JsonRESTError("CreationLimitExceededException", "Ten notifications are allowed.")
    for item in notifications:
        check_subscribers(item["Subscribers"])
    self.backend.create_budget(account_id=self._get_param("AccountId"), budget=budget, notifications=notifications)
    TAGS[budget["BudgetName"]] = list(self._get_param("ResourceTags", []) or [])
    ACTIONS[budget["BudgetName"]] = {}
    return "{}"


def update_budget(self: Any) -> str:
    """Answer UpdateBudget: what is not given is reset, but for the period."""
    given = self._get_param("NewBudget")
    check_budget(given)
    found = budget_of(given["BudgetName"])
    period = found.budget["TimePeriod"]
    found.budget = {"TimePeriod": period, **given, "LastUpdatedTime": unix_time()}
    return "{}"


def delete_budget(self: Any) -> str:
    """Answer DeleteBudget."""
    name = self._get_param("BudgetName")
    self.backend.delete_budget(account_id=self._get_param("AccountId"), budget_name=name)
    TAGS.pop(name, None)
    ACTIONS.pop(name, None)
    return "{}"


def create_notification(self: Any) -> str:
    """Answer CreateNotification."""
    found = budget_of(self._get_param("BudgetName"))
    notification, subscribers = self._get_param("Notification"), self._get_param("Subscribers", [])
    check_subscribers(subscribers)
    if any(item.details == notification for item in found.notifications):
        raise DuplicateRecordException("notification", str(notification["Threshold"]))
    if len(found.notifications) >= MOST_NOTIFICATIONS:
        raise JsonRESTError("CreationLimitExceededException", "Ten notifications are allowed.")
    found.add_notification(notification, subscribers)
    return "{}"


def describe_subscribers_for_notification(self: Any) -> str:
    """Answer DescribeSubscribersForNotification."""
    found = budget_of(self._get_param("BudgetName"))
    asked = self._get_param("Notification")
    for item in found.notifications:
        if item.details == asked:
            return json.dumps({"Subscribers": item.subscribers})
    raise NotFoundException("The notification doesn't exist.")


def list_tags_for_resource(self: Any) -> str:
    """Answer ListTagsForResource."""
    match = ARN.fullmatch(self._get_param("ResourceARN"))
    if match is None:
        raise invalid("ResourceARN is not valid.")
    budget_of(match["name"])
    if match["action"]:
        return json.dumps({"ResourceTags": action_of(match["name"], match["action"])["tags"]})
    return json.dumps({"ResourceTags": TAGS.get(match["name"], [])})


def action_of(name: str, identifier: str) -> dict[str, Any]:
    """Return an action.

    :raises NotFoundException: there is none.
    """
    budget_of(name)
    found = ACTIONS.get(name, {}).get(identifier)
    if found is None:
        raise NotFoundException(f"The action {identifier} doesn't exist.")
    return found


FIELDS = (
    "NotificationType",
    "ActionType",
    "ActionThreshold",
    "Definition",
    "ExecutionRoleArn",
    "ApprovalModel",
    "Subscribers",
)


def create_budget_action(self: Any) -> str:
    """Answer CreateBudgetAction."""
    name = self._get_param("BudgetName")
    budget_of(name)
    given = {field: self._get_param(field) for field in FIELDS}
    check_action(given)
    identifier = str(uuid.uuid4())
    action = {"ActionId": identifier, "BudgetName": name, **given, "Status": "STANDBY"}
    ACTIONS.setdefault(name, {})[identifier] = {"action": action, "tags": self._get_param("ResourceTags", []) or []}
    account = self._get_param("AccountId")
    return json.dumps({"AccountId": account, "BudgetName": name, "ActionId": identifier})


def update_budget_action(self: Any) -> str:
    """Answer UpdateBudgetAction."""
    name = self._get_param("BudgetName")
    found = action_of(name, self._get_param("ActionId"))
    check_idle(found["action"])
    given = {field: self._get_param(field) for field in FIELDS if self._get_param(field) is not None}
    if "ActionType" in given:
        raise invalid("The type of an action cannot be changed.")
    changed = {**found["action"], **given}
    check_action(changed)
    old, found["action"] = found["action"], changed
    account = self._get_param("AccountId")
    return json.dumps({"AccountId": account, "BudgetName": name, "OldAction": old, "NewAction": changed})


def delete_budget_action(self: Any) -> str:
    """Answer DeleteBudgetAction."""
    name, identifier = self._get_param("BudgetName"), self._get_param("ActionId")
    found = action_of(name, identifier)
    check_idle(found["action"])
    del ACTIONS[name][identifier]
    return json.dumps({"AccountId": self._get_param("AccountId"), "BudgetName": name, "Action": found["action"]})


def check_idle(action: dict[str, Any]) -> None:
    """Check that an action is not being carried out.

    :raises JsonRESTError: it is.
    """
    if action["Status"] in BUSY:
        raise JsonRESTError("ResourceLockedException", "The action is being carried out.")


def describe_budget_actions_for_budget(self: Any) -> str:
    """Answer DescribeBudgetActionsForBudget."""
    name = self._get_param("BudgetName")
    budget_of(name)
    return json.dumps({"Actions": [found["action"] for found in ACTIONS.get(name, {}).values()]})


def spend(name: str, amount: float, stop: Callable[[str, list[str], str], str]) -> list[str]:
    """Let a lab have cost an amount this month, and carry out the actions that are due; return their states.

    :param stop: stops the instances of a region for a budget, and returns why not, empty if it did.
    :raises SandboxError: there is no such budget.
    """
    try:
        found = budget_of(name)
    except NotFoundException as error:
        raise SandboxError(str(error)) from error
    spent = {"Amount": f"{float(amount):.2f}", "Unit": "USD"}
    found.budget["CalculatedSpend"] = {"ActualSpend": spent, "ForecastedSpend": spent}
    limit, states = float(found.budget["BudgetLimit"]["Amount"]), []
    for entry in ACTIONS.get(name, {}).values():
        action = entry["action"]
        threshold = action["ActionThreshold"]
        bound = float(threshold["ActionThresholdValue"])
        bound = limit * bound / 100 if threshold["ActionThresholdType"] == "PERCENTAGE" else bound
        if amount > bound and action["Status"] == "STANDBY":
            definition = action["Definition"]["SsmActionDefinition"]
            refused = stop(definition["Region"], list(definition["InstanceIds"]), name)
            action["Status"] = "EXECUTION_FAILURE" if refused else "EXECUTION_SUCCESS"
        elif amount <= bound:
            action["Status"] = "STANDBY"
        states.append(str(action["Status"]))
    return states


@cache
def install() -> None:
    """Patch moto in this process."""
    kind: Any = BudgetsResponse
    for answer in (
        create_budget,
        update_budget,
        delete_budget,
        create_notification,
        describe_subscribers_for_notification,
        list_tags_for_resource,
        create_budget_action,
        update_budget_action,
        delete_budget_action,
        describe_budget_actions_for_budget,
    ):
        setattr(kind, answer.__name__, answer)
