# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings, read once at start from environment variables and secret files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .access import HOST

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Characters that a header allows, and too long to guess.
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{32,128}")


class ConfigError(ValueError):
    """A setting cannot be used; the message names the variable, its value and what is allowed."""


@dataclass(frozen=True)
class NimSettings:
    """The settings for a NIM language model.

    :param url: base of its OpenAI-compatible API, ending in ``/v1``.
    :param timeout: the time limit for one question in seconds, including the queue and all attempts.
    :param concurrency: how many questions are sent at once.
    :param queue: how many more may be queued.
    """

    url: str
    model: str
    timeout: float
    concurrency: int = 4
    queue: int = 16
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Settings:
    """The settings of the service.

    :param host: address to listen on; ``None`` means every address of the container.
    :param token: what callers must send with a command; empty if the service has no token.
    :param closed_because: why the service has no token.
    :param allowed_hosts: names and addresses at which callers reach the service, besides those of its machine.
    :param redis_timeout: the time limit for one exchange with Redis, in seconds.
    :param max_text: longest command in characters.
    """

    places_file: Path
    host: str | None = None
    port: int = 8001
    redis_host: str = "redis"
    redis_port: int = 6379
    token: str = field(default="", repr=False)
    closed_because: str = "no token was given"
    allowed_hosts: tuple[str, ...] = ()
    redis_username: str = ""
    redis_password: str = field(default="", repr=False)
    redis_timeout: float = 2.0
    channel: str = "robot_commands"
    stream: str = "robot_commands:stream"
    max_text: int = 500
    log_level: str = "INFO"
    nim: NimSettings | None = None


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings from the environment; an empty variable counts as unset.

    :raises ConfigError: a value is out of range or a secret file cannot be read.
    """
    given = {name: value for name, value in environment.items() if value}
    level = given.get("LOG_LEVEL", "INFO").upper()
    if level not in LOG_LEVELS:
        raise ConfigError(f"LOG_LEVEL is {level!r}. Allowed: {', '.join(LOG_LEVELS)}")
    token, problem = _token(given)
    return Settings(
        places_file=Path(given.get("PLACES_FILE", "/etc/cognitive/places.json")),
        host=given.get("LISTEN_HOST"),
        port=_port(given, "LISTEN_PORT", 8001),
        redis_host=given.get("REDIS_HOST", "redis"),
        redis_port=_port(given, "REDIS_PORT", 6379),
        token=token,
        closed_because=problem,
        allowed_hosts=_hosts(given),
        redis_username=given.get("REDIS_USERNAME", ""),
        redis_password=_secret(given, "REDIS_PASSWORD_FILE"),
        redis_timeout=_seconds(given, "REDIS_TIMEOUT", 2.0),
        channel=given.get("REDIS_CHANNEL", "robot_commands"),
        log_level=level,
        nim=_nim(given),
    )


def _token(given: Mapping[str, str]) -> tuple[str, str]:
    """Return the token, or why it is missing. Without one the service runs, reports that, and accepts no command."""
    path = given.get("TOKEN_FILE")
    if not path:
        return "", "TOKEN_FILE is not set"
    try:
        token = _secret(given, "TOKEN_FILE")
    except ConfigError as error:
        return "", str(error)
    if TOKEN.fullmatch(token):
        return token, ""
    return "", f"TOKEN_FILE is {path!r}, whose content is not 32 to 128 characters of letters, digits and ._~+/=-"


def _hosts(given: Mapping[str, str]) -> tuple[str, ...]:
    hosts = [host.strip().lower() for host in given.get("ALLOWED_HOSTS", "").split(",") if host.strip()]
    for host in hosts:
        if not re.fullmatch(HOST, host):
            raise ConfigError(
                f"ALLOWED_HOSTS has {host!r}. Allowed: names and addresses without a port, separated by commas"
            )
    return tuple(hosts)


def _nim(given: Mapping[str, str]) -> NimSettings | None:
    url = given.get("NIM_URL", "").rstrip("/")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("NIM_URL must look like http://host:8000 or https://host/v1, without user, password or query")
    return NimSettings(
        url=url if parts.path.endswith("/v1") else f"{url}/v1",
        model=given.get("NIM_MODEL", "meta/llama-3.1-8b-instruct"),
        timeout=_seconds(given, "NIM_TIMEOUT", 5.0),
        concurrency=_count(given, "NIM_CONCURRENCY", 4, least=1),
        queue=_count(given, "NIM_QUEUE", 16, least=0),
        api_key=_secret(given, "NIM_API_KEY_FILE"),
    )


def _secret(given: Mapping[str, str], name: str) -> str:
    path = given.get(name)
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{name} is {path!r}, which cannot be read: {reason}") from None


def _port(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name, str(default))
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 65535:
        raise ConfigError(f"{name} is {value!r}. Allowed: 1 to 65535")
    return int(value)


def _count(given: Mapping[str, str], name: str, default: int, least: int) -> int:
    value = given.get(name, str(default))
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= 1000:
        raise ConfigError(f"{name} is {value!r}. Allowed: {least} to 1000")
    return int(value)


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    value = given.get(name, str(default))
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 60:
        raise ConfigError(f"{name} is {value!r}. Allowed: more than 0 and at most 60 seconds")
    return seconds
