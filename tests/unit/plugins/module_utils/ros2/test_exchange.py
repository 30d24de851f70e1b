# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the exchange of samples is complete, how participants are described, and how it runs in the background."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2 import exchange
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.exchange import (
    ExchangeRecord,
    describe_participants,
    read_arguments,
)

from tests.support.project import ROOT


@pytest.mark.parametrize(
    ("samples", "missing", "deaf"),
    [
        ([], ["two", "three"], []),
        ([("two", [], 10)], ["three"], ["two"]),
        ([("two", ["one"], 10), ("three", ["two"], 10)], [], ["three"]),
        ([("two", ["one"], 10), ("three", ["one", "two"], 10)], [], []),
        # Neither the process itself nor an unexpected one counts.
        ([("one", ["one"], 10), ("four", ["one"], 10)], ["two", "three"], []),
    ],
)
def test_all_processes_hear_and_are_heard(
    samples: list[tuple[str, list[str], int]], missing: list[str], deaf: list[str]
) -> None:
    record = ExchangeRecord("one", frozenset({"two", "three"}))
    for sample in samples:
        record.add(*sample)
    assert (record.report()["missing"], record.report()["deaf"]) == (sorted(missing), deaf)
    assert record.complete == (not missing and not deaf)


def test_a_process_that_was_heard_once_counts() -> None:
    record = ExchangeRecord("one", frozenset({"two"}))
    record.add("two", ["one"], 1000)
    record.add("two", [], 10)
    assert record.complete
    assert record.report()["heard"] == {"two": 1000}


def test_participants_are_those_of_other_processes() -> None:
    def sample(key: str, **properties: str) -> SimpleNamespace:
        policies = [SimpleNamespace(key=f"__{name}", value=value) for name, value in properties.items()]
        return SimpleNamespace(key=key, qos=[SimpleNamespace(lease_duration=10), *policies])

    other = sample("b", Hostname="robot-2", ProcessName="listener", Pid="7", NetworkAddresses="udp/10.0.1.11:7410@1")
    own = sample("a", Hostname="robot-1", NetworkAddresses="localprocess")
    assert describe_participants([own, other, other, sample("c")]) == [
        {"host": "robot-2", "process": "listener", "pid": "7", "address": "udp/10.0.1.11:7410@1"}
    ]


def test_an_empty_list_expects_no_process() -> None:
    assert read_arguments(["--name", "one", "--expect", ""]).expect == []
    assert read_arguments(["--name", "one", "--expect", "two,three"]).expect == ["two", "three"]


PROGRAM = "ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.exchange"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
    command = [sys.executable, "-m", PROGRAM, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_result_of_the_background_is_collected_once() -> None:
    # Zenoh refuses to start without its configuration.
    started = run("--background", "--name", "one", "--zenoh", "--timeout", "1")
    assert (started.returncode, started.stderr) == (0, "")
    collected = run("--collect", started.stdout)
    result = json.loads(collected.stdout)
    assert (collected.returncode, result["rc"], result["stdout"]) == (0, 2, "")
    assert "Error" in result["stderr"]
    assert not Path(started.stdout).exists()


def test_a_program_that_never_ends_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(exchange, "GRACE_SECONDS", 0)
    assert exchange.collect_result(tmp_path, 0.1) == 2
    assert "has not written its result" in capfd.readouterr().err
