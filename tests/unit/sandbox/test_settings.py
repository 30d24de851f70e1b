# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sandboxes never share a name, a label or an address."""

from __future__ import annotations

import ipaddress
import itertools
import socket
from pathlib import Path

import pytest

from sandbox.cloud.process import free_port
from sandbox.cloud.seed import elastic_addresses
from sandbox.errors import SandboxError
from sandbox.settings import Sandbox
from sandbox.waiting import wait_until


def test_sandboxes_differ_by_their_directory(tmp_path: Path) -> None:
    one, other = Sandbox.at(tmp_path / "one"), Sandbox.at(tmp_path / "other")
    assert one.id != other.id
    assert one.labels != other.labels
    assert one.name("edge") != other.name("edge")
    assert one.elastic_prefix != other.elastic_prefix


def test_elastic_addresses_are_loopback_and_are_reused_late(tmp_path: Path) -> None:
    take = elastic_addresses(Sandbox.at(tmp_path).elastic_prefix)
    addresses = list(itertools.islice(iter(take, None), 254))
    assert len(set(addresses)) == 254
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)


def test_a_taken_port_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_a_wait_ends_and_reports_its_goal(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with pytest.raises(SandboxError) as caught:
        wait_until(lambda: False, what="a robot to move", seconds=0, log=log)
    assert str(caught.value) == f"Waited 0 s for a robot to move, without success; its log is {log}."
