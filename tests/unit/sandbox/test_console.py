# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's console output through EC2's API: the newest part of the host's output, by instance type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.responses.general import General

from sandbox.cloud import console

Ask = Callable[..., str]


@pytest.fixture
def written() -> dict[str, bytes]:
    return {}


@pytest.fixture
def ask(written: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gets the console output of a new instance of a type, which wrote a text."""
    monkeypatch.setattr(General, "get_console_output", None)
    console.install(lambda instance_id: written.get(instance_id, b""))
    with mock_aws():
        connect: Any = boto3.client
        ec2 = connect("ec2", "us-east-1", aws_access_key_id="test", aws_secret_access_key="canary-aws-3d91")

        def output(kind: str, text: bytes, **options: bool) -> str:
            launched = ec2.run_instances(ImageId="ami-1e749f67", MinCount=1, MaxCount=1, InstanceType=kind)
            instance_id = launched["Instances"][0]["InstanceId"]
            written[instance_id] = text
            return str(ec2.get_console_output(InstanceId=instance_id, **options).get("Output", ""))

        yield output


@pytest.mark.parametrize("latest", [True, False])
def test_the_output_is_that_of_the_host(ask: Ask, latest: bool) -> None:
    assert ask("g5.xlarge", b"one\ntwo\n", Latest=latest) == "one\r\ntwo\r\n"
    assert ask("g5.xlarge", b"", Latest=latest) == ""


def test_only_the_newest_output_is_preserved(ask: Ask) -> None:
    output = ask("g5.xlarge", b"first" + b"." * console.LARGEST + b"last")
    assert (len(output), output[:1], output[-4:]) == (console.LARGEST, ".", "last")


def test_the_latest_output_requires_the_nitro_hypervisor(ask: Ask) -> None:
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        ask("t2.micro", b"text", Latest=True)
    assert ask("t2.micro", b"text") == "text"
