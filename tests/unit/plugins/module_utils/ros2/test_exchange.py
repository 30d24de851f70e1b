# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the processes that exchange samples have heard enough, and what they make of what a library tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.exchange import (
    Heard,
    describe_participants,
    read_arguments,
)


@pytest.mark.parametrize(
    ("words", "missing", "deaf"),
    [
        ([], ["two", "three"], []),
        ([("two", [], 10)], ["three"], ["two"]),
        ([("two", ["one"], 10), ("three", ["two"], 10)], [], ["three"]),
        ([("two", ["one"], 10), ("three", ["one", "two"], 10)], [], []),
        # Neither itself nor a stranger counts.
        ([("one", ["one"], 10), ("four", ["one"], 10)], ["two", "three"], []),
    ],
)
def test_everybody_hears_and_is_heard(
    words: list[tuple[str, list[str], int]], missing: list[str], deaf: list[str]
) -> None:
    heard = Heard("one", frozenset({"two", "three"}))
    for word in words:
        heard.take(*word)
    assert (heard.told()["missing"], heard.told()["deaf"]) == (sorted(missing), deaf)
    assert heard.complete == (not missing and not deaf)


def test_whoever_heard_once_has_heard() -> None:
    heard = Heard("one", frozenset({"two"}))
    heard.take("two", ["one"], 1000)
    heard.take("two", [], 10)
    assert heard.complete
    assert heard.told()["heard"] == {"two": 1000}


def test_participants_are_those_of_other_processes() -> None:
    def sample(key: str, **properties: str) -> SimpleNamespace:
        policies = [SimpleNamespace(key=f"__{name}", value=value) for name, value in properties.items()]
        return SimpleNamespace(key=key, qos=[SimpleNamespace(lease_duration=10), *policies])

    other = sample("b", Hostname="robot-2", ProcessName="listener", Pid="7", NetworkAddresses="udp/10.0.1.11:7410@1")
    own = sample("a", Hostname="robot-1", NetworkAddresses="localprocess")
    assert describe_participants([own, other, other, sample("c")]) == [
        {"host": "robot-2", "process": "listener", "pid": "7", "address": "udp/10.0.1.11:7410@1"}
    ]


def test_nobody_is_expected_of_an_empty_list() -> None:
    assert read_arguments(["--name", "one", "--expect", ""]).expect == []
    assert read_arguments(["--name", "one", "--expect", "two,three"]).expect == ["two", "three"]
