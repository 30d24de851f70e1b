# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effects of role ros2_networking after a reboot, as the host's tools report them."""

from __future__ import annotations

from typing import Any

DIRECTORY = "/etc/ros2-networking"
SYSCTL_FILE = "/etc/sysctl.d/99-zz-ros2-networking.conf"


def test_the_kernel_has_the_settings_that_it_accepts(host: Any) -> None:
    assert host.sysctl("net.ipv4.ipfrag_time") == 3
    assert host.sysctl("net.ipv4.ipfrag_high_thresh") == 134217728


def test_settings_that_it_rejects_are_recorded(host: Any) -> None:
    text = host.file(SYSCTL_FILE).content_string
    assert "net.core.rmem_max = 33554432\n" in text
    assert "net.core.wmem_max = 33554432\n" in text
    assert "rmem_default" not in text


def test_a_login_shell_has_the_environment(host: Any) -> None:
    shown = dict(line.partition("=")[::2] for line in host.check_output("sh -lc env").splitlines())
    assert shown["ROS_DOMAIN_ID"] == "42"
    assert shown["RMW_IMPLEMENTATION"] == "rmw_cyclonedds_cpp"
    assert shown["CYCLONEDDS_URI"] == f"file://{DIRECTORY}/cyclonedds-11.xml"


def test_systemd_reads_the_same_file(host: Any) -> None:
    command = (
        f"systemd-run --quiet --pipe --wait --property=EnvironmentFile={DIRECTORY}/ros2.env printenv ROS_DOMAIN_ID"
    )
    assert host.check_output(command) == "42"


def test_files_belong_to_root_and_every_user_can_read_them(host: Any) -> None:
    for name in ("ros2.env", "cyclonedds-0.10.xml", "cyclonedds-11.xml", "fastdds.xml"):
        file = host.file(f"{DIRECTORY}/{name}")
        assert (file.user, file.group, file.mode) == ("root", "root", 0o644)
    # Of the previous mode.
    assert not host.file(f"{DIRECTORY}/zenoh-router.json5").exists


def test_messages_fit_the_path_that_was_given_as_text(host: Any) -> None:
    assert "<MaxMessageSize>1252B</MaxMessageSize>" in host.file(f"{DIRECTORY}/cyclonedds-11.xml").content_string


def test_units_of_earlier_modes_are_removed(host: Any) -> None:
    assert host.check_output("find /etc/systemd/system -name 'ros2-*'") == ""


def test_no_packet_is_fragmented(host: Any) -> None:
    names, values = [
        line.split() for line in host.check_output("cat /proc/net/snmp").splitlines() if line.startswith("Ip:")
    ]
    counters = dict(zip(names, values, strict=True))
    # The other host has just sent a megabyte, without a fragmented packet.
    assert counters["ReasmReqds"] == "0"
