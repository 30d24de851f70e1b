# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role ros2_networking finds changed on a host: as declared, and after one change each."""

from __future__ import annotations

from pathlib import Path

from tests.support.drift import START, UNIT, Item, changed, file, true_names


def test_ros2_networking(tmp_path: Path) -> None:
    router, multicast = "ros2-zenoh-router.service", "ros2-loopback-multicast.service"
    paths = [f"/etc/systemd/system/{name}" for name in (multicast, "ros2-discovery-server.service", router)]
    configuration = "/etc/ros2-networking/zenoh-router.json5"
    absent = {"exists": False, "link": ""}
    as_declared: Item = {
        "units": {router: UNIT, multicast: {**UNIT, "ActiveState": "inactive"}},
        "files": {paths[0]: absent, paths[1]: absent, paths[2]: file(""), configuration: file("")},
    }
    states = {
        "as declared": as_declared,
        "unit": changed(as_declared, "files", paths[2], modified=START + 1),
        "configuration": changed(as_declared, "files", configuration, modified=START + 1),
        "reload": changed(as_declared, "units", router, NeedDaemonReload="yes"),
    }
    variables: Item = {
        "__ros2_networking_wanted_units": [router],
        "__ros2_networking_written": {"changed_files": []},
        "python_environment_modified": START - 60,
        "python_environment_packages_changed": False,
        "python_environment_files_changed": False,
    }
    expressions = {
        "restarted": f"__ros2_networking_restarted_units == ['{router}']",
        "stopped": f"__ros2_networking_stopped_units == ['{router}']",
        "surplus": "__ros2_networking_surplus_units | length > 0",
    }
    assert true_names(tmp_path, "ros2_networking", expressions, variables, states) == {
        "as declared": [],
        "unit": ["restarted"],
        "configuration": ["restarted"],
        "reload": ["stopped"],
    }
    variables["python_environment_modified"] = START + 2
    assert true_names(tmp_path, "ros2_networking", expressions, variables, {"": as_declared}) == {"": ["restarted"]}
    # Text, as on the command line: without tools, the environment of an earlier role does not count.
    variables["ros2_networking_tools"] = "false"
    assert true_names(tmp_path, "ros2_networking", expressions, variables, {"": as_declared}) == {"": []}
