#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that manages the AWS Budgets budget of a lab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_budget
version_added: 1.0.0
short_description: Manage a budget that stops the instances of a lab
description:
  - Creates, updates or deletes a monthly budget in AWS Budgets, C(digital-twin-<name>), for the cost of one lab.
  - It notifies at 80 % of the limit, and stops the instances at 100 %, by an action that runs the SSM document which
    stops EC2 instances.
  - The budget counts resources by their tag C(digital_twin_lab). This tag must be activated as a cost allocation tag in
    the billing settings of the account, or of the organisation's management account. Before that the budget counts
    nothing.
  - AWS updates costs some times a day, so a lab may cost more than its limit by what it costs in some hours.
options:
  name:
    description: The name of the lab.
    type: str
    required: true
  state:
    description: Whether the budget should exist.
    type: str
    choices: [present, absent]
    default: present
  limit:
    description: The limit in US dollars a month. Required with O(state=present).
    type: float
  notify:
    description: Who is notified, the ARN of one SNS topic and up to ten e-mail addresses. AWS requires at least one.
    type: list
    elements: str
    default: []
  instance_ids:
    description: The instances to stop. Without any the budget only notifies.
    type: list
    elements: str
    default: []
  role_arn:
    description: The IAM role with which AWS Budgets stops them. Required with O(instance_ids).
    type: str
    default: ''
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
notes:
  - Needs the permissions C(budgets:ViewBudget), C(budgets:ModifyBudget), C(budgets:ListTagsForResource),
    C(budgets:TagResource), C(budgets:DescribeBudgetActionsForBudget), C(budgets:CreateBudgetAction),
    C(budgets:UpdateBudgetAction), C(budgets:DeleteBudgetAction), and C(iam:PassRole) for O(role_arn).
  - A budget of this name that does not carry the tags of the lab and of its region is never changed.
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Stop the lab at 200 dollars a month
  digital_twin.robotics_lab.lab_budget:
    name: warehouse
    region: eu-central-1
    limit: 200
    notify: [operations@example.com]
    instance_ids: [i-0123456789abcdef0]
    role_arn: arn:aws:iam::123456789012:role/digital-twin-warehouse-budget
"""

RETURN = r"""
actions:
  description: The calls that changed the budget, in their order, or would in check mode.
  returned: success
  type: list
  elements: str
  sample: [budgets:CreateBudget, budgets:CreateBudgetAction]
budget:
  description: The name of the budget.
  returned: success
  type: str
  sample: digital-twin-warehouse
"""

import contextlib
import time
from typing import Any

# AnsibleAWSModule reports a missing botocore before anything here is called.
with contextlib.suppress(ImportError):
    from botocore.exceptions import ClientError

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account, home_region
from ..module_utils._aws.connection import connector, region_of, run_module
from ..module_utils._aws.errors import translated
from ..module_utils._aws.names import partition_of
from ..module_utils._lab.names import is_lab_name
from ..module_utils._usage import budget

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "limit": {"type": "float"},
    "notify": {"type": "list", "elements": "str", "default": []},
    "instance_ids": {"type": "list", "elements": "str", "default": []},
    "role_arn": {"type": "str", "default": ""},
}
# AWS Budgets sees a new role some seconds after IAM.
ATTEMPTS = 6
PAUSE = 5


def manage(module: AnsibleAWSModule) -> dict[str, Any]:
    """Read, compare, write; return the module's result.

    Raises:
        ReadError: AWS did not answer, or refused.
        BudgetError: The budget must not be changed, or AWS would not accept it.
    """
    given, region = module.params, region_of(module)
    if not is_lab_name(given["name"]):
        raise budget.BudgetError(f'name: "{given["name"]}" is not the name of a lab.')
    if given["instance_ids"] and not given["role_arn"]:
        raise budget.BudgetError("role_arn: empty. Set the ARN of the role with which AWS Budgets stops the instances.")
    wanted = budget.Wanted(
        given["name"], region, given["limit"] or 0.0, given["notify"], given["instance_ids"], given["role_arn"]
    )
    if given["state"] == "present" and wanted.limit <= 0:
        raise budget.BudgetError(f"limit: {wanted.limit:g} is not a limit. Allowed: more than 0 US dollars a month.")
    account_id = Account(connector(module), region).caller().account_id
    arn = budget.arn_of(partition_of(region), account_id, wanted.name)
    home = home_region(region)
    with translated("budgets:ViewBudget", home):
        client = connector(module)("budgets", home)
        found = budget.read(client, account_id, arn, wanted.name)
    calls = budget.plan(found, wanted) if given["state"] == "present" else budget.plan_removal(found, wanted)
    if not module.check_mode:
        for call in calls:
            with translated(call.permission, home):
                make(client, account_id, wanted.name, call)
    actions = [call.action for call in calls]
    after = "".join(f"{action}\n" for action in actions)
    return {
        "changed": bool(calls),
        "budget": wanted.name,
        "actions": actions,
        "diff": {"before": "", "after": after},
    }


def make(client: Any, account_id: str, name: str, call: budget.Call) -> None:
    """Make one call; one that names a new role may need several attempts."""
    for attempt in range(ATTEMPTS):
        try:
            budget.apply(client, account_id, name, call)
        except ClientError as error:
            text = error.response["Error"].get("Message", "")
            unseen = "ExecutionRoleArn" in call.parameters and "role" in text.lower()
            if not unseen or attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
        else:
            return


def main() -> None:
    """Manage the budget, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), manage, budget.BudgetError)


if __name__ == "__main__":
    main()
