# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read an IAM role, plan the calls that change it as declared, and make them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies

from .errors import ReadError, translated
from .resources import read_tags

ABSENT = "NoSuchEntity"


@dataclass(frozen=True)
class ServiceRole:
    """An IAM role as IAM returns it.

    Attributes:
        trust: The trust policy.
        managed: The names of the attached managed policies, by their ARNs.
        boundary: ARN of the permissions boundary; empty without one.
    """

    name: str
    arn: str
    description: str
    trust: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    managed: dict[str, str] = field(default_factory=dict)
    boundary: str = ""


@dataclass(frozen=True)
class WantedRole:
    """The declared role. Other policies and tags stay as they are.

    Attributes:
        description: None to leave it as it is.
        attach: ARNs of managed policies that the role has.
        detach: ARNs of managed policies that the role does not have.
        boundary: ARN of the permissions boundary; empty for none, None to leave it as it is.
    """

    name: str
    description: str | None
    trust: dict[str, Any]
    tags: dict[str, str]
    attach: list[str]
    detach: list[str]
    boundary: str | None = None


@dataclass(frozen=True)
class Call:
    """One call of the IAM API: boto3's name of the method, IAM's name of the action, and the arguments."""

    method: str
    action: str
    arguments: dict[str, Any]


def read(client: Any, name: str, region: str) -> ServiceRole | None:
    """Return a role, or None when it does not exist.

    Args:
        client: boto3's client of IAM.
        name: The role's name.
        region: The region for messages.

    Raises:
        ReadError: IAM did not answer.
    """
    try:
        with translated("iam:GetRole", region):
            role = client.get_role(RoleName=name)["Role"]
    except ReadError as error:
        if error.code == ABSENT:
            return None
        raise
    with translated("iam:ListAttachedRolePolicies", region):
        pages = client.get_paginator("list_attached_role_policies").paginate(RoleName=name)
        managed = {row["PolicyArn"]: row["PolicyName"] for page in pages for row in page["AttachedPolicies"]}
    return ServiceRole(
        name=role["RoleName"],
        arn=role["Arn"],
        description=role.get("Description", ""),
        trust=role["AssumeRolePolicyDocument"],
        tags=read_tags(role.get("Tags")),
        managed=managed,
        boundary=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
    )


def read_dependants(client: Any, role: ServiceRole, region: str) -> tuple[list[str], list[str]]:
    """Return the names of a role's own policies and of the instance profiles that hold it.

    Raises:
        ReadError: IAM did not answer.
    """
    with translated("iam:ListRolePolicies", region):
        pages = client.get_paginator("list_role_policies").paginate(RoleName=role.name)
        inline = [name for page in pages for name in page["PolicyNames"]]
    with translated("iam:ListInstanceProfilesForRole", region):
        pages = client.get_paginator("list_instance_profiles_for_role").paginate(RoleName=role.name)
        profiles = [row["InstanceProfileName"] for page in pages for row in page["InstanceProfiles"]]
    return inline, profiles


def plan(found: ServiceRole | None, wanted: WantedRole) -> list[Call]:
    """Return the calls that change a role as declared, in order."""
    name = {"RoleName": wanted.name}
    document = json.dumps(wanted.trust)
    tags = [{"Key": key, "Value": value} for key, value in wanted.tags.items()]
    attach = [
        Call("attach_role_policy", "iam:AttachRolePolicy", name | {"PolicyArn": arn})
        for arn in wanted.attach
        if found is None or arn not in found.managed
    ]
    if found is None:
        about = {"AssumeRolePolicyDocument": document, "Description": wanted.description or "", "Tags": tags}
        # Set with the role, so that it never exists without its boundary.
        about |= {"PermissionsBoundary": wanted.boundary} if wanted.boundary else {}
        return [Call("create_role", "iam:CreateRole", name | about), *attach]
    # Before the policies, which it limits.
    calls = _plan_boundary(found, wanted)
    if compare_policies(found.trust, wanted.trust):
        arguments = name | {"PolicyDocument": document}
        calls.append(Call("update_assume_role_policy", "iam:UpdateAssumeRolePolicy", arguments))
    if wanted.description not in (None, found.description):
        calls.append(Call("update_role", "iam:UpdateRole", name | {"Description": wanted.description}))
    changed = [tag for tag in tags if found.tags.get(tag["Key"]) != tag["Value"]]
    if changed:
        calls.append(Call("tag_role", "iam:TagRole", name | {"Tags": changed}))
    calls += attach
    calls += [
        Call("detach_role_policy", "iam:DetachRolePolicy", name | {"PolicyArn": arn})
        for arn in wanted.detach
        if arn in found.managed
    ]
    return calls


def _plan_boundary(found: ServiceRole, wanted: WantedRole) -> list[Call]:
    """Return the call that changes the permissions boundary of an existing role as declared, if needed."""
    name = {"RoleName": wanted.name}
    if wanted.boundary is None or wanted.boundary == found.boundary:
        return []
    if not wanted.boundary:
        return [Call("delete_role_permissions_boundary", "iam:DeleteRolePermissionsBoundary", name)]
    arguments = name | {"PermissionsBoundary": wanted.boundary}
    return [Call("put_role_permissions_boundary", "iam:PutRolePermissionsBoundary", arguments)]


def plan_removal(found: ServiceRole, inline: list[str], profiles: list[str]) -> list[Call]:
    """Return the calls that delete a role and first everything that prevents this.

    Args:
        found: The role.
        inline: The names of its own policies.
        profiles: The names of the instance profiles that hold it.
    """
    name = {"RoleName": found.name}
    return [
        *(
            Call(
                "remove_role_from_instance_profile",
                "iam:RemoveRoleFromInstanceProfile",
                name | {"InstanceProfileName": profile},
            )
            for profile in profiles
        ),
        *(Call("detach_role_policy", "iam:DetachRolePolicy", name | {"PolicyArn": arn}) for arn in found.managed),
        *(Call("delete_role_policy", "iam:DeleteRolePolicy", name | {"PolicyName": policy}) for policy in inline),
        Call("delete_role", "iam:DeleteRole", name),
    ]


def apply(client: Any, calls: list[Call], region: str) -> None:
    """Make planned calls.

    Raises:
        ReadError: IAM refused one; those before it are carried out.
    """
    for call in calls:
        with translated(call.action, region):
            getattr(client, call.method)(**call.arguments)
