# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The findings that verify and diagnose share: both assess a host alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter import ros2_findings as plugin
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.diagnosis import assess_traffic
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.host import HostTraffic, Process, Socket
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.plan import environment, kernel
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.request import Network
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._sysctl import (
    SysctlHost,
    SysctlRequest,
    compare,
    render,
)
from ansible_collections.digital_twin.robotics_lab.plugins.modules import sysctl_settings

NETWORK = Network(discovery="peers", peers=["10.0.1.10", "10.0.1.11", "10.0.1.12"])
WANTED = SysctlRequest(**kernel(NETWORK))
FILE = "/etc/sysctl.d/99-zz-ros2-networking.conf"
OTHER = ("10.0.1.11", "10.0.1.12")
SAID = {"payload": 1000000, "domain_id": 0, "discovery": "peers", "timeout": 30, "stderr": ""}
HEARD = {**SAID, "rc": 0, "stdout": json.dumps({"heard": {"robot-2": 1000000}, "missing": [], "deaf": []})}
DEAF = {**SAID, "rc": 1, "stdout": json.dumps({"heard": {}, "missing": ["robot-2"], "deaf": []})}
UNHEARD = {**SAID, "rc": 1, "stdout": json.dumps({"heard": {"robot-2": 1}, "missing": [], "deaf": ["robot-2"]})}
REFUSED = {**SAID, "rc": 2, "stdout": "", "stderr": "ens5: does not match an available interface\nno participant"}
TEXT = "ROS_DOMAIN_ID=0\n"
WRITTEN = [{"name": "x/a", "content": TEXT}, {"name": "x/b", "content": "", "state": "absent"}]
UNIT = "ros2-zenoh-router.service"
SELF = {"domain_id": 0, "rmw": "rmw_fastrtps_cpp", "discovery": "peers", "machine_id": "a"}


def assess(state: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the findings."""
    told: dict[str, list[Any]] = plugin.FilterModule().filters()["ros2_findings"](state)
    return told


def machine(root: Path, limit: int, file: str | None = None, *, others: str = "") -> SysctlHost:
    """Return a host whose kernel grants buffers of so many bytes, after the role was applied to it."""
    for name, value in {**WANTED.values, "net.core.rmem_max": limit}.items():
        place = root / "proc/sys" / name.replace(".", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{value}\n")
    (root / "etc/sysctl.d").mkdir(parents=True)
    (root / FILE[1:]).write_text(render(WANTED.values) if file is None else file)
    (root / "etc/sysctl.d/99-zzz.conf").write_text(others)
    return SysctlHost(root)


def kernel_state(host: SysctlHost) -> dict[str, Any]:
    """Return what is read of the kernel, as the module returns it in check mode."""
    return {"kernel": sysctl_settings.present(compare(host, WANTED, FILE), WANTED), "sysctl_file": FILE}


def seen_by(seen: HostTraffic) -> dict[str, Any]:
    """Return what the module returns of a host's traffic."""
    assessment = assess_traffic(NETWORK, seen)
    return {
        "findings": [vars(finding) for finding in assessment.findings],
        "notices": [vars(notice) for notice in assessment.notices],
    }


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("limit", [212992, 4194304, 33554432, 2147483647])
def test_verify_and_diagnose_agree_on_any_kernel_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, *, fixed: bool, strict: bool
) -> None:
    monkeypatch.setattr(SysctlHost, "writable", lambda _host, _name: not fixed)
    verify = {**kernel_state(machine(tmp_path, limit)), "strict": strict}
    lossy = Process(812, "listener", environment(NETWORK), (Socket("net:[1]", 1, 7410, 9, growth=0),))
    traffic = seen_by(HostTraffic([lossy], receive_limit=limit, limit_is_fixed=fixed, growth={"RcvbufErrors": 0}))
    diagnose = {**verify, "traffic": traffic}
    assert assess(verify)["findings"] == assess(diagnose)["findings"]
    is_short = limit < NETWORK.receive_buffer
    assert bool(assess(verify)["findings"]) == (is_short and (strict or not fixed))
    # Each reports it once.
    for state in (verify, diagnose):
        told = [f"{row['symptom']} {row['cause']}" for kind in ("findings", "notices") for row in assess(state)[kind]]
        assert len([line for line in told if f"net.core.rmem_max is {limit}" in line]) == is_short


# What is read of a host, and which rule is broken; the empty word where none is.
STATES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"exchange": HEARD}, ""),
    ({"exchange": DEAF}, "this host receives no samples from robot-2"),
    ({"exchange": UNHEARD}, "robot-2 receives no samples from this host"),
    ({"exchange": REFUSED}, "no participant starts on this host"),
    ({"wanted_files": WRITTEN, "files": {"/x/a": {"content": TEXT}, "/x/b": {"exists": False}}}, ""),
    ({"wanted_files": WRITTEN[:1], "files": {"/x/a": {"exists": False}}}, "/x/a is not as declared"),
    ({"wanted_files": WRITTEN[:1], "files": {"/x/a": {"content": "1"}}}, "/x/a is not as declared"),
    ({"wanted_files": WRITTEN[1:], "files": {"/x/b": {"content": ""}}}, "/x/b is not as declared"),
    ({"wanted_files": WRITTEN, "files": {"/x/b": {"content": "1"}}}, "/x/a, /x/b are not as declared"),
    ({"units": {UNIT: {"UnitFileState": "enabled", "ActiveState": "active"}}}, ""),
    (
        {"units": {UNIT: {"UnitFileState": "enabled", "ActiveState": "failed"}}},
        f"{UNIT} should be enabled and active. It is enabled and failed",
    ),
    ({"units": {UNIT: {"ActiveState": "inactive"}}}, "It is not installed and inactive"),
    ({"hosts": {"robot-1": SELF, "robot-2": {**SELF, "machine_id": "b"}}}, ""),
    (
        {"hosts": {"robot-1": SELF, "robot-2": SELF}, "machine_ids": {"robot-1": "a\n", "robot-2": "b\n"}},
        "",
    ),
    ({"hosts": {"robot-1": SELF, "robot-2": SELF}}, "robot-1, robot-2 do not receive each other's samples"),
    (
        {"hosts": {"robot-1": SELF, "robot-2": {**SELF, "domain_id": 1, "machine_id": "b"}}},
        "some hosts receive nothing",
    ),
]
# What a host may show and is not wrong: none of it may contradict verify.
QUIET: list[HostTraffic] = [
    HostTraffic(),
    HostTraffic(counters={"RcvbufErrors": 17, "ReasmFails": 5}, growth={"RcvbufErrors": 0, "ReasmFails": 0}),
    # A peer that is switched off, and was not asked to answer.
    HostTraffic(peers={"10.0.1.12": "No route to host"}, silent=["10.0.1.12"]),
    HostTraffic(receive_limit=4194304, limit_is_fixed=True, growth={"RcvbufErrors": 3}),
    HostTraffic([Process(812, "listener", environment(NETWORK), (Socket("net:[1]", 1, 7410, 9, growth=0),))]),
    HostTraffic(
        [Process(812, "mosh-server", environment(NETWORK), (Socket("net:[1]", 1, 41000, 0),), middleware=False)]
    ),
]


@pytest.mark.parametrize("seen", QUIET)
@pytest.mark.parametrize(("state", "broken"), STATES)
def test_verify_and_diagnose_agree_on_a_host(state: dict[str, Any], broken: str, seen: HostTraffic) -> None:
    verify, diagnose = assess(state), assess({**state, "traffic": seen_by(seen), "addresses": ["10.0.1.11"]})
    assert verify["findings"] == diagnose["findings"]
    assert bool(verify["findings"]) == bool(broken)
    assert all(broken in line for line in verify["lines"])


@pytest.mark.parametrize(
    ("file", "others", "broken"),
    [
        (None, "", ""),
        ("", "", f"{FILE} is not as declared"),
        (None, "net.ipv4.ipfrag_time = 30\n", "/etc/sysctl.d/99-zzz.conf then sets net.ipv4.ipfrag_time = 30"),
        # More is as good.
        (None, "net.core.rmem_max = 2147483647\n", f"{FILE} is not as declared"),
    ],
)
def test_settings_at_the_next_boot_are_assessed(tmp_path: Path, file: str | None, others: str, broken: str) -> None:
    told = assess(kernel_state(machine(tmp_path, 33554432, file, others=others)))
    assert len(told["lines"]) == bool(broken)
    assert all(broken in line for line in told["lines"])


@pytest.mark.parametrize(
    ("exchange", "silent", "finding", "notice"),
    [
        # A host that was asked to answer is judged by the exchange of samples alone, whatever its address.
        (HEARD, "10.0.1.11", False, False),
        (DEAF, "10.0.1.11", True, False),
        (HEARD, "10.0.1.12", False, True),
        (DEAF, "10.0.1.12", False, True),
    ],
)
def test_a_silent_peer_is_a_finding_only_if_it_exchanged_samples(
    exchange: dict[str, Any], silent: str, *, finding: bool, notice: bool
) -> None:
    seen = HostTraffic(peers=dict.fromkeys(OTHER, ""), silent=[silent])
    told = assess({"exchange": exchange, "traffic": seen_by(seen), "addresses": ["10.0.1.11"]})
    symptom = f"no participant of peer {silent} answers"
    assert [symptom in [row["symptom"] for row in told[kind]] for kind in ("findings", "notices")] == [finding, notice]


def test_programs_of_users_concern_only_diagnose() -> None:
    """Verify judges the lab, and not what its users run: it must not take back that the lab is complete."""
    stranger = Process(812, "listener", {**environment(NETWORK), "ROS_LOCALHOST_ONLY": "1"}, ())
    found = assess({"traffic": seen_by(replace(HostTraffic(), processes=[stranger]))})["findings"]
    assert [row["about"] for row in found] == ["process"]


def test_the_result_is_documented() -> None:
    assert assess({}).keys() == yaml.safe_load(plugin.RETURN)["_value"]["contains"].keys()
