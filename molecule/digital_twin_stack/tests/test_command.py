# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command on the host and its unit: what they do and report."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from testinfra.host import Host

UNIT = "digital-twin.service"
COMPOSE = "docker compose --project-directory /opt/digital-twin"
UNPRIVILEGED = "setpriv --reuid nobody --regid nogroup"


def states(host: Host) -> dict[str, tuple[str, str]]:
    """Return state and health of each service, as the command reports them."""
    lines = host.run("digital-twin status").stdout.splitlines()
    assert lines[0].split() == ["SERVICE", "STATE", "HEALTH"]
    return {row[0]: (row[1], row[2]) for row in (re.split(r" {2,}", line.strip()) for line in lines[1:])}


def is_active(host: Host) -> str:
    """Return what systemd reports of the unit."""
    return str(host.run(f"systemctl is-active {UNIT}").stdout.strip())


def wait_until_unhealthy(host: Host, service: str) -> None:
    """Wait until Docker reports a service as unhealthy."""
    deadline = time.monotonic() + 90
    while states(host)[service][1] != "unhealthy":
        assert time.monotonic() < deadline, f"{service} is not unhealthy after 90 s"
        time.sleep(0.5)


@pytest.fixture(autouse=True)
def healthy(host: Host) -> Iterator[None]:
    """Start the services again when a test has stopped any."""
    yield
    if host.run("digital-twin status").rc:
        host.run_expect([0], "digital-twin start")


def test_status_reports_the_services(host: Host) -> None:
    assert set(states(host)) == set(host.check_output(f"{COMPOSE} config --services").split())
    assert set(states(host).values()) == {("running", "healthy")}
    assert host.run("digital-twin status").rc == 0
    assert is_active(host) == "active"


def test_start_does_not_change_healthy_services(host: Host) -> None:
    assert "healthy already." in host.check_output("digital-twin start")


def test_start_repairs_stopped_and_unhealthy_services(host: Host) -> None:
    host.check_output("docker kill digital-twin-redis-1")
    assert states(host)["redis"] == ("exited (137)", "-")
    assert host.run("digital-twin status").rc == 1
    wait_until_unhealthy(host, "cognitive")
    done = host.run("digital-twin start")
    assert (done.rc, done.stderr) == (0, "")
    assert "started and healthy" in done.stdout
    assert host.run("digital-twin status").rc == 0


@pytest.mark.parametrize("way", ["digital-twin stop", f"systemctl stop {UNIT}"])
def test_command_and_unit_agree_on_a_stop(host: Host, way: str) -> None:
    host.run_expect([0], way)
    assert {state.partition(" ")[0] for state, _health in states(host).values()} == {"exited"}
    assert host.run("digital-twin status").rc == 3
    assert is_active(host) == "inactive"
    host.run_expect([0], f"systemctl start {UNIT}")
    assert host.run("digital-twin status").rc == 0


def test_command_and_unit_report_a_failure(host: Host) -> None:
    image = host.check_output("docker inspect --format {{.Config.Image}} digital-twin-redis-1")
    host.run_expect([0], "digital-twin stop")
    host.check_output("docker rm digital-twin-redis-1")
    host.check_output(f"docker tag {image} redis:kept")
    host.check_output(f"docker rmi {image}")
    try:
        done = host.run("digital-twin start")
        assert done.rc == 1
        # Some versions of Docker print the short name.
        assert re.search(r"^digital-twin: The services did not come up: .*No such image: \S*redis:8\.0", done.stderr)
        assert "redis (no container)" in done.stderr
        assert is_active(host) == "failed"
        # The services that started are stopped, although Compose finds no Redis to stop.
        host.run_expect([0], "digital-twin stop")
        assert states(host)["cognitive"][0].startswith("exited")
        assert is_active(host) == "inactive"
    finally:
        host.check_output(f"docker tag redis:kept {image}")
        host.check_output("docker rmi redis:kept")


def test_the_unit_starts_at_boot_after_docker(host: Host) -> None:
    assert host.check_output(f"systemctl is-enabled {UNIT}") == "enabled"
    assert "docker.service" in host.check_output(f"systemctl show --property=After --value {UNIT}").split()


def test_logs_prints_the_logs_of_docker(host: Host) -> None:
    line = host.check_output("digital-twin logs --tail 1 redis")
    assert line.startswith("redis-1  | ")
    assert "\x1b" not in host.check_output("digital-twin logs")


def test_url_prints_addresses_and_the_tunnel(host: Host) -> None:
    output = host.check_output("digital-twin url")
    assert re.search(r"^commands +http://127\.0\.0\.1:8001/command \(\*\)$", output, re.MULTILINE)
    assert "commands need a token: sudo digital-twin token." in output
    assert re.search(r"ssh -L 8001:127\.0\.0\.1:8001 .*\S+@[0-9.]+$", output, re.MULTILINE)


@pytest.mark.parametrize("words", ["", "begin", "start now", "down up"])
def test_other_words_get_the_usage(host: Host, words: str) -> None:
    done = host.run(f"digital-twin {words}")
    assert (done.rc, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: digital-twin VERB")


def test_stop_requires_root_and_status_the_group_docker(host: Host) -> None:
    for verb, message in (("stop", "This needs root: sudo"), ("status", "This needs root, or the group docker: sudo")):
        done = host.run(f"{UNPRIVILEGED} --clear-groups digital-twin {verb}")
        assert (done.rc, done.stderr.strip()) == (4, f"digital-twin: {message} digital-twin {verb}")
    docker = host.check_output("getent group docker").split(":")[2]
    done = host.run(f"{UNPRIVILEGED} --groups {docker} digital-twin status")
    assert done.rc == 0
    assert "Only root can read which others belong to the profile" in done.stdout
    assert host.run(f"{UNPRIVILEGED} --groups {docker} digital-twin stop").rc == 4
