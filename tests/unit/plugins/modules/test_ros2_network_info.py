# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it: what it refuses, and what it returns about this machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2 import host
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.request import Network
from ansible_collections.digital_twin.robotics_lab.plugins.modules import ros2_network_info

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module and return its result, without waiting for counters to grow."""
    monkeypatch.setattr(host, "WATCH_SECONDS", 0)

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit):
            ros2_network_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"domain_id": 102}, "ros2_networking_domain_id: 102 is too large. Allowed: 0 to 101"),
        ({"mtu": 1500}, "ros2_networking_mtu: 1500 is not an option"),
        ({"directory": "/etc"}, 'ros2_networking_directory: "/etc" is not a valid path'),
        ({"discovery": "peers", "peers": ["robot-1"]}, 'ros2_networking_peers: "robot-1" is not the address of a host'),
        ({"discovery": "peers", "peers": "10.0.1.10"}, 'ros2_networking_peers: "10.0.1.10" is not a list'),
        ({"interface": "../eth0"}, 'ros2_networking_interface: "../eth0" is not a valid interface name'),
    ],
)
def test_an_invalid_description_is_refused(run: Run, description: dict[str, Any], expected: str) -> None:
    told = run(description=description)
    assert told["failed"]
    assert told["msg"].startswith(expected)
    assert "findings" not in told


def test_all_problems_are_reported_in_one_line(run: Run) -> None:
    told = run(description={"domain_id": 233, "path_mtu": 100})
    assert [part.split(":")[0] for part in told["msg"].split("; ros2_")] == [
        "ros2_networking_domain_id",
        "networking_path_mtu",
    ]
    assert "\n" not in told["msg"]


@pytest.mark.parametrize("given", [{"description": "peers"}, {"participants": "nobody"}])
def test_options_of_another_type_are_refused(run: Run, given: dict[str, Any]) -> None:
    assert run(**given)["failed"]


def test_it_returns_the_documented_values_and_changes_nothing(run: Run) -> None:
    told = run()
    assert not told["changed"]
    assert set(told) - {"changed", "invocation"} == set(yaml.safe_load(ros2_network_info.RETURN))


def test_a_process_on_ports_of_the_domain_is_reported_with_its_index(run: Run) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("127.0.0.1", 17998))
        told = run(description={"domain_id": 42})
    (process,) = [row for row in told["processes"] if 17998 in row["ports"]]
    assert process["indices"] == [44]


def test_only_others_that_did_not_answer_are_silent() -> None:
    network = Network(external_address="203.0.113.7")
    peers = ["127.0.0.1", "203.0.113.7", "192.0.2.7", "192.0.2.8", "192.0.2.80"]
    answers = [{"address": "udp/192.0.2.8:7410@1"}, {}]
    assert ros2_network_info.find_silent(network, peers, answers) == ["192.0.2.7", "192.0.2.80"]
