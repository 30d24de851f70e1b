# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action group `aws` sets the options that all modules for AWS share."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import boto3
import yaml

from tests.support.ansible_programs import execute
from tests.support.project import FQCN, ROOT, clean_environment, load_yaml

REGION = "eu-west-1"
KEYS = {"access_key": "AKIATESTS", "secret_key": "canary-aws-4c71"}
# Another region and an endpoint without a server: a module that reads them from here fails or finds nothing.
ENVIRONMENT = {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


def test_region_and_endpoint_come_from_module_defaults(moto_endpoint: str, tmp_path: Path) -> None:
    client = boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=moto_endpoint,
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
    )
    vpc = client.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    metric = {"namespace": "Grouped", "name": "Heartbeat"}
    tasks = [
        {"amazon.aws.ec2_vpc_net_info": {"vpc_ids": [vpc]}, "register": "nets"},
        {"ansible.builtin.assert": {"that": "nets.vpcs | length == 1"}},
        {f"{FQCN}.iam_service_role_info": {"name": "grouped-instance"}},
        {f"{FQCN}.cloudwatch_metrics_info": {"metrics": [metric], "period": 60, "minutes": 5}},
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "module_defaults": {f"group/{FQCN}.aws": {"region": REGION, "endpoint_url": moto_endpoint, **KEYS}},
        "tasks": tasks,
    }
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(json.dumps([play]), "utf-8")
    done = execute(["ansible-playbook", "-i", "localhost,", str(playbook)], clean_environment(ENVIRONMENT))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_for_aws_is_in_the_group() -> None:
    group = load_yaml(PurePosixPath("meta/runtime.yml"))["action_groups"]["aws"]
    modules = {name for name in group if isinstance(name, str)}
    for_aws = {
        path.stem
        for path in (ROOT / "plugins/modules").glob("*.py")
        if "amazon.aws.common.modules" in documentation(path).get("extends_documentation_fragment", [])
    }
    assert for_aws == modules


def documentation(path: Path) -> dict[str, Any]:
    """Return the documentation of a module."""
    text = path.read_text("utf-8").partition('DOCUMENTATION = r"""')[2].partition('"""')[0]
    found: dict[str, Any] = yaml.safe_load(text)
    return found
