# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that role ros2_networking renders, and the nodes that use them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from ansible_collections.digital_twin.robotics_lab.plugins.filter.ros2_network_plan import ros2_network_plan
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.request import CYCLONE_VERSIONS

from tests.support.host_processes import NodeProcess, ServiceProcess
from tests.support.network import Host, Network, machine_settings
from tests.support.project import FQCN, ROOT, clean_environment, run
from tests.support.ros2 import ROS2

# The default limit of a socket's buffer up to Linux 6.17, and the guide's value.
COMMON_RECEIVE_BUFFER, GUIDE_RECEIVE_BUFFER = 212992, 2147483647
COMMON_FRAGMENTS = {"net.ipv4.ipfrag_time": 30, "net.ipv4.ipfrag_high_thresh": 4 * 1024 * 1024}
FIND_SECONDS = 25
STALL_SAMPLES, STALL_BYTES = 20, 1_000_000
LOSS_SAMPLES, LOSS_BYTES, LOSS_RATE, LOSS_SHARE = 300, 64_000, 100, 0.02
# Often recommended for large messages, without regard to the path's MTU.
LARGE_MESSAGES = "<General><MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize></General>"

FAST_PROFILE = f"ansible_collections.{FQCN}.plugins.module_utils._ros2.fast_profile"
ROLE = ROOT / "roles" / "ros2_networking"


def planned(**description: Any) -> dict[str, Any]:
    """Return the role's plan and its rendered documents, for variables without their prefix.

    Raises:
        AssertionError: the role rejects the variables.
    """
    plan = ros2_network_plan(description)
    assert not plan["problems"], plan["problems"]
    return {**plan, **rendered(plan)}


def rendered(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the documents of the role's templates: `cyclonedds` by version, `fastdds`, and `zenoh` by part."""
    return {
        "cyclonedds": {version: _render("cyclonedds.xml", plan, version=version) for version in CYCLONE_VERSIONS},
        "fastdds": _render("fastdds.xml", plan),
        "zenoh": {part: _render("zenoh.json5", plan, part=part) for part in plan["zenoh"]},
    }


@cache
def _templates() -> jinja2.Environment:
    """Return an environment with Ansible's options."""
    loader = jinja2.FileSystemLoader(ROLE / "templates")
    return jinja2.Environment(
        loader=loader,
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(enabled_extensions=()),
    )


def _render(name: str, plan: Mapping[str, Any], **variables: str) -> str:
    """Return the text of a template."""
    return _templates().get_template(f"{name}.j2").render(__ros2_networking_plan=plan, **variables)


def refused(**description: Any) -> list[str]:
    """Return why the role rejects variables."""
    return list(ros2_network_plan(description)["problems"])


def kernel_settings(plan: Mapping[str, Any], prefix: str) -> dict[str, int]:
    """Return the kernel settings of a plan whose names have a prefix."""
    settings = {**plan["kernel"]["at_least"], **plan["kernel"]["exactly"]}
    return {name: value for name, value in settings.items() if name.startswith(prefix)}


def file_uri(folder: Path, text: str) -> str:
    """Write a configuration of Cyclone DDS into a file, and return its URI."""
    file = folder / f"{sha256(text.encode()).hexdigest()[:12]}.xml"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


def cyclone(host: Host, uri: str, *, domain: int = 0, reliable: bool = True) -> NodeProcess:
    """Return a participant of Cyclone DDS 11 with this configuration, an empty one for the library's defaults."""
    quality = "reliable" if reliable else "best_effort"
    return NodeProcess(host, "cyclone", str(domain), quality, environment={"CYCLONEDDS_URI": uri})


def distribution_exchanges(hosts: Sequence[Host], uris: Sequence[str]) -> bool:
    """Return whether samples arrive at the second of two hosts with the distribution's Cyclone DDS, 0.10 in Debian.

    Args:
        hosts: the sender, which starts first, and the receiver.
        uris: the configuration of each.
    """
    sender, receiver = hosts
    there = clean_environment({"CYCLONEDDS_URI": uris[1]})
    with ServiceProcess(sender, ["ddsperf", "-D", "20", "pub", "20Hz", "size", "1k"], {"CYCLONEDDS_URI": uris[0]}):
        listen = ["ddsperf", "-D", "3", "-Q", "samples:20", "-Q", "minmatch:1", "sub"]
        done = subprocess.run(receiver.inside(*listen), env=there, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def cyclone_errors(host: Host, uri: str) -> str:
    """Return the errors of the distribution's Cyclone DDS for a configuration; empty when it starts."""
    done = subprocess.run(
        host.inside("ddsperf", "-D", "0.1", "sanity"),
        env=clean_environment({"CYCLONEDDS_URI": uri}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return (done.stderr or f"it exited {done.returncode}") if done.returncode else ""


def fast_dds_errors(folder: Path, profile: str) -> str:
    """Return the errors of a profile, as the role's program gets them from the Fast DDS of ROS 2."""
    file = folder / "profile.xml"
    file.write_text(profile, encoding="utf-8")
    path = {"PATH": f"{ROS2 / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / ".collections")}
    done = subprocess.run(
        [sys.executable, "-m", FAST_PROFILE, str(file)],
        env=clean_environment({**fast_libraries(), **path}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (done.stderr or f"it exited {done.returncode}") if done.returncode else ""


def stalls(network: Network, uri: str, kernel: Mapping[str, int], rounds: int = 1) -> list[int]:
    """Return how many large samples a stopped process receives after it continues, for each round.

    Args:
        network: two hosts.
        uri: the configuration of both processes.
        kernel: settings of the whole machine during the test.
        rounds: the number of repetitions.
    """
    here, there = network.hosts
    with (
        machine_settings(kernel),
        cyclone(here, uri, reliable=False) as sender,
        cyclone(there, uri, reliable=False) as receiver,
    ):
        find(sender, receiver)
        return [_stall(sender, receiver) for _round in range(rounds)]


def _stall(sender: NodeProcess, receiver: NodeProcess) -> int:
    """Send large best-effort samples to a stopped process, and return how many it receives after it continues."""
    receiver.stop()
    try:
        sender.request("send", seconds=30, count=STALL_SAMPLES, size=STALL_BYTES)
    finally:
        receiver.resume()
    return len(receiver.request("collect", seconds=10, count=STALL_SAMPLES)["numbers"])


def losses(network: Network, uri: str, kernel: Mapping[str, int], *, reliable: bool = True) -> tuple[int, int]:
    """Send samples at a steady rate while the host of the receiver loses packets.

    Args:
        network: two hosts.
        uri: the configuration of both processes.
        kernel: settings of the host of the receiver.
        reliable: whether lost samples are sent again.

    Returns:
        the number of received samples, and that of the second half.
    """
    here, there = network.hosts
    for name, value in kernel.items():
        there.set_kernel(name, value)
    with cyclone(here, uri, reliable=reliable) as sender, cyclone(there, uri, reliable=reliable) as receiver:
        find(sender, receiver)
        there.lose(LOSS_SHARE)
        sender.order("send", seconds=30, count=LOSS_SAMPLES, size=LOSS_BYTES, rate=LOSS_RATE)
        numbers = receiver.request("collect", seconds=30, count=LOSS_SAMPLES)["numbers"]
        sender.answer()
    return len(numbers), sum(number >= LOSS_SAMPLES // 2 for number in numbers)


def find(*nodes: NodeProcess) -> None:
    """Wait until each of two or more nodes has found the others.

    Raises:
        AssertionError: a node has not found all others.
    """
    for node in nodes:
        node.order("find", seconds=FIND_SECONDS, count=len(nodes) - 1)
    for node in nodes:
        found = node.answer()["peers"]
        assert found == len(nodes) - 1, f"{node.name} has found {found} others"


def receives_all(receiver: NodeProcess, sender: NodeProcess, count: int = 20) -> bool:
    """Return whether all samples from the first to the second arrive."""
    sender.request("send", seconds=10, count=count)
    return len(receiver.request("collect", seconds=10, count=count)["numbers"]) == count


def zenoh_router(configuration: Path) -> list[str]:
    """Return the command of the role's Zenoh router."""
    return [sys.executable, str(ROOT / "plugins" / "module_utils" / "_ros2" / "zenoh_router.py"), str(configuration)]


def ros2_environment(plan: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write the profile of Fast DDS to the path in the plan's environment, and return that environment for a node."""
    (folder / "fastdds.xml").write_text(plan["fastdds"], encoding="utf-8")
    return {**plan["environment"], "ROS_HOME": str(folder), "ROS_LOG_DIR": str(folder / "log")}


def ros2_node(host: Host, environment: Mapping[str, str]) -> NodeProcess:
    """Return a node of ROS 2 with Fast DDS."""
    return NodeProcess(host, "ros2", environment=environment, python=ROS2 / "bin" / "python")


def unit_command(host: Host, unit: str, folder: Path, **variables: Any) -> list[str]:
    """Return the command that a unit of the role starts on a host, as Ansible renders it.

    Args:
        host: the host.
        unit: the name of one of the role's units.
        folder: the folder for the unit.
        variables: of the role, without their prefix.
    """
    role, written = ROOT / "roles" / "ros2_networking", folder / unit
    preflight = {"name": f"{FQCN}.{role.name}", "tasks_from": "preflight", "public": True}
    template = {"src": str(role / "templates" / f"{unit}.j2"), "dest": str(written), "mode": "0644"}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {f"ros2_networking_{name}": value for name, value in variables.items()},
        "tasks": [
            {"ansible.builtin.setup": {"gather_subset": ["!all", "!min", "distribution", "network"]}},
            # The role refuses a host without systemd; only its template is used here.
            {"ansible.builtin.set_fact": {"service_mgr": "systemd", "cacheable": True}},
            {"ansible.builtin.include_role": preflight},
            {"ansible.builtin.template": template},
        ],
    }
    playbook = folder / "unit.yml"
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    python = f"ansible_python_interpreter={sys.executable}"
    run(host.inside("ansible-playbook", "--inventory", "localhost,", "--extra-vars", python, str(playbook)))
    lines = written.read_text(encoding="utf-8").splitlines()
    (command,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    return shlex.split(command)


def fast_libraries() -> dict[str, str]:
    """Return the environment in which the programs of Fast DDS find their libraries."""
    site = next((ROS2 / "lib").glob("python3*/site-packages"))
    return {"LD_LIBRARY_PATH": ":".join(map(str, [ROS2 / "lib", *sorted(site.glob("*.libs"))]))}
