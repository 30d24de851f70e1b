# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What check mode reports of a lab that is incomplete."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._lab.plan import list_missing

POLICIES = [
    {"name": "metrics", "title": "metrics of Lab", "wanted": True},
    {"name": "logs", "title": "log groups", "wanted": False},
    {"name": "session-manager", "title": "Session Manager", "wanted": True},
]
ROLE = {"name": "lab-instance", "attach": [], "permissions_boundary": "", "inline_policies": POLICIES}
DECLARED: dict[str, Any] = {
    "name": "lab",
    "role": ROLE,
    "vpc_cidr": "10.0.0.0/16",
    "subnet_cidr": "10.0.1.0/24",
    "rules": [{}, {}],
    "key_pair": {"own": True, "file": "/keys/lab.pub"},
    "hosts": ["lab-1", "lab-2"],
    "addresses": [{"name": "lab-1"}, {"name": "lab-3"}],
    "volume": {"size": 200, "iops": 3000, "throughput": 125},
}
LAUNCH = {"hosts": ["lab-2"], "instance_type": "g5.xlarge", "image_id": "ami-1", "zone": "us-east-1a"}
KINDS = (
    "roles",
    "instance_profiles",
    "vpcs",
    "internet_gateways",
    "subnets",
    "route_tables",
    "security_groups",
    "key_pairs",
)
EVERYTHING = [
    "IAM role lab-instance",
    "inline policies for metrics of Lab, Session Manager",
    "instance profile lab-instance",
    "VPC lab-vpc, 10.0.0.0/16",
    "internet gateway lab-igw",
    "subnet lab-subnet, 10.0.1.0/24 in us-east-1a",
    "route table lab-routes, 0.0.0.0/0 to the internet gateway",
    "security group lab-sg with 2 rules",
    "key pair lab from /keys/lab.pub",
]
HOST = "instance lab-2, g5.xlarge with 200 GiB from ami-1"
LIMITED = {"attach": ["arn:agent", "arn:own"], "permissions_boundary": "arn:limit"}


@pytest.mark.parametrize(
    ("missing", "declared", "launch", "plan"),
    [
        (KINDS, {}, {}, [*EVERYTHING, HOST, "Elastic IP lab-2"]),
        (KINDS, {"key_pair": {"own": False, "file": ""}}, {}, [*EVERYTHING[:-1], HOST, "Elastic IP lab-2"]),
        (("key_pairs",), {"key_pair": {"own": False, "file": ""}}, {"hosts": []}, ["Elastic IP lab-2"]),
        ((), {}, {"hosts": []}, ["Elastic IP lab-2"]),
        ((), {"hosts": ["lab-1"]}, {"hosts": []}, []),
        (("subnets",), {"hosts": []}, {}, [EVERYTHING[5], HOST]),
        (
            ("roles",),
            {"role": {**ROLE, **LIMITED}, "hosts": []},
            {"hosts": []},
            ["IAM role lab-instance with arn:agent, arn:own with arn:limit", EVERYTHING[1]],
        ),
    ],
)
def test_plan(missing: tuple[str, ...], declared: dict[str, Any], launch: dict[str, Any], plan: list[str]) -> None:
    found: dict[str, list[Any]] = {kind: [] if kind in missing else [{}] for kind in KINDS}
    assert list_missing(found, {**DECLARED, **declared, "launch": {**LAUNCH, **launch}}) == plan
