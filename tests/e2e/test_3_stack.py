# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The robot from outside the first host: visible by Foxglove's protocol and in a browser, and moved by commands."""

from __future__ import annotations

import base64
import json
import math
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.browser import Browser, browser
from tests.support.lab import FIRST_HOST, Cloud, on_host
from tests.support.project import ROOT
from tests.support.stack import NEAR, PLACES, Stack, position, stands

# The screenshot of the last run; docs/images/viewer.png is such a file.
SCREENSHOT = ROOT / ".cache" / "viewer.png"


@pytest.fixture
def stack(lab: Cloud) -> Stack:
    """Return the stack of the lab's first host, which runs all of it."""

    def say(text: str) -> dict[str, object]:
        return dict(json.loads(on_host(lab, shlex.join(["digital-twin", "say", text]))))

    return Stack(lab.hosts()[FIRST_HOST].address, say)


@pytest.fixture
def page(stack: Stack, tmp_path: Path) -> Iterator[Browser]:
    """Open the viewer in a browser."""
    with browser(tmp_path) as page:
        page.open(stack.page)
        yield page


def test_foxglove_sees_the_topics_and_the_clock_ticks(stack: Stack) -> None:
    with stack.watch("clock") as watcher:
        assert watcher.subprotocol == "foxglove.sdk.v1"
        assert {"clock", "odom", "tf", "scan", "amcl_pose", "goal_pose", "cmd_vel"} <= set(watcher.channels)
        times = [watcher.until("clock").clock for _tick in range(10)]
    assert all((earlier.sec, earlier.nanosec) < (later.sec, later.nanosec) for earlier, later in pairwise(times)), times


# The status without the token, by the caller's container and the network of the address. 000: no connection.
CALLERS = {
    ("foxglove", "bus"): "000",
    ("foxglove", "model"): "000",
    ("foxglove", "front"): "000",
    ("riva", "bus"): "000",
    ("riva", "model"): "000",
    ("riva", "front"): "000",
    ("nim", "bus"): "000",
    ("nim", "model"): "401",
    ("nim", "front"): "000",
    ("ros2", "loopback"): "401",
    ("isaac_sim", "loopback"): "401",
    ("redis", "bus"): "401",
    ("redis", "front"): "000",
}


def test_no_container_can_move_the_robot(lab: Cloud) -> None:
    """From the network of each container, with a program of the host."""

    def inspected(service: str, template: str) -> str:
        found = f"docker ps -q --filter label=com.docker.compose.service={service}"
        return on_host(lab, f"docker inspect -f {shlex.quote(template)} $({found})")

    def asked(service: str, address: str, *headers: str) -> str:
        words = ["nsenter", f"--net=/proc/{processes[service]}/ns/net"]
        words += [
            "curl",
            "-s",
            "--connect-timeout",
            "1",
            "-m",
            "15",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-d",
            '{"text": "status"}',
        ]
        for header in ("Content-Type: application/json", *headers):
            words += ["-H", header]
        return on_host(lab, f"{shlex.join([*words, f'http://{address}:8001/command'])} || true")

    processes = {service: inspected(service, "{{.State.Pid}}") for service, _network in CALLERS}
    networks = json.loads(inspected("cognitive", "{{json .NetworkSettings.Networks}}"))
    addresses = {name.rpartition("_")[2]: network["IPAddress"] for name, network in networks.items()}
    assert set(addresses) == {"bus", "model", "front"}
    addresses["loopback"] = "127.0.0.1"
    found = {(service, network): asked(service, addresses[network], "Host: cognitive") for service, network in CALLERS}
    assert found == CALLERS
    assert asked("ros2", "127.0.0.1", "Host: robot.example:8001") == "403"
    assert asked("ros2", "127.0.0.1", "Origin: http://robot.example") == "403"
    for service in ("foxglove", "riva", "nim", "ros2", "isaac_sim"):
        mounts = inspected(service, "{{range .Mounts}}{{.Source}} {{end}}")
        assert "cognitive_token" not in mounts
    # The robot has a user of its own in Redis, which cannot send commands.
    ask = (
        "import redis; r = redis.Redis(unix_socket_path='/run/redis/redis.sock', username='robot', "
        "password=open('/run/secrets/redis_robot_password').read().strip()); "
        "r.xadd('robot_commands:stream', {'command': 'x'})"
    )
    program = shlex.quote(f"python3 -c {shlex.quote(ask)}")
    ros2 = "$(docker ps -q --filter label=com.docker.compose.service=ros2)"
    assert "NoPermissionError" in on_host(lab, f"docker exec {ros2} sh -c {program} 2>&1 || true")


def test_stop_halts_the_robot(stack: Stack) -> None:
    """It stops on its way, and stays there."""
    with stack.watch("odom") as watcher:
        start = position(watcher.until("odom"))
    assert stack.say("go to the south shelf slowly")["published"]
    with stack.watch("odom") as watcher:
        watcher.until("odom", lambda odometry: math.dist(position(odometry), start) > 1)
    assert stack.say("stop")["published"]
    with stack.watch("odom") as watcher:
        stopped = watcher.until("odom", stands)
        assert math.dist(position(stopped), PLACES["south_shelf"]) > NEAR
        for _step in range(30):
            assert watcher.until("odom").pose.pose == stopped.pose.pose


def test_a_browser_shows_a_command_moving_the_robot_to_the_loading_dock(stack: Stack, page: Browser) -> None:
    page.until("document.querySelector('#state').textContent.startsWith('connected to ws:')", "the connection")
    page.until(
        "/^x -?[0-9.]+ m, y -?[0-9.]+ m, at [0-9.]+ s$/.test(document.querySelector('#text').textContent)", "a pose"
    )
    x, y = PLACES["loading_dock"]
    away = f"Math.hypot(robot.pose.x - {x}, robot.pose.y - {y})"
    assert page.value(away) > 2 * NEAR
    assert stack.say("go to the loading dock")["published"]
    assert page.until("robot.goal && [robot.goal.x, robot.goal.y]", "the goal") == [x, y]
    page.until(f"{away} < {NEAR}", "the robot at the loading dock")
    with stack.watch("amcl_pose") as watcher:
        assert math.dist(position(watcher.until("amcl_pose")), (x, y)) < NEAR
    # Count drawn pixels in the robot's colour, because the script's data may not be drawn.
    drawn = "[...pen.getImageData(0, 0, canvas.width, canvas.height).data]"
    blue = page.value(f"{drawn}.filter((_, at, all) => at % 4 == 0 && all[at] == 74 && all[at + 1] == 144).length")
    assert blue > 50
    SCREENSHOT.parent.mkdir(exist_ok=True)
    page.screenshot(SCREENSHOT)
    assert SCREENSHOT.read_bytes().startswith(b"\x89PNG")


def test_the_token_is_only_in_its_file(lab: Cloud) -> None:
    token = on_host(lab, "digital-twin token")
    assert len(token) == 48
    places = {
        "containers": on_host(lab, "docker inspect $(docker ps -q)"),
        "logs": on_host(lab, "digital-twin logs"),
        "processes": on_host(lab, "ps -eww -o args"),
        "environments": on_host(lab, "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"),
        "journal": on_host(lab, "journalctl --no-pager"),
    }
    assert [place for place, text in places.items() if token in text] == []
    secrets = "/opt/digital-twin/secrets"
    second = sorted(on_host(lab, f"ls {secrets}", sorted(lab.hosts())[1]).split())
    assert second == ["cognitive_token", "redis_acl", "redis_cognitive_password", "redis_health_password"]


def test_the_old_token_is_refused_when_secrets_have_been_rotated(lab: Cloud, stack: Stack) -> None:
    def status(token: str) -> str:
        header = shlex.quote(f"Authorization: Bearer {token}")
        words = "curl -s -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -d '{\"text\": \"status\"}'"
        return on_host(lab, f"{words} -H {header} http://127.0.0.1:8001/intent")

    old = on_host(lab, "digital-twin token")
    assert status(old) == "200"
    lab.playbook("playbooks/rotate.yml").must_succeed()
    new = on_host(lab, "digital-twin token")
    assert (status(old), status(new)) == ("401", "200")
    assert stack.say("stop")["published"]


def test_nvidias_key_is_only_in_its_file(lab: Cloud) -> None:
    key = lab.environment["NGC_API_KEY"]
    ec2 = lab.client("ec2")
    assert key in on_host(lab, "cat /opt/digital-twin/secrets/ngc_api_key"), "without the key this test proves nothing"
    given = [ec2.describe_tags(), ec2.describe_instances()]
    for host in lab.hosts().values():
        given.append(ec2.describe_instance_attribute(InstanceId=host.id, Attribute="userData"))
    texts = [base64.b64decode(row["UserData"]["Value"]).decode() for row in given[2:]]
    assert all("python3" in text for text in texts)
    places = {
        "AWS": json.dumps(given, default=str) + "".join(texts),
        "other containers": on_host(lab, "docker inspect $(docker ps -q)"),
        "processes": on_host(lab, "ps -eww -o args"),
        "journal": on_host(lab, "journalctl --no-pager"),
    }
    assert [place for place, text in places.items() if key in text] == []


def test_the_login_user_cannot_read_the_process_with_nvidias_key(lab: Cloud) -> None:
    """The login user has the uid of NVIDIA's images."""
    container = "docker ps --quiet --filter label=com.docker.compose.service=riva"
    process = on_host(lab, f"docker inspect --format '{{{{.State.Pid}}}}' $({container})").strip()
    uid = on_host(lab, f"stat --format=%u /proc/{process}").strip()
    assert on_host(lab, f"getent passwd {uid}"), "without such a user this test proves nothing"
    assert "NGC_API_KEY" in on_host(lab, f"cat /proc/{process}/environ")
    for file in ("environ", "root/run/secrets/ngc_api_key", "maps"):
        read = f"setpriv --reuid {uid} --regid {uid} --clear-groups cat /proc/{process}/{file}"
        assert "Permission denied" in on_host(lab, f"{read} 2>&1 || true"), file
