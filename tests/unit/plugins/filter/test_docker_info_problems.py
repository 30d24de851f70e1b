# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of daemon.json that are not in effect."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.docker_info_problems import FilterModule

find = FilterModule().filters()["docker_info_problems"]

INFO: dict[str, Any] = {
    "DockerRootDir": "/var/lib/docker",
    "Debug": False,
    "DefaultRuntime": "runc",
    "LiveRestoreEnabled": True,
    "LoggingDriver": "json-file",
    "Driver": "overlay2",
    "Runtimes": {"runc": {}, "nvidia": {}},
    "RegistryConfig": {
        "Mirrors": ["https://mirror.lab/"],
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Secure": True},
            "archive:5000": {"Name": "archive:5000", "Secure": False},
        },
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "10.0.0.0/8"],
    },
}


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({}, []),
        ({"live-restore": True, "log-driver": "json-file", "storage-driver": "overlay2", "debug": False}, []),
        ({"labels": ["a=b"], "mtu": 1400}, []),
        ({"registry-mirrors": ["https://mirror.lab"]}, []),
        ({"insecure-registries": ["http://archive:5000", "10.0.0.0/8"]}, []),
        ({"runtimes": {"nvidia": {}}}, []),
        ({"debug": True}, ["debug is true in daemon.json and false in the engine. Restart Docker."]),
        (
            {"log-driver": "local"},
            ['log-driver is "local" in daemon.json and "json-file" in the engine. Restart Docker.'],
        ),
        (
            {"registry-mirrors": ["https://a.lab", "https://mirror.lab"]},
            ["registry-mirrors in daemon.json has https://a.lab, which the engine does not report. Restart Docker."],
        ),
        (
            {"insecure-registries": ["b.lab"], "runtimes": {"other": {}}},
            [
                "insecure-registries in daemon.json has b.lab, which the engine does not report. Restart Docker.",
                "runtimes in daemon.json has other, which the engine does not report. Restart Docker.",
            ],
        ),
    ],
)
def test_options_that_are_not_in_effect(options: dict[str, Any], messages: list[str]) -> None:
    assert find(INFO, options) == messages


def test_an_engine_that_does_not_answer_is_not_compared() -> None:
    assert find({}, {"debug": True}) == []


def test_an_engine_without_registries() -> None:
    empty = {**INFO, "Runtimes": None, "RegistryConfig": {"Mirrors": None, "IndexConfigs": None}}
    assert find(empty, {"registry-mirrors": []}) == []
