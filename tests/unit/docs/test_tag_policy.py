# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the policy that prevents all but the operators from writing the tags of labs, as AWS evaluates it.

moto judges actions and resources. It has none of these conditions, which are judged here as IAM documents them.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.ownership import INDEX_TAG
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.record import CLAIM_TAG, MANAGED_BY
from moto.iam.access_control import IAMPolicy, PermissionResult

from tests.support.project import ROOT

POLICY: dict[str, Any] = json.loads((ROOT / "docs/policies/protect_lab_tags.json").read_text("utf-8"))
OPERATOR = "arn:aws:iam::123456789012:role/robotics-lab-operator"
TAGGER = "arn:aws:iam::123456789012:role/cost-tagger"
INSTANCE = "arn:aws:ec2:eu-central-1:123456789012:instance/i-1"
ROLE = "arn:aws:iam::123456789012:role/robotics-lab-instance"
LAB = {"aws:ResourceTag/digital_twin_lab": "robotics-lab", "aws:ResourceTag/managed_by": MANAGED_BY}

Context = dict[str, Any]


def holds(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    """Return whether a condition holds, according to IAM's reference of condition operators."""
    given = context.get(key)
    if operator == "Null":
        return (given is None) == (wanted == ["true"])
    if operator == "ForAnyValue:StringEquals":
        return any(value in wanted for value in given or [])
    if operator == "StringEquals":
        return given in wanted
    assert operator == "ArnNotLike", operator
    return not any(fnmatchcase(str(given), pattern) for pattern in wanted)


def denied(action: str, resource: str, context: Context) -> bool:
    """Return whether the policy denies a call."""
    for statement in POLICY["Statement"]:
        plain = {name: value for name, value in statement.items() if name != "Condition"}
        policy = IAMPolicy({"policy_document": json.dumps({"Version": "2012-10-17", "Statement": [plain]})})
        concerned = policy.is_action_permitted(action, resource) == PermissionResult.DENIED
        if concerned and all(
            holds(operator, key, [value] if isinstance(value, str) else value, context)
            for operator, keys in statement["Condition"].items()
            for key, value in keys.items()
        ):
            return True
    return False


CALLS = [
    pytest.param("ec2:CreateTags", INSTANCE, {"aws:TagKeys": ["digital_twin_lab"]}, id="lab"),
    pytest.param("ec2:CreateTags", INSTANCE, {"aws:TagKeys": ["team", "managed_by"]}, id="among others"),
    pytest.param("ec2:CreateTags", INSTANCE, {"aws:TagKeys": [INDEX_TAG], **LAB}, id="number of a host"),
    pytest.param("ec2:CreateTags", INSTANCE, {"aws:TagKeys": [CLAIM_TAG]}, id="token"),
    # Tagging by RunInstances is also authorized as CreateTags.
    pytest.param(
        "ec2:CreateTags",
        INSTANCE,
        {"aws:TagKeys": ["Name", "digital_twin_lab"], "ec2:CreateAction": "RunInstances"},
        id="by RunInstances",
    ),
    pytest.param("ec2:DeleteTags", INSTANCE, {"aws:TagKeys": ["digital_twin_lab"], **LAB}, id="delete"),
    pytest.param("ec2:DeleteTags", INSTANCE, LAB, id="delete all"),
    pytest.param("iam:TagRole", ROLE, {"aws:TagKeys": ["digital_twin_vpc"], **LAB}, id="record"),
    pytest.param("iam:UntagRole", ROLE, {"aws:TagKeys": ["digital_twin_vpc"], **LAB}, id="delete the record"),
]


@pytest.mark.parametrize(("action", "resource", "context"), CALLS)
def test_only_operators_write_the_tags_of_labs(action: str, resource: str, context: Context) -> None:
    assert denied(action, resource, {**context, "aws:PrincipalArn": TAGGER})
    assert not denied(action, resource, {**context, "aws:PrincipalArn": OPERATOR})


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        pytest.param("ec2:CreateTags", INSTANCE, {"aws:TagKeys": ["team", "Name"]}, id="other tags"),
        pytest.param("ec2:CreateTags", INSTANCE, {"aws:TagKeys": ["cost_centre"], **LAB}, id="other tags of a lab"),
        pytest.param("ec2:DeleteTags", INSTANCE, {}, id="all tags of something else"),
        pytest.param("ec2:RunInstances", INSTANCE, {"aws:TagKeys": ["digital_twin_lab"]}, id="without its tagging"),
        pytest.param("iam:TagRole", ROLE, {"aws:TagKeys": ["team"]}, id="another role of such a name"),
        pytest.param("s3:PutObject", "arn:aws:s3:::bucket/1", {}, id="another service"),
    ],
)
def test_other_calls_are_not_denied(action: str, resource: str, context: Context) -> None:
    assert not denied(action, resource, {**context, "aws:PrincipalArn": TAGGER})


def test_policy_is_short_enough() -> None:
    """A service control policy has at most 5120 characters, not counting blanks between its elements."""
    assert len(json.dumps(POLICY, separators=(",", ":"))) < 5120
    assert {statement["Effect"] for statement in POLICY["Statement"]} == {"Deny"}
