# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode zenoh: sessions that see nothing but a router exchange data."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from sandbox.waiting import wait_until
from tests.support.dds import planned, receives_all, zenoh_router
from tests.support.host_processes import NodeProcess, ServiceProcess
from tests.support.network import Network

ANSWERS_OF_THE_ROUTER = ["-p", "tcp", "--sport", "7447"]


def test_sessions_exchange_data_through_the_router(possible: None, tmp_path: Path) -> None:
    with Network(3) as network:
        router, here, there = network.hosts
        zenoh = planned(rmw="rmw_zenoh_cpp", discovery="zenoh", zenoh_routers=[router.address])["zenoh"]
        files = {name: tmp_path / f"{name}.json5" for name in ("router", "session")}
        for name, file in files.items():
            file.write_text(zenoh[name], encoding="utf-8")
        router.pass_only(["-p", "tcp", "--dport", "7447"])
        for host in (here, there):
            host.pass_only(ANSWERS_OF_THE_ROUTER)
        with ExitStack() as stack:
            stack.enter_context(ServiceProcess(router, zenoh_router(files["router"])))
            wait_until(lambda: 7447 in router.tcp_ports(), what="the router to listen", seconds=20)
            one, other = (
                stack.enter_context(NodeProcess(host, "zenoh_session", str(files["session"]))) for host in (here, there)
            )
            assert one.request("find", seconds=10)["peers"] == 1
            assert other.request("find", seconds=10)["peers"] == 1
            assert receives_all(other, one)
            assert receives_all(one, other)
