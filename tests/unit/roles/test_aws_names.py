# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All roles, modules, filters and tests accept the same names of AWS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_monitoring import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.names import (
    REGION,
    partition_of,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.description import Inputs
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.inputs import check_region
from ansible_collections.digital_twin.robotics_lab.plugins.modules.gpu_metrics_publish import find_problem
from ansible_collections.digital_twin.robotics_lab.plugins.test.aws_name import TestModule as AwsNames

from tests.support.project import ROOT, load_yaml

PATTERNS = {
    **load_yaml(ROOT / "roles/gpu_metrics/vars/main/validation.yml"),
}
LAB: dict[str, Any] = {"name": "robo", "region": "us-east-1", "account_id": "123456789012", "instances": []}


def role(name: str) -> Callable[[str], bool]:
    """Return the check of a role's pattern, which Ansible's test `match` matches at the beginning."""
    return lambda value: re.match(PATTERNS[name], value) is not None


def watched(option: str, value: Any) -> bool:
    """Return whether the filter lab_monitoring accepts an option's value."""
    told = FilterModule().filters()["lab_monitoring"]({**LAB, option: value})
    return not any(str(problem).startswith(f"aws_monitoring_{option}: ") for problem in told["problems"])


def in_lab(region: str) -> bool:
    """Return whether the module lab_preflight accepts a region."""
    options: dict[str, Any] = dict.fromkeys(Inputs.__dataclass_fields__, "")
    return not check_region(Inputs(**{**options, "region": region}))


TAKERS: dict[str, dict[str, Callable[[str], bool]]] = {
    "region": {
        "test aws_region": AwsNames().tests()["aws_region"],
        "lab_preflight": in_lab,
        "lab_monitoring": lambda value: watched("region", value),
    },
    "namespace": {
        "test aws_namespace": AwsNames().tests()["aws_namespace"],
        "gpu_metrics_publish": lambda value: find_problem(value, {}) is None,
        "lab_monitoring": lambda value: watched("namespace", value),
    },
    "dimension's name": {
        "test aws_dimension_name": AwsNames().tests()["aws_dimension_name"],
        "gpu_metrics_publish": lambda value: find_problem("DigitalTwin", {value: "x"}) is None,
        "lab_monitoring": lambda value: watched("dimensions", {value: "x"}),
    },
    "dimension's value": {
        "test aws_dimension_value": AwsNames().tests()["aws_dimension_value"],
        "gpu_metrics_publish": lambda value: find_problem("DigitalTwin", {"Room": value}) is None,
        "lab_monitoring": lambda value: watched("dimensions", {"Room": value}),
    },
}
TAKEN = {
    "region": ["us-east-1", "eu-central-1", "us-gov-west-1", "eusc-de-east-1", "us-isob-east-1", "ap-southeast-7"],
    "namespace": ["DigitalTwin", "Lab/Workstations", "a:b", "AWS", "AWSLab/x", "x/AWS/", "#1", "-._/#:", "n" * 255],
    "dimension's name": ["Room", "a:b", "Cost centre", " x", "~", "n" * 255],
    "dimension's value": ["1.07", ":7", " x ", "v" * 256, "v" * 1024],
}
REFUSED = {
    "region": ["", "us-east-1a", "us-east-1\n", "Us-east-1", "us-1", "useast1", "europe-west-1", "us-east-1 ", "*"],
    "namespace": ["", ":Lab", "AWS/EC2", "AWS/", "Büro", "a b", "a*", "DigitalTwin\n", "\nDigitalTwin", "n" * 256],
    "dimension's name": ["", " ", ":Room", "Büro", "Room\n", "\tRoom", "\x7f", "n" * 256],
    "dimension's value": ["", "  ", "süd", "x\n", "\nx", "a\tb", "\x7f", "v" * 1025],
}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        *((kind, value, True) for kind, values in TAKEN.items() for value in values),
        *((kind, value, False) for kind, values in REFUSED.items() for value in values),
    ],
)
def test_all_agree(kind: str, value: str, *, expected: bool) -> None:
    assert {taker: takes(value) for taker, takes in TAKERS[kind].items()} == dict.fromkeys(TAKERS[kind], expected)


@pytest.mark.parametrize("name", ["aws_region", "aws_namespace", "aws_dimension_name", "aws_dimension_value"])
def test_only_text_is_accepted(name: str) -> None:
    assert not any(AwsNames().tests()[name](value) for value in (7, None, True, ["us-east-1"]))


def test_all_reserve_the_same_dimensions() -> None:
    own = PATTERNS["__gpu_metrics_own_dimensions"]
    assert own == ["InstanceId", "GpuIndex"]
    for name in own:
        assert find_problem("DigitalTwin", {name: "x"})
        assert not watched("dimensions", {name: "x"})
    most = {f"D{number}": "x" for number in range(PATTERNS["__gpu_metrics_most_dimensions"])}
    assert find_problem("DigitalTwin", most) is None
    assert watched("dimensions", most)
    assert find_problem("DigitalTwin", {**most, "one more": "x"})
    assert not watched("dimensions", {**most, "one more": "x"})


def test_regions_are_in_the_partitions_of_botocore() -> None:
    session = botocore.session.get_session()
    known = {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition)
    }
    assert len(known) > 30
    assert [region for region in known if not REGION.fullmatch(region)] == []
    assert {region: partition_of(region) for region in known} == known
