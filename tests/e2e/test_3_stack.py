# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The robot, from outside the first host: seen by Foxglove's protocol and in a browser, and moved by sentences."""

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

# What the last run has seen; docs/images/viewer.png was once such a file.
SCREENSHOT = ROOT / ".cache" / "viewer.png"


@pytest.fixture
def stack(lab: Cloud) -> Stack:
    """Return the stack of the lab's first host, which runs all of it."""

    def say(text: str) -> dict[str, object]:
        words = ["curl", "-sS", "-m", "15", "-H", "Content-Type: application/json"]
        words += ["-d", json.dumps({"text": text}), "http://127.0.0.1:8001/command"]
        return dict(json.loads(on_host(lab, shlex.join(words))))

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


def test_stop_halts_the_robot(stack: Stack) -> None:
    """It is on its way, wherever it was before, and stays where it was stopped."""
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


def test_a_browser_sees_a_sentence_move_the_robot_to_the_loading_dock(stack: Stack, page: Browser) -> None:
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
    # Not what the script knows: what is to be seen of the robot, in its colour.
    drawn = "[...pen.getImageData(0, 0, canvas.width, canvas.height).data]"
    blue = page.value(f"{drawn}.filter((_, at, all) => at % 4 == 0 && all[at] == 74 && all[at + 1] == 144).length")
    assert blue > 50
    SCREENSHOT.parent.mkdir(exist_ok=True)
    page.screenshot(SCREENSHOT)
    assert SCREENSHOT.read_bytes().startswith(b"\x89PNG")


def test_nvidias_key_is_nowhere_but_in_its_file(lab: Cloud) -> None:
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


@pytest.mark.parametrize("service", ["riva", "nim"])
def test_the_login_user_reads_nothing_of_the_processes_with_nvidias_key(lab: Cloud, service: str) -> None:
    """The login user has the uid for which NVIDIA made its images."""
    container = f"docker ps --quiet --filter label=com.docker.compose.service={service}"
    process = on_host(lab, f"docker inspect --format '{{{{.State.Pid}}}}' $({container})").strip()
    uid = on_host(lab, f"stat --format=%u /proc/{process}").strip()
    assert on_host(lab, f"getent passwd {uid}"), "without such a user this test proves nothing"
    assert "NGC_API_KEY" in on_host(lab, f"cat /proc/{process}/environ")
    for file in ("environ", "root/run/secrets/ngc_api_key", "maps"):
        read = f"setpriv --reuid {uid} --regid {uid} --clear-groups cat /proc/{process}/{file}"
        assert "Permission denied" in on_host(lab, f"{read} 2>&1 || true"), file
