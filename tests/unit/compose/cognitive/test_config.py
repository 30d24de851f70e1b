# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment: defaults, secrets, and errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.cognitive.config import ConfigError, load

BAD = {
    "port": ({"LISTEN_PORT": "0"}, "LISTEN_PORT is '0'. Allowed: 1 to 65535"),
    "port as text": ({"LISTEN_PORT": "http"}, "LISTEN_PORT is 'http'"),
    "port too large": ({"REDIS_PORT": "70000"}, "REDIS_PORT is '70000'"),
    "timeout": ({"REDIS_TIMEOUT": "0"}, "REDIS_TIMEOUT is '0'. Allowed: more than 0 and at most 60 seconds"),
    "timeout not a number": ({"REDIS_TIMEOUT": "nan"}, "REDIS_TIMEOUT is 'nan'"),
    "level": ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'LOUD'. Allowed: DEBUG, INFO, WARNING, ERROR"),
    "secret": ({"REDIS_PASSWORD_FILE": "/nowhere"}, "REDIS_PASSWORD_FILE is '/nowhere'.*No such file"),
    "url without scheme": ({"NIM_URL": "nim:8000"}, "NIM_URL must look like"),
    "url of a file": ({"NIM_URL": "file:///etc/passwd"}, "NIM_URL must look like"),
    "url with a bad port": ({"NIM_URL": "http://nim:99999"}, "NIM_URL must look like"),
    "nim at once": (
        {"NIM_URL": "http://nim:8000", "NIM_CONCURRENCY": "0"},
        "NIM_CONCURRENCY is '0'. Allowed: 1 to 1000",
    ),
    "nim queue": ({"NIM_URL": "http://nim:8000", "NIM_QUEUE": "-1"}, "NIM_QUEUE is '-1'. Allowed: 0 to 1000"),
    "nim timeout": ({"NIM_URL": "http://nim:8000", "NIM_TIMEOUT": "3600"}, "NIM_TIMEOUT is '3600'"),
}


@pytest.mark.parametrize(("environment", "message"), BAD.values(), ids=BAD)
def test_invalid_values_are_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(environment)


def test_a_url_with_a_password_is_refused_without_quoting_it() -> None:
    with pytest.raises(ConfigError) as refusal:
        load({"NIM_URL": "https://user:hunter2@nim/v1"})
    assert "hunter2" not in str(refusal.value)


def test_defaults_and_empty_variables() -> None:
    settings = load({"NIM_URL": "", "LOG_LEVEL": "", "LISTEN_PORT": ""})
    assert (settings.port, settings.redis_host, settings.redis_port, settings.channel) == (
        8001,
        "redis",
        6379,
        "robot_commands",
    )
    assert settings.nim is None
    assert settings.redis_password == ""


@pytest.mark.parametrize("url", ["http://nim:8000", "http://nim:8000/", "http://nim:8000/v1", "http://nim:8000/v1/"])
def test_nim_url_with_and_without_its_version(url: str) -> None:
    nim = load({"NIM_URL": url}).nim
    assert nim is not None
    assert nim.url == "http://nim:8000/v1"


def test_secrets_are_read_without_their_newline_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    (tmp_path / "key").write_text("nvapi-canary\n")
    settings = load(
        {
            "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
            "NIM_URL": "https://nim/v1",
            "NIM_API_KEY_FILE": str(tmp_path / "key"),
        }
    )
    assert settings.nim is not None
    assert (settings.redis_password, settings.nim.api_key) == ("correct horse", "nvapi-canary")
    assert "correct horse" not in repr(settings)
    assert "nvapi-canary" not in repr(settings)
