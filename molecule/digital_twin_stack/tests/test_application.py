# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's clone: its revision, what it mounts into services, and the logs in it."""

from __future__ import annotations

import json
import time

from testinfra.host import Host

CLONE = "/root/digital-twin-robot-NVD"
LOGS = "/var/log/digital-twin/digital-twin"
USER = "digital-twin-logs"
COMPOSE = "docker compose --project-directory /opt/digital-twin"


def wait_for_line(host: Host, service: str, text: str) -> None:
    """Wait until a service's log file contains a text."""
    deadline = time.monotonic() + 30
    while host.run(f"grep --quiet --fixed-strings -- '{text}' {CLONE}/logs/{service}.log").rc:
        assert time.monotonic() < deadline, f"{service}.log does not have {text!r} after 30 s"
        time.sleep(0.2)


def write_log(host: Host, text: str) -> None:
    """Write a line to the log of a service."""
    host.check_output(f"{COMPOSE} exec -T redis sh -c 'echo \"{text}\" > /proc/1/fd/1'")


def test_the_clone_is_at_the_revision(host: Host) -> None:
    assert host.check_output(f"git -C {CLONE} describe --tags") == "v1.1.0"
    assert "tolerance" in host.file(f"{CLONE}/config/nav2_params.yaml").content_string


def test_services_mount_the_folders_that_exist(host: Host) -> None:
    project = json.loads(host.check_output(f"COMPOSE_PROFILES=sim {COMPOSE} config --format json"))
    mounts = {
        (service, mount["source"].removeprefix(CLONE), mount["target"])
        for service, description in project["services"].items()
        for mount in description.get("volumes", [])
        if mount["source"].startswith(CLONE) and mount["read_only"]
    }
    assert mounts == {
        ("ros2", "/config", "/config"),
        ("isaac_sim", "/config", "/config"),
        ("isaac_sim", "/simulation", "/isaac-sim/workspace"),
        ("isaac_sim", "/simulation/assets", "/isaac-sim/assets"),
    }
    commit = host.check_output(f"git -C {CLONE} rev-parse HEAD")
    assert project["services"]["ros2"]["labels"]["digital-twin.application"] == commit


def test_each_line_of_a_service_is_in_its_file_once(host: Host) -> None:
    write_log(host, "before a restart")
    wait_for_line(host, "redis", "before a restart")
    host.check_output("systemctl restart digital-twin-logs")
    write_log(host, "after a restart")
    wait_for_line(host, "redis", "after a restart")
    assert host.check_output(f"grep --count 'before a restart' {CLONE}/logs/redis.log") == "1"


def test_logs_are_followed_by_a_user_that_only_root_controls(host: Host) -> None:
    processes = host.check_output(f"pgrep --uid {USER}").split()
    assert host.check_output("systemctl show --property=MainPID --value digital-twin-logs") in processes
    assert len(processes) >= 2, "a program and its Docker client"
    for process in processes:
        environment = host.check_output(f"cat /proc/{process}/environ").split("\0")
        assert {"HOME=/nonexistent", "DOCKER_CONFIG=/nonexistent"} <= set(environment)
    assert host.file(f"{CLONE}/logs/redis.log").linked_to == f"{LOGS}/redis.log"
    assert (host.file(LOGS).user, host.file(LOGS).mode) == (USER, 0o750)
    assert (host.file(f"{LOGS}/redis.log").user, host.file(f"{LOGS}/redis.log").mode) == (USER, 0o640)


def test_files_have_a_limit(host: Host) -> None:
    # Longer than the limit, so the next line begins another file.
    last = host.check_output(f"tail --lines=1 {CLONE}/logs/redis.log")
    host.check_output("systemctl stop digital-twin-logs")
    host.check_output(f"sh -c 'yes \"{last}\" | head --bytes=10000000 >> {CLONE}/logs/redis.log'")
    host.check_output(f"sh -c 'echo >> {CLONE}/logs/redis.log'")
    host.check_output("systemctl start digital-twin-logs")
    write_log(host, "in another file")
    wait_for_line(host, "redis", "in another file")
    assert host.file(f"{CLONE}/logs/redis.log").size < 100_000
    assert host.file(f"{LOGS}/redis.log.1").size > 10_000_000


def test_logs_are_followed_after_a_restart_of_the_services(host: Host) -> None:
    host.check_output("digital-twin restart")
    write_log(host, "since the services were started again")
    wait_for_line(host, "redis", "since the services were started again")
