# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge as a process that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import pytest

from compose.ros2.bridge.config import ConfigError, load
from compose.ros2.bridge.health import check
from tests.unit.compose.cognitive.support import PASSWORD, ROOT
from tests.unit.compose.ros2.support import SECONDS, Lab

COMMANDS = 40
KILLS = 4
# Below the limit of waiting commands.
AHEAD = 10


def test_repeated_kills_lose_and_repeat_no_command(lab: Lab) -> None:
    """At any moment of the kill: the places are visited in order, and none again after the next one."""
    file = lab.folder / "visited"
    file.touch()
    (lab.folder / "password").write_text(f"{PASSWORD}\n")
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(lab.server.port),
        "REDIS_PASSWORD_FILE": str(lab.folder / "password"),
        "HEALTH_FILE": str(lab.folder / "healthy"),
    }
    command = [sys.executable, "-m", "tests.unit.compose.ros2.robot", str(file)]
    given = 0
    for life in range(1, KILLS + 2):
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            while given < COMMANDS * life // (KILLS + 1):
                wait_for_visits(file, given - AHEAD)
                lab.give("somewhere", f"c{given}", coordinates=[given, 0])
                given += 1
            if life > KILLS:
                wait_for_visits(file, COMMANDS)
        finally:
            process.kill()
            process.wait()
    places = [place for place, _visits in groupby(file.read_text().split())]
    assert places == [str(number) for number in range(COMMANDS)]


def wait_for_visits(file: Path, number: int) -> None:
    """Wait until this number of places was visited."""
    deadline = time.monotonic() + SECONDS
    while len(set(file.read_text().split())) < number:
        assert time.monotonic() < deadline, f"{number} places were not visited within {SECONDS:g} s"
        time.sleep(0.002)


def test_health() -> None:
    assert check(100.0, 109.0) == ""
    assert (
        check(100.0, 130.0)
        == "for 30 s Redis has not answered, Nav2 has accepted no goals, or the bridge has been stuck"
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"REDIS_PORT": "0"}, "REDIS_PORT is '0'. Allowed: 1 to 65535"),
        ({"REDIS_TIMEOUT": "nan"}, "REDIS_TIMEOUT is 'nan'. Allowed: 0.1 to 60"),
        ({"EXPECTS_ROBOT": "maybe"}, "EXPECTS_ROBOT is 'maybe'. Allowed: true, false"),
        ({"COMMAND_MAX_AGE": "long"}, "COMMAND_MAX_AGE is 'long'. Allowed: 1 to 86400"),
        ({"REDIS_PASSWORD_FILE": "/nowhere"}, "REDIS_PASSWORD_FILE is '/nowhere', which cannot be read"),
        ({"INITIAL_POSE": "here"}, "INITIAL_POSE is 'here'. Allowed: x,y,yaw in metres and radians, or none"),
    ],
)
def test_bad_settings(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(environment)


def test_defaults() -> None:
    settings = load({"REDIS_PORT": "", "INITIAL_POSE": "none"})
    assert (settings.redis_host, settings.redis_port, settings.stream) == ("redis", 6379, "robot_commands:stream")
    assert settings.initial_pose is None
    assert load({}).initial_pose == (0.0, 0.0, 0.0)
