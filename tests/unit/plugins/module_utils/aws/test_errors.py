# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the messages for failed calls, by the table errors.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.errors import (
    describe_error,
    translate_error,
)
from botocore import exceptions

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("errors.yml").read_text())
CALLER = "arn:aws:iam::123456789012:user/robotics"


def error_of(case: dict[str, Any]) -> Exception:
    """Create the exception that a case of the table describes."""
    if "code" in case:
        answer: Any = {"Error": {"Code": case["code"], "Message": case.get("message", "")}}
        return exceptions.ClientError(answer, "DescribeVpcs")
    error: Exception = getattr(exceptions, case["exception"])(**case.get("given", {}))
    return error


@pytest.mark.parametrize("case", CASES, ids=[case.get("code") or case["exception"] for case in CASES])
def test_line(case: dict[str, Any]) -> None:
    error = translate_error(error_of(case), "ec2:DescribeVpcs", "us-east-1")
    assert str(describe_error(error, CALLER)) == case["line"]


def test_error_without_details() -> None:
    empty: Any = {}
    error = translate_error(exceptions.ClientError(empty, "DescribeVpcs"), "ec2:DescribeVpcs", "us-east-1")
    assert (error.kind, error.code) == ("other", "Unknown")
    assert str(error) == "ec2:DescribeVpcs in us-east-1: Unknown: "
