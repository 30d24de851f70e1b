# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of an IAM role as Ansible runs them, against a local AWS."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import iam_service_role, iam_service_role_info

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]
NAME = "warehouse-instance"
SSM, AGENT, FOREIGN = (
    f"arn:aws:iam::123456789012:policy/{name}"
    for name in ("AmazonSSMManagedInstanceCore", "CloudWatchAgentServerPolicy", "AmazonS3ReadOnlyAccess")
)
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
)


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module on the role and return its result."""

    def run_module(module: ModuleType = iam_service_role, **given: object) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({"name": NAME, "region": "us-east-1", **given}), pytest.raises(SystemExit):
            module.main()
        return dict(json.loads(capsys.readouterr().out))

    return run_module


@pytest.fixture
def iam(cloud: Cloud) -> Any:
    """Return a client of IAM in whose account the managed policies exist."""
    client: Any = cloud.client("iam")
    for arn in (SSM, AGENT, FOREIGN):
        client.create_policy(PolicyName=arn.rpartition("/")[2], PolicyDocument=POLICY)
    return client


def attached(iam: Any) -> set[str]:
    return {row["PolicyArn"] for row in iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]}


def tags(iam: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in iam.get_role(RoleName=NAME)["Role"].get("Tags", [])}


def test_life_of_a_role(run: Run, iam: Any) -> None:
    wanted = {"description": "Hosts", "managed_policies": [SSM, AGENT], "tags": {"team": "robotics"}}
    planned = run(**wanted, _ansible_check_mode=True)
    assert planned["changed"]
    assert run(iam_service_role_info)["roles"] == []
    assert run(**wanted)["actions"] == planned["actions"]
    assert iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "ec2.amazonaws.com"
    }
    assert not run(**wanted)["changed"]
    found = run(iam_service_role_info)["roles"]
    assert [(row["role_name"], row["tags"], row["managed_policies"]) for row in found] == [
        (NAME, {"team": "robotics"}, sorted([SSM, AGENT]))
    ]

    iam.create_instance_profile(InstanceProfileName="profile")
    iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName=NAME)
    iam.put_role_policy(RoleName=NAME, PolicyName="own", PolicyDocument=POLICY)
    assert run(state="absent", _ansible_check_mode=True)["changed"]
    assert run(state="absent")["changed"]
    assert run(iam_service_role_info)["roles"] == []
    assert iam.get_instance_profile(InstanceProfileName="profile")["InstanceProfile"]["Roles"] == []
    assert not run(state="absent")["changed"]


def test_what_others_added_stays_and_what_drifted_is_changed(run: Run, iam: Any) -> None:
    run(managed_policies=[SSM, AGENT], tags={"team": "robotics"})
    iam.attach_role_policy(RoleName=NAME, PolicyArn=FOREIGN)
    iam.tag_role(RoleName=NAME, Tags=[{"Key": "team", "Value": "drifted"}, {"Key": "theirs", "Value": "yes"}])
    foreign = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [foreign]})
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=document)
    wanted = {
        "managed_policies": [SSM],
        "detached_policies": [AGENT],
        "tags": {"team": "robotics"},
        "description": "new",
    }
    mended = run(**wanted)
    assert sorted(mended["actions"]) == [
        "iam:DetachRolePolicy",
        "iam:TagRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:UpdateRole",
    ]
    assert attached(iam) == {SSM, FOREIGN}
    assert tags(iam) == {"team": "robotics", "theirs": "yes"}
    assert iam.get_role(RoleName=NAME)["Role"]["Description"] == "new"
    assert not run(**wanted)["changed"]


def boundary(iam: Any) -> str:
    role = iam.get_role(RoleName=NAME)["Role"]
    return str(role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""))


def test_a_role_never_exists_without_its_boundary_and_drift_is_mended_both_ways(run: Run, iam: Any) -> None:
    limit, other = (
        iam.create_policy(PolicyName=name, PolicyDocument=POLICY)["Policy"]["Arn"] for name in ("limit", "other")
    )
    assert run(permissions_boundary=limit, managed_policies=[SSM])["actions"] == [
        "iam:CreateRole",
        "iam:AttachRolePolicy",
    ]
    assert boundary(iam) == limit
    assert run(iam_service_role_info)["roles"][0]["permissions_boundary"] == limit
    assert not run(permissions_boundary=limit)["changed"]
    # Not set: what there is stays.
    assert not run()["changed"]

    iam.put_role_permissions_boundary(RoleName=NAME, PermissionsBoundary=other)
    assert run(permissions_boundary=limit, _ansible_check_mode=True)["actions"] == ["iam:PutRolePermissionsBoundary"]
    assert boundary(iam) == other
    run(permissions_boundary=limit)
    assert boundary(iam) == limit
    iam.delete_role_permissions_boundary(RoleName=NAME)
    # Before a policy that it limits.
    assert run(permissions_boundary=limit, managed_policies=[AGENT])["actions"] == [
        "iam:PutRolePermissionsBoundary",
        "iam:AttachRolePolicy",
    ]

    assert run(permissions_boundary="")["actions"] == ["iam:DeleteRolePermissionsBoundary"]
    assert boundary(iam) == ""
    assert not run(permissions_boundary="")["changed"]
    run(permissions_boundary=limit)
    assert run(state="absent")["changed"]


def test_no_run_prints_a_deprecation_or_a_warning(run: Run, iam: Any) -> None:
    for result in (run(), run(), run(iam_service_role_info), run(state="absent")):
        assert not result.get("deprecations")
        assert not result.get("warnings")
