# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's verbs for what AWS does of its own accord, from the command line to the cloud."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import __main__ as command_line
from sandbox.cloud import volumes, volumes_api
from sandbox.settings import Sandbox

from .conftest import AWS, KEY

Verb = Callable[..., Any]


@pytest.fixture
def verb(aws: AWS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Return a function that runs a command against the cloud, and returns what it prints."""
    sandbox = Sandbox.at(tmp_path)
    sandbox.key_file.write_text(json.dumps({"id": KEY.id, "secret": KEY.secret}), encoding="utf-8")
    monkeypatch.setattr(command_line, "running", lambda _sandbox: aws.url)

    def run(*words: str, status: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["sandbox", "--state", str(tmp_path), *words])
        assert command_line.main() == status
        printed = capsys.readouterr()
        return printed.err if status else json.loads(printed.out or "{}")

    return run


def test_spot(aws: AWS, verb: Verb) -> None:
    instance_id = aws.spot()
    (row,) = verb("spot")
    assert (row["instance"], row["state"], row["status"], row["notice"]) == (instance_id, "active", "fulfilled", {})
    verb("spot", "rebalance", instance_id)
    verb("spot", "interrupt", instance_id, "--notice", "600")
    assert verb("spot")[0]["notice"]["action"] == "stop"
    verb("spot", "interrupt", row["id"], "--notice", "0", "--reason", "price")
    assert verb("spot")[0]["status"] == "instance-stopped-by-price"
    assert aws.state(instance_id) == "stopped"
    verb("spot", "fulfil", instance_id)
    assert aws.state(instance_id) == "running"
    verb("spot", "price", "g5.xlarge", "0.9", "--zone", "us-east-1a")
    prices = aws.ec2.describe_spot_price_history(InstanceTypes=["g5.xlarge"], AvailabilityZone="us-east-1a")
    assert prices["SpotPriceHistory"][0]["SpotPrice"] == "0.900000"


def test_events(aws: AWS, verb: Verb) -> None:
    instance_id = aws.run()
    verb("event", instance_id, "instance-retirement", "--seconds", "60")
    (status,) = aws.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert status["Events"][0]["Code"] == "instance-retirement"
    verb("event", instance_id, "none")
    (status,) = aws.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert not status.get("Events")


def test_clock_and_schedules(verb: Verb) -> None:
    assert verb("clock", "set", "2026-11-30T06:00:00Z") == {"time": "2026-11-30T06:00:00+00:00", "calls": 0}
    assert verb("clock", "advance", "90m")["time"] == "2026-11-30T07:30:00+00:00"
    assert verb("schedules")["clock"] == {"time": "2026-11-30T07:30:00+00:00", "stands": True}
    verb("clock", "reset")
    assert verb("schedules")["clock"]["stands"] is False


def test_pace(aws: AWS, verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes_api.install()
    monkeypatch.setattr(volumes, "PACE", volumes.Pace())
    verb("pace", "--snapshot", "600")
    volume = aws.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)
    assert volume["State"] == "available"
    assert aws.ec2.create_snapshot(VolumeId=volume["VolumeId"])["State"] == "pending"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pace", "--modifying", "-1"), "modifying: -1.0. Allowed: a number of seconds, 0 or more"),
        (("spot", "interrupt", "i-0"), "'i-0' is not a spot instance"),
        (("spot", "price", "x9.huge", "1"), "'x9.huge' is not known"),
        (("event", "i-0", "system-reboot"), "'i-0' is not an instance"),
        (("clock", "set", "soon"), "such as 2026-03-29T00:59:00Z"),
        (("clock", "advance", "soon"), "such as 90s, 15m, 2h or 1d"),
    ],
)
def test_a_mistake_is_one_sentence(verb: Verb, words: tuple[str, ...], message: str) -> None:
    error = verb(*words, status=1)
    assert message in error
    assert "Traceback" not in error
