# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The description of a lab: hosts, how to reach them, which networks may, and what it costs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_summary import lab_summary
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.snapshot import CALLER_MARK
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._lab.summary import describe_lab

NOW = datetime(2026, 11, 30, 12, 0, 0)
ADDRESS = "203.0.113.9"
INSTANCE: dict[str, Any] = {
    "instance_id": "i-1",
    "instance_type": "g5.xlarge",
    "state": {"name": "running"},
    "launch_time": "2026-11-30T09:30:00+00:00",
    "placement": {"availability_zone": "us-east-1a"},
    "image_id": "ami-1",
    "vpc_id": "vpc-1",
    "public_ip_address": ADDRESS,
    "tags": {"digital_twin_index": "1", "digital_twin_ssh_user": "ubuntu"},
}
LAB: dict[str, Any] = {
    "name": "lab",
    "region": "us-east-1",
    "instance_catalogue": [
        {"type": "g5.xlarge", "price_per_hour": 1.006},
        {"type": "p4d.24xlarge", "auto_recovery": "yes"},
    ],
    "ports": [
        {"name": "ssh", "from_port": 22, "audience": "admin", "description": "SSH"},
        {
            "name": "studio",
            "from_port": "8080",
            "audience": "viewer",
            "description": "Studio",
            "scheme": "http",
            "path": "/?ds={address}",
        },
        {"name": "api", "from_port": 9, "audience": "admin", "description": "API", "scheme": "ws", "path": None},
    ],
    "tunnel": False,
    "hosts_without_urls": [],
    "private_key_file": "",
    "known_hosts_file": "",
    "volume": {"size": 200, "iops": 3000, "throughput": 125},
    "prices": {},
}
SSH = f"ssh -o HostKeyAlias=i-1 ubuntu@{ADDRESS}"
URLS = {"Studio": f"http://{ADDRESS}:8080/?ds={ADDRESS}", "API": f"ws://{ADDRESS}:9"}


def tagged(**tags: str) -> dict[str, Any]:
    """Return a change of the tags of the instance."""
    return {"tags": {**INSTANCE["tags"], **tags}}


STOPPED = {
    "state": {"name": "stopped"},
    "state_reason": {"code": "Client.UserInitiatedShutdown"},
    "state_transition_reason": "User initiated (2026-11-16 12:00:01 GMT)",
}


@pytest.mark.parametrize(
    ("instance", "lab", "expected"),
    [
        (
            {},
            {},
            {
                "name": "lab-1",
                "instance_id": "i-1",
                "instance_type": "g5.xlarge",
                "gpus": 1,
                "recover": False,
                "state": "running",
                "days_stopped": None,
                "availability_zone": "us-east-1a",
                "image_id": "ami-1",
                "private_address": "",
                "public_address": ADDRESS,
                "public_dns": "",
                "hours_since_start": 2.5,
                "price_per_hour": 1.006,
                "cost_since_start": 2.52,
                "ssh_command": SSH,
                "tunnel_command": "",
                "ssh_config": f"Host lab-1\n  HostName {ADDRESS}\n  User ubuntu\n  HostKeyAlias i-1",
                "urls": URLS,
                "history": [],
            },
        ),
        (
            {"state": {"name": "stopped"}},
            {},
            {"hours_since_start": 0.0, "cost_since_start": 0.0, "days_stopped": None},
        ),
        (STOPPED, {}, {"days_stopped": 13}),
        # EC2 gives no time, such as after a shutdown from the host.
        (
            {"state": {"name": "stopped"}, **tagged(digital_twin_last_action="stop idle 2026-11-16T12:00:00Z")},
            {},
            {"days_stopped": 14},
        ),
        # The clock of this machine is late.
        ({**STOPPED, "state_transition_reason": "User initiated (2026-12-01 11:00:00 GMT)"}, {}, {"days_stopped": 0}),
        ({**STOPPED, "state": {"name": "running"}}, {}, {"days_stopped": None}),
        (
            {"instance_type": "p4d.24xlarge"},
            {},
            {"recover": True, "price_per_hour": None, "cost_since_start": None},
        ),
        ({"instance_type": "p5.48xlarge"}, {}, {"recover": False, "price_per_hour": None}),
        # `auto` may choose a type that only machines.yml has.
        ({"instance_type": "g6.4xlarge"}, {}, {"recover": False, "price_per_hour": 1.3232}),
        ({"instance_type": "g7.4xlarge"}, {}, {"price_per_hour": None}),
        (tagged(digital_twin_gpus="8"), {}, {"gpus": 8}),
        (tagged(digital_twin_awake_until="2026-11-30T22:00:00Z"), {}, {"awake_until": "2026-11-30T22:00:00Z"}),
        # Any caller that may tag can write them.
        (tagged(digital_twin_awake_until="2099-01-01T00:00:00Z"), {}, {"awake_until": ""}),
        (tagged(digital_twin_awake_until="zzz"), {}, {"awake_until": ""}),
        (tagged(digital_twin_gpus="many"), {}, {"gpus": 0}),
        (tagged(digital_twin_ssh_user="-oProxyCommand=x"), {}, {"ssh_command": SSH.replace("ubuntu", "USER")}),
        (tagged(digital_twin_ssh_user="admin\n"), {}, {"ssh_command": SSH.replace("ubuntu", "USER")}),
        (
            {},
            {"private_key_file": "/keys/lab", "known_hosts_file": "~/hosts"},
            {
                "ssh_command": f"ssh -i /keys/lab -o HostKeyAlias=i-1 -o UserKnownHostsFile=~/hosts ubuntu@{ADDRESS}",
                "ssh_config": f"Host lab-1\n  HostName {ADDRESS}\n  User ubuntu\n  IdentityFile /keys/lab\n"
                "  HostKeyAlias i-1\n  UserKnownHostsFile ~/hosts",
            },
        ),
        (
            {},
            {"tunnel": True},
            {
                "tunnel_command": f"{SSH} -N -L 8080:127.0.0.1:8080",
                "urls": {"Studio": "http://localhost:8080/?ds=localhost", "API": URLS["API"]},
            },
        ),
        (
            {
                "state": {"name": "stopped"},
                "state_reason": {"code": "Client.UserInitiatedShutdown"},
                "state_transition_reason": "User initiated (2026-11-30 11:00:00 GMT)",
                **tagged(digital_twin_last_error="start 2026-11-30T11:30:00Z: AWS has no g5.xlarge."),
            },
            {"events": [{"instance_id": "i-1", "cause": "idle", "time": "2026-11-30T10:59:00Z"}]},
            {
                "history": [
                    "lab-1 was stopped on 2026-11-30 at 11:00 UTC by its idle stop.",
                    "lab-1: start failed on 2026-11-30 at 11:30 UTC: AWS has no g5.xlarge.",
                ]
            },
        ),
        (
            {
                "state": {"name": "stopped"},
                "state_reason": {"code": "Client.UserInitiatedShutdown"},
                "state_transition_reason": "User initiated (2026-11-30 11:00:00 GMT)",
            },
            {"events": [{"verb": "stop", "cause": "alarm", "alarm": "lab-1-gpu-idle", "time": "2026-11-30T10:59:58Z"}]},
            {"history": ["lab-1 was stopped on 2026-11-30 at 11:00 UTC by the alarm lab-1-gpu-idle."]},
        ),
        (
            {"state": {"name": "stopped"}, "state_reason": {"code": "Client.InstanceInitiatedShutdown"}},
            {"events": [{"instance_id": "i-2", "cause": "idle", "time": "2026-11-30T10:59:00Z"}]},
            {"history": ["lab-1 was stopped from the host itself: a user, or a program, shut it down."]},
        ),
        (
            {
                "state": {"name": "stopped"},
                "state_reason": {"code": "Client.UserInitiatedShutdown"},
                "state_transition_reason": "User initiated (2026-11-30 11:00:00 GMT)",
            },
            {
                "events": [
                    {"verb": "start", "cause": "idle", "time": "2026-11-30T11:00:00Z"},
                    {"verb": "stop", "cause": "schedule", "time": "2026-11-30T10:59:00Z"},
                ]
            },
            {"history": ["lab-1 was stopped on 2026-11-30 at 11:00 UTC by its schedule."]},
        ),
        ({}, {"tunnel": True, "hosts_without_urls": ["lab-1"]}, {"tunnel_command": "", "urls": {}}),
        (
            {"public_ip_address": None, "private_ip_address": "10.0.1.4"},
            {},
            {"private_address": "10.0.1.4", "urls": {}},
        ),
    ],
)
def test_host(instance: dict[str, Any], lab: dict[str, Any], expected: dict[str, Any]) -> None:
    (host,) = describe_lab([{**INSTANCE, **instance}], [], {**LAB, **lab}, NOW)["hosts"]
    assert {key: host[key] for key in expected} == expected


def test_hosts_are_sorted_by_their_number() -> None:
    instances = [{**INSTANCE, **tagged(digital_twin_index=number)} for number in ("3", "1", "2")]
    assert [host["name"] for host in describe_lab(instances, [], LAB, NOW)["hosts"]] == ["lab-1", "lab-2", "lab-3"]


def group(**changes: Any) -> dict[str, Any]:
    """Return a security group that admits two networks."""
    ranges = [{"cidr_ip": "203.0.113.7/32", "description": "SSH" + CALLER_MARK}, {"cidr_ip": "198.51.100.0/24"}]
    permission = {"ip_protocol": "tcp", "from_port": 22, "to_port": 22, "ip_ranges": ranges}
    return {"group_name": "lab-sg", "vpc_id": "vpc-1", "ip_permissions": [{**permission, **changes}]}


@pytest.mark.parametrize(
    ("groups", "instances", "admitted"),
    [
        ([], [INSTANCE], {}),
        ([group()], [INSTANCE], {"203.0.113.7/32": ["SSH 22/tcp"], "198.51.100.0/24": ["22/tcp"]}),
        ([group(to_port=29)], [], {"203.0.113.7/32": ["SSH 22-29/tcp"], "198.51.100.0/24": ["22-29/tcp"]}),
        ([{**group(), "vpc_id": "vpc-2"}], [INSTANCE], {}),
        ([{**group(), "group_name": "web"}], [INSTANCE], {}),
        (
            [{**group(), "ip_permissions": [{"ip_protocol": "-1", "ip_ranges": [{"cidr_ip": "0.0.0.0/0"}]}]}],
            [INSTANCE],
            {"0.0.0.0/0": ["all/-1"]},
        ),
    ],
)
def test_admitted_networks(
    groups: list[dict[str, Any]], instances: list[dict[str, Any]], admitted: dict[str, list[str]]
) -> None:
    assert describe_lab(instances, groups, LAB, NOW)["admitted"] == admitted


@pytest.mark.parametrize(
    ("types", "volume", "cost"),
    [
        ([], {}, (0, 0, 0, [])),
        (["g5.xlarge"], {}, (1.03, 754.03, 19.65, [])),
        (["g5.xlarge"], {"iops": 4000, "throughput": 225}, (1.05, 763.03, 28.65, [])),
        (["g5.xlarge", "p4d.24xlarge", "p4d.24xlarge"], {"size": 300}, (1.12, 817.33, 82.95, ["p4d.24xlarge"])),
    ],
)
def test_cost(types: list[str], volume: dict[str, int], cost: tuple[float, float, float, list[str]]) -> None:
    instances = [{**INSTANCE, "instance_type": name} for name in types]
    keys = ("per_hour", "per_month", "per_month_stopped", "without_price")
    found = describe_lab(instances, [], {**LAB, "volume": {**LAB["volume"], **volume}}, NOW)["cost"]
    assert {key: found[key] for key in keys} == dict(zip(keys, cost, strict=True))
    assert found["estimated"] is False
    assert found["prices"].startswith("list prices of us-east-1 (instances: 2026-")


@pytest.mark.parametrize(
    ("lab", "per_month", "per_month_stopped", "estimated"),
    [
        # 1.258 x 730 + 200 x 0.0952 + 3.65.
        ({"region": "eu-central-1"}, 941.03, 22.69, False),
        ({"region": "eu-central-1", "prices": {"gib_month": 0.1}}, 941.99, 23.65, False),
        # The user's price of the type, 2 x 730.
        (
            {"region": "eu-central-1", "instance_catalogue": [{"type": "g5.xlarge", "price_per_hour": 2}]},
            1482.69,
            22.69,
            False,
        ),
        # No prices of that region are known.
        ({"region": "ap-east-2"}, 754.03, 19.65, True),
    ],
)
def test_cost_in_other_regions(
    lab: dict[str, Any], per_month: float, per_month_stopped: float, estimated: bool
) -> None:
    found = describe_lab([INSTANCE], [], {**LAB, **lab}, NOW)["cost"]
    assert (found["per_month"], found["per_month_stopped"], found["estimated"]) == (
        per_month,
        per_month_stopped,
        estimated,
    )


def test_wrong_prices_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"aws_infrastructure_prices\.gib_month: -1 is not a price"):
        lab_summary([INSTANCE], [], {**LAB, "prices": {"gib_month": -1}}, NOW)


def test_the_inventory_group_is_a_name_for_ansible() -> None:
    assert describe_lab([], [], {**LAB, "name": "lab-b"}, NOW)["inventory_group"] == "lab_lab_b"
