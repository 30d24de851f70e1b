# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings, read once at start from environment variables and a secret file.

It does not import Redis' client, which would slow down the health check.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .follower import Limits
from .places import pose


class ConfigError(ValueError):
    """A setting cannot be used; the message names the variable, its value and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """The settings of the bridge.

    Attributes:
        redis_socket: path of Redis' socket, which takes precedence over host and port; empty without one.
        redis_timeout: the time limit for one exchange with Redis, in seconds.
        wait: how long to wait for a command before checking the robot again, in milliseconds.
        initial_pose: x, y (metres) and yaw (radians) at which the robot starts; None sets no pose.
        expects_robot: whether the service is unhealthy while Nav2 accepts no goals; false if the robot may be off.
        health_file: touched while commands can be followed, or wait for a robot that is not expected.
    """

    places_file: Path
    redis_host: str = "redis"
    redis_port: int = 6379
    redis_socket: str = ""
    redis_username: str = ""
    redis_password: str = field(default="", repr=False)
    redis_timeout: float = 2.0
    channel: str = "robot_commands"
    stream: str = "robot_commands:stream"
    finished: str = "robot_commands:finished"
    events: str = "robot_events"
    group: str = "robots"
    robot: str = "robot"
    wait: int = 100
    limits: Limits = field(default_factory=Limits)
    initial_pose: tuple[float, float, float] | None = (0.0, 0.0, 0.0)
    expects_robot: bool = True
    health_file: Path = Path("/run/robot/healthy")


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings from the environment; an empty variable counts as unset.

    :raises ConfigError: a value is out of range or a secret file cannot be read.
    """
    given = {name: value for name, value in environment.items() if value}
    return Settings(
        places_file=Path(given.get("PLACES_FILE", "/etc/robot/places.json")),
        redis_host=given.get("REDIS_HOST", "redis"),
        redis_port=int(_number(given, "REDIS_PORT", 6379, 1, 65535)),
        redis_socket=given.get("REDIS_SOCKET", ""),
        redis_username=given.get("REDIS_USERNAME", ""),
        redis_password=_secret(given, "REDIS_PASSWORD_FILE"),
        redis_timeout=_number(given, "REDIS_TIMEOUT", 2.0, 0.1, 60),
        limits=Limits(
            age=_number(given, "COMMAND_MAX_AGE", Limits.age, 1, 86400),
            goal=_number(given, "GOAL_TIMEOUT", Limits.goal, 1, 86400),
        ),
        initial_pose=_pose(given),
        expects_robot=_flag(given, "EXPECTS_ROBOT"),
        health_file=Path(given.get("HEALTH_FILE", "/run/robot/healthy")),
    )


def _number(given: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    value = given.get(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ConfigError(f"{name} is {value!r}. Allowed: {least:g} to {most:g}")
    return number


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "true")
    if value not in ("true", "false"):
        raise ConfigError(f"{name} is {value!r}. Allowed: true, false")
    return value == "true"


def _secret(given: Mapping[str, str], name: str) -> str:
    path = given.get(name)
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{name} is {path!r}, which cannot be read") from None


def _pose(given: Mapping[str, str]) -> tuple[float, float, float] | None:
    value = given.get("INITIAL_POSE", "0,0,0")
    if value == "none":
        return None
    try:
        return pose(value)
    except ValueError:
        raise ConfigError(f"INITIAL_POSE is {value!r}. Allowed: x,y,yaw in metres and radians, or none") from None
