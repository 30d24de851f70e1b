# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test every check of a lab's description, by the table inputs.yml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight import inputs
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.description import Inputs
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.network import (
    check_ports,
    count_rules,
    find_network_warnings,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.ssh_key import (
    check_key,
    find_key_warnings,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.tags import check_tags
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._problem import shown

from tests.support.project import ROOT, load_yaml

Describe = Callable[[dict[str, Any]], Inputs]

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("inputs.yml").read_text())
CASES = [
    pytest.param(check, case["given"], case.get("refuses", []), id=f"{check}-{number}")
    for check, cases in TABLE.items()
    for number, case in enumerate(cases)
]
PRIVATE_KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nsecret\n"


@pytest.mark.usefixtures("key_files")
@pytest.mark.parametrize(("check", "given", "refuses"), CASES)
def test_check(describe: Describe, check: str, given: dict[str, Any], refuses: list[str]) -> None:
    problems = getattr(inputs, check)(describe(given))
    assert [str(problem) for problem in problems] == refuses


@pytest.mark.usefixtures("key_files")
@pytest.mark.parametrize(("check", "given", "refuses"), CASES)
def test_each_fault_is_reported_once(describe: Describe, check: str, given: dict[str, Any], refuses: list[str]) -> None:
    """No other check fails for the same fault, and each problem is one line."""
    lines = [str(problem) for problem in inputs.check_inputs(describe(given))]
    assert lines == refuses
    assert all(line.isprintable() for line in lines)


SPEC = {
    name.removeprefix("aws_infrastructure_"): option
    for name, option in load_yaml(ROOT / "roles/aws_infrastructure/meta/argument_specs.yml")["argument_specs"][
        "preflight"
    ]["options"].items()
}
# The types of the options that are raw.
RAW = {
    **dict.fromkeys(("instance_count", "volume_size", "volume_iops", "volume_throughput", "ros_domain_id"), "int"),
    **dict.fromkeys(("data_volume_size", "data_volume_iops", "data_volume_throughput"), "int"),
    **dict.fromkeys(("admin_cidrs", "viewer_cidrs", "remove_sources"), "list"),
    "tags": "dict",
}
# Their entries have a specification of their own in the role, which refuses a wrong type.
STRUCTURED = {"adopt", "images", "instance_catalogue", "internal_ports", "ports", "remove_excess"}


@pytest.mark.parametrize(("check", "given", "refuses"), CASES)
def test_the_role_leaves_wrong_values_to_the_checks(check: str, given: dict[str, Any], refuses: list[str]) -> None:
    """Ansible's message for a wrong type has neither the value nor what is allowed, so the type must accept all."""
    options = {name: value for name, value in given.items() if name in SPEC.keys() - STRUCTURED}
    validator = ArgumentSpecValidator({name: {**SPEC[name], "no_log": False} for name in options})
    assert validator.validate(options).error_messages == [], (check, refuses)


def test_options_of_the_role_are_raw_only_where_their_type_would_refuse_values() -> None:
    wrong: dict[str, list[Any]] = {"int": ["two"], "dict": [["team"]], "list": [{"team": "robotics"}]}
    raw = {name for name, option in SPEC.items() if option["type"] == "raw"}
    assert raw == RAW.keys()
    for name, kind in RAW.items():
        for value in wrong[kind]:
            assert ArgumentSpecValidator({name: {"type": kind}}).validate({name: value}).error_messages


def test_table_has_every_check_and_enough_refusals() -> None:
    assert set(TABLE) == {check.__name__ for check in inputs.CHECKS}
    assert sum(len(case.get("refuses", [])) for cases in TABLE.values() for case in cases) >= 45
    assert all(any("refuses" not in case for case in cases) for cases in TABLE.values())


def test_all_faults_are_reported_together(describe: Describe) -> None:
    problems = inputs.check_inputs(describe({"name": "", "volume_size": 1, "tags": [], "image": "windows"}))
    assert [problem.subject for problem in problems] == ["lab_name", "lab_volume_size", "lab_image", "lab_tags"]


def test_limits_that_only_long_values_reach(describe: Describe) -> None:
    tags = {f"key{number}": "" for number in range(40)}
    (too_many,) = check_tags(describe({"tags": tags}))
    assert str(too_many) == (
        "lab_tags: holds 40 tags. Allowed: at most 35, as AWS allows 50 and 15 are the lab's own. Remove some."
    )
    (long_key,) = check_tags(describe({"tags": {"k" * 129: ""}}))
    assert long_key.reason == "is a key of 129 characters"
    (long_value,) = check_tags(describe({"tags": {"key": "v" * 257}}))
    assert long_value.reason == '(the value of "key") has 257 characters'
    port = {"from_port": 22, "to_port": 22, "protocol": "tcp", "audience": "admin"}
    assert check_ports(describe({"ports": [{**port, "description": "d" * 255}]})) == []
    (long_description,) = check_ports(describe({"ports": [{**port, "description": "d" * 256}]}))
    assert long_description.reason == "(the description of a port) has 256 characters"
    (long_key_name,) = check_key(describe({"key_name": "k" * 256}))
    assert long_key_name.reason == "cannot be the name of a key pair"


@pytest.mark.parametrize("option", ["public_key_file", "private_key_file"])
def test_text_of_a_private_key_is_not_repeated(describe: Describe, option: str) -> None:
    (problem,) = check_key(describe({option: PRIVATE_KEY}))
    assert str(problem).startswith(f"lab_{option}: holds the text of a private key. Allowed: ")
    assert "secret" not in str(problem)
    assert find_key_warnings(describe({"key_name": "operations", option: PRIVATE_KEY})) == []


def test_unreadable_key_file(describe: Describe, key_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    (problem,) = check_key(describe({"public_key_file": "keys/ed25519.pub"}))
    assert problem.reason == "cannot be read (Permission denied)"
    assert key_files.is_dir()


def test_valid_description_is_typed(describe: Describe, key_files: Path) -> None:
    given = {
        "instance_count": "2",
        "volume_size": "300",
        "availability_zone": None,
        "key_name": None,
        "remove_excess": "yes",
        "private_key_file": "keys/not-there-yet",
        "admin_cidrs": ["203.0.113.7/32", "198.51.100.0/24"],
    }
    lab = inputs.read_lab(describe(given))
    assert (lab.instance_count, lab.volume_size, lab.availability_zone, lab.key_name) == (2, 300, "", "")
    assert lab.remove_excess
    assert lab.private_key_missing
    assert lab.ingress_rules == 4
    assert key_files.is_dir()


def test_invalid_description_is_not_read(describe: Describe) -> None:
    with pytest.raises(ValueError, match="lab_instance_count: 0 is too small"):
        inputs.read_lab(describe({"instance_count": 0}))


@pytest.mark.parametrize("given", [{"key_name": "operations"}, {"public_key_file": "keys/ed25519.pub"}])
def test_private_key_of_a_user_is_optional(describe: Describe, key_files: Path, given: dict[str, Any]) -> None:
    lab = inputs.read_lab(describe({"private_key_file": "keys/not-there", **given}))
    assert not lab.private_key_missing
    assert key_files.is_dir()


def test_rules_are_ports_times_sources(describe: Describe) -> None:
    admins = ["203.0.113.7/32"] * 2
    viewers = ["203.0.113.7/32"] * 5
    internal = [{"from_port": 7447, "to_port": 7447, "protocol": "tcp"}]
    given = {"admin_cidrs": admins, "viewer_cidrs": viewers}
    assert count_rules(describe(given)) == 1 + 2 + 5
    assert count_rules(describe({**given, "internal_ports": internal})) == 2 + 2 + 5


def udp(first: object, last: object) -> dict[str, object]:
    """Return UDP ports that are open to administrators."""
    return {"from_port": first, "to_port": last, "protocol": "udp", "audience": "admin"}


def open_dds(ports: str, sources: str) -> str:
    return (
        f"{ports}/udp (ROS 2 DDS) is open to {sources}: DDS has no authentication, the source of a UDP packet can be "
        "forged, and everyone behind these addresses can read all topics and move the robot. Open it only for a robot "
        "with a public address."
    )


@pytest.mark.parametrize(
    ("given", "warnings"),
    [
        ({}, []),
        (
            {"viewer_cidrs": ["0.0.0.0/0"]},
            [
                'lab_viewer_cidrs: "0.0.0.0/0" opens Foxglove and Isaac Sim to the whole internet, and these streams '
                "have no authentication: everyone who finds the address can watch and steer the robot. "
                "List the viewers' addresses instead."
            ],
        ),
        (
            {"viewer_cidrs": ["128.0.0.0/2"]},
            [
                'lab_viewer_cidrs: "128.0.0.0/2" opens Foxglove and Isaac Sim to 1073741824 addresses, and these '
                "streams have no authentication: everyone who finds the address can watch and steer the robot. "
                "List the viewers' addresses instead."
            ],
        ),
        (
            {"admin_cidrs": ["192.168.1.0/24"]},
            [
                'lab_admin_cidrs: "192.168.1.0/24" is not routed on the internet. '
                "Set the public address of these machines instead."
            ],
        ),
        ({"vpc_cidr": "172.16.0.0/16"}, []),
        (
            {"vpc_cidr": "172.17.0.0/16"},
            [
                'lab_vpc_cidr: "172.17.0.0/16" overlaps 172.17.0.0/16, which Docker uses for its bridge on every '
                "host. Choose another network, or configure another bridge for Docker."
            ],
        ),
        ({"viewer_cidrs": "0.0.0.0/0", "admin_cidrs": None, "vpc_cidr": []}, []),
        ({"ports": [udp(7400, 7500)]}, [open_dds("7400-7500", "203.0.113.7/32")]),
        ({"ports": [udp(7649, 7649)]}, [open_dds("7649-7649", "203.0.113.7/32")]),
        ({"ports": [udp("1", "65535")], "ros_domain_id": "7"}, [open_dds("1-65535", "203.0.113.7/32")]),
        (
            {"ports": [{**udp(7400, 7500), "audience": "viewer"}], "viewer_cidrs": ["198.51.100.4/32", "192.0.2.0/24"]},
            [open_dds("7400-7500", "198.51.100.4/32, 192.0.2.0/24")],
        ),
        ({"ports": [udp(7650, 7899), udp(47998, 47998), {**udp(7400, 7500), "protocol": "tcp"}]}, []),
        ({"ports": [udp("x", 7500), {**udp(7400, 7500), "audience": "all"}, "dds"], "ros_domain_id": 0}, []),
        ({"ports": [udp(7400, 7500)], "ros_domain_id": "none"}, []),
    ],
)
def test_warnings(describe: Describe, given: dict[str, Any], warnings: list[str]) -> None:
    assert find_network_warnings(describe(given)) == warnings


@pytest.mark.usefixtures("key_files")
@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ({"private_key_file": "keys/not-there"}, ""),
        ({"key_name": "operations"}, ""),
        ({"key_name": "operations", "private_key_file": None}, ""),
        ({"key_name": "operations", "private_key_file": 5}, ""),
        ({"key_name": "operations", "private_key_file": "keys/private"}, ""),
        ({"public_key_file": "keys/ed25519.pub", "private_key_file": "keys/private"}, ""),
        ({"key_name": "operations", "private_key_file": "keys/not-there"}, "lab_key_name"),
        ({"public_key_file": "keys/ed25519.pub", "private_key_file": "keys/not-there"}, "lab_public_key_file"),
    ],
)
def test_key_warnings(describe: Describe, given: dict[str, Any], origin: str) -> None:
    line = (
        'lab_private_key_file: "keys/not-there" does not exist here, and new hosts accept only the '
        f"private key of {origin}. Set lab_private_key_file to the private key, or load it into ssh-agent."
    )
    assert find_key_warnings(describe(given)) == ([line] if origin else [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", '"a\\nb"'),
        ("\u2028", '"\\u2028"'),
        ("größe", '"größe"'),
        (None, "null"),
        ({"a": [1, True]}, '{"a": [1, true]}'),
        ("x" * 100, '"' + "x" * 76 + "..."),
    ],
)
def test_values_are_shown_on_one_line(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value)) <= 80
