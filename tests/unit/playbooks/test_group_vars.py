# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of the checkout for an inventory, with and without a limit to some hosts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.ansible_programs import run
from tests.support.project import ROOT, load_yaml

NAMES = ("peers", "discovery", "firewall_ports")
ZENOH = [{"protocol": "tcp", "from_port": 7447, "to_port": 7447, "description": "Zenoh"}]
SERVER = [{"protocol": "udp", "from_port": 11811, "to_port": 11811, "description": "Fast DDS discovery"}]
OURS = {
    "one": {"lab_name": "robotics-lab", "lab_private_ip": "10.0.1.11", "lab_instance_id": "i-1"},
    "two": {"lab_name": "robotics-lab", "lab_private_ip": "10.0.1.10", "lab_instance_id": "i-2"},
}
OTHERS = {"other": {"lab_name": "another-lab", "lab_private_ip": "10.9.9.9", "lab_instance_id": "i-9"}}
STATIC = {"one": {"lab_private_ip": "10.0.1.10"}, "two": {"lab_private_ip": "10.0.1.11"}, "third": {}}
BOTH = ["10.0.1.10", "10.0.1.11"]


@pytest.mark.parametrize(
    ("hosts", "extra", "expected"),
    [
        pytest.param(OURS | OTHERS, {"ros2_networking_domain_id": 42}, [BOTH, "peers", "17900-18149"], id="two labs"),
        pytest.param(
            {"one": OURS["one"]},
            {"aws_infrastructure_instance_count": 2},
            [["10.0.1.11"], "peers", "7400-7649"],
            id="stopped",
        ),
        pytest.param({"one": OURS["one"]} | OTHERS, {}, [["10.0.1.11"], "host", "7400-7649"], id="a lab of one"),
        pytest.param(
            {"one": OURS["one"]},
            {"ros2_networking_domain_id": 102},
            [["10.0.1.11"], "host", "32650-32899"],
            id="a domain that the role refuses",
        ),
        pytest.param(STATIC, {}, [BOTH, "peers", ""], id="a static inventory"),
        pytest.param(
            {"one": {}, "two": {}}, {"aws_infrastructure_instance_count": 2}, [[], "host", ""], id="no addresses"
        ),
    ],
)
def test_peers_are_the_hosts_of_the_lab(
    tmp_path: Path,
    hosts: dict[str, dict[str, str]],
    extra: dict[str, int],
    expected: list[object],
) -> None:
    names = [f"ros2_networking_{name}" for name in NAMES]
    assert ask(tmp_path, hosts, extra, names) == expected


@pytest.mark.parametrize(("mode", "expected"), [("peers", []), ("zenoh", ZENOH), ("discovery_server", SERVER)])
def test_the_security_group_allows_the_traffic_of_the_mode(tmp_path: Path, mode: str, expected: list[object]) -> None:
    given = {"ros2_networking_discovery": mode}
    assert ask(tmp_path, {"one": {}}, given, ["aws_infrastructure_internal_ports"]) == [expected]


@pytest.mark.parametrize(("access", "address"), [("open", "0.0.0.0"), ("tunnel", "127.0.0.1")])
def test_viewers_listen_where_their_ports_are_open(tmp_path: Path, access: str, address: str) -> None:
    given = {"aws_infrastructure_viewer_access": access}
    names = ["digital_twin_stack_viewer_address", "gpu_metrics_namespace"]
    assert ask(tmp_path, OURS, given, names) == [address, "DigitalTwin/robotics-lab"]
    assert ask(tmp_path, {"one": {}}, given, names[:1]) == ["127.0.0.1"]


@pytest.mark.parametrize("profile", ["nav", "sim", "voice", "full", ""])
def test_the_lowest_driver_is_that_of_the_profile(tmp_path: Path, profile: str) -> None:
    """The highest of those that compose/versions.yml names for the services; any where none uses a GPU."""
    services = load_yaml(ROOT / "compose/versions.yml")["services"]
    used = {"sim": ["isaac_sim"], "voice": ["riva", "nim"], "full": ["isaac_sim", "riva", "nim"]}.get(profile, [])
    needs = [services[name]["needs"]["driver"] for name in used]
    highest = max(needs, key=lambda version: [int(number) for number in version.split(".")], default="")
    names = ["nvidia_driver_minimum", "nvidia_driver_minimum_for"]
    reason = f"lab_profile={profile}" if used else ""
    assert ask(tmp_path, OURS, {"digital_twin_stack_profile": profile}, names) == [highest, reason]


def test_a_lowest_driver_of_the_user_is_not_said_to_be_that_of_the_profile(tmp_path: Path) -> None:
    given = {"digital_twin_stack_profile": "full", "nvidia_driver_minimum": "590"}
    assert ask(tmp_path, OURS, given, ["nvidia_driver_minimum", "nvidia_driver_minimum_for"]) == ["590", ""]


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ({}, ""),
        ({"digital_twin_stack_language_model": "qwen2.5-7b-instruct-awq"}, "qwen2.5-7b-instruct-awq"),
        # As playbooks/pin.yml writes it.
        ({"digital_twin_stack_nim_image": "nim/meta/llama-3.1-8b-instruct:2.0.13@sha256:0a"}, ""),
        ({"digital_twin_stack_nim_image": "nim/mine/small:1.0"}, "own"),
    ],
)
def test_the_instance_type_is_chosen_for_the_model_that_is_served(
    tmp_path: Path, given: Mapping[str, object], model: str
) -> None:
    assert ask(tmp_path, OURS, given, ["aws_infrastructure_language_model"]) == [model]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"digital_twin_stack_profile": "sim"}, [True, 60, "digital-twin.service", 0]),
        (
            {"digital_twin_stack_profile": "voice", "aws_monitoring_idle_stop": "AUTO"},
            [False, 60, "digital-twin.service", 0],
        ),
        ({"digital_twin_stack_profile": "", "aws_monitoring_idle_stop": "true"}, [True, 60, "", 0]),
        (
            {
                "digital_twin_stack_profile": "full",
                "aws_monitoring_idle_stop": False,
                "aws_monitoring_idle_minutes": 30,
            },
            [False, 30, "digital-twin.service", 0],
        ),
    ],
)
def test_the_guard_stops_the_hosts_that_the_alarm_would_stop(
    tmp_path: Path, given: Mapping[str, object], expected: list[object]
) -> None:
    names = ["idle_stop | bool", "idle_minutes | int", "stack_unit", "lifetime_hours"]
    assert ask(tmp_path, OURS, given, [f"instance_guard_{name}" for name in names]) == expected
    topics = ["arn:aws:sns:eu-central-1:123456789012:operators"]
    lists = ["instance_guard_client_ports", "instance_guard_topics", "aws_infrastructure_topics"]
    found = ask(tmp_path, OURS, {**given, "aws_monitoring_alarm_topics": topics}, lists)
    assert found == [[8080, 8765, 49100], topics, topics]


def ask(
    folder: Path, hosts: Mapping[str, Mapping[str, str]], extra: Mapping[str, object], names: list[str]
) -> list[object]:
    """Return variables of the host `one` of an inventory."""
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"lab": {"hosts": hosts}}))
    command = ["ansible", "one", "--inventory", str(inventory), "--limit", "one"]
    command += ["--extra-vars", f"@{ROOT / 'group_vars' / 'all.yml'}", "--extra-vars", json.dumps(extra)]
    told = run([*command, "--module-name", "ansible.builtin.debug", "--args", f"msg={{{{ [{', '.join(names)}] }}}}"])
    return list(yaml.safe_load(told.partition("=>")[2])["msg"])
