# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Assess whether a host's ROS 2 networking is as declared, for verify and diagnose. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..module_utils._problem import listed
from ..module_utils._ros2.diagnosis import Ros2Assessment, compare_hosts
from ..module_utils._ros2.environment import Ros2Finding
from ..module_utils._ros2.request import PREFIX


def assess_host(state: Mapping[str, Any]) -> Ros2Assessment:
    """Assess a host by its kernel, its files, its units, the samples that it exchanged, and its traffic.

    Args:
        state: The options of filter ros2_findings, whose documentation describes them.
    """
    exchange = list(_find_exchange(state.get("exchange") or {}))
    assessment = Ros2Assessment(
        [
            *_find_kernel(state.get("kernel") or {}, str(state.get("sysctl_file", ""))),
            *_find_files(state),
            *_find_units(state),
            *exchange,
            *compare_hosts(_hosts(state)),
        ],
    )
    unmet = list(_find_unmet(state.get("kernel") or {}))
    (assessment.findings if state.get("strict") else assessment.notices).extend(unmet)
    _add_traffic(assessment, state, samples_arrive=not exchange)
    return assessment


def _hosts(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the hosts that should exchange samples, with their machine ids."""
    ids = state.get("machine_ids") or {}
    return {
        name: {**host, "machine_id": str(ids.get(name) or host.get("machine_id") or "").strip()}
        for name, host in (state.get("hosts") or {}).items()
    }


def _add_traffic(assessment: Ros2Assessment, state: Mapping[str, Any], *, samples_arrive: bool) -> None:
    """Add the findings about the traffic, without duplicates."""
    traffic = state.get("traffic") or {}
    for kind, kept in (("findings", assessment.findings), ("notices", assessment.notices)):
        for row in traffic.get(kind, []):
            finding = Ros2Finding(**row)
            peer = finding.about.removeprefix("peer ")
            if finding.about == "kernel" and state.get("kernel"):
                continue
            if peer == finding.about:
                kept.append(finding)
            elif peer not in state.get("addresses", []):
                # That host does not exchange samples in this run, and may be switched off.
                assessment.notices.append(finding)
            elif not samples_arrive:
                kept.append(finding)


def _find_kernel(kernel: Mapping[str, Any], file: str) -> Iterator[Ros2Finding]:
    """Find kernel settings that are not as declared, now or after the next boot."""
    unmet = {row["name"] for row in kernel.get("unmet", [])}
    others = [
        f"{row['name']} is {row['before']} and should be {row['wanted']}"
        for row in kernel.get("settings", [])
        if row["name"] not in unmet and row["before"] != row["after"]
    ]
    if others:
        yield Ros2Finding("the kernel settings do not suit DDS", "; ".join(others), "apply the role", "kernel")
    if kernel.get("file_changed"):
        cause = f"{file} is not as declared"
        yield Ros2Finding("the kernel settings change at the next boot", cause, "apply the role", "kernel")
    for row in kernel.get("overriding", []):
        yield Ros2Finding(
            "the kernel settings change at the next boot",
            f"{row['file']} then sets {row['name']} = {row['value']}",
            "remove that line, and apply the role",
            "kernel",
        )


def _find_unmet(kernel: Mapping[str, Any]) -> Iterator[Ros2Finding]:
    """Find kernel settings that cannot be changed on this host, one finding for each reason."""
    rows: dict[str, list[str]] = {}
    for row in kernel.get("unmet", []):
        value = "missing" if row["value"] is None else row["value"]
        rows.setdefault(row["reason"], []).append(f"{row['name']} is {value} and should be {row['wanted']}")
    for reason, settings in rows.items():
        remedy = "set it on the machine that runs this kernel, or lower the declared value"
        yield Ros2Finding("; ".join(settings), reason, remedy, "kernel")


def _find_files(state: Mapping[str, Any]) -> Iterator[Ros2Finding]:
    """Find files that are not as declared."""
    different = []
    for wanted in state.get("wanted_files", []):
        path = f"/{wanted['name']}"
        text = None if wanted.get("state") == "absent" else wanted["content"]
        if state["files"].get(path, {}).get("content") != text:
            different.append(path)
    if different:
        yield Ros2Finding(
            "programs that start now do not have the declared configuration",
            f"{listed(different)} {'is' if len(different) == 1 else 'are'} not as declared",
            "apply the role",
            "files",
        )


def _find_units(state: Mapping[str, Any]) -> Iterator[Ros2Finding]:
    """Find units that do not run, or do not start at boot."""
    for name, unit in state.get("units", {}).items():
        enabled, active = unit.get("UnitFileState"), unit.get("ActiveState")
        if (enabled, active) != ("enabled", "active"):
            cause = f"{name} should be enabled and active. It is {enabled or 'not installed'} and {active}"
            remedy = f"run `systemctl status {name}` for the reason, and apply the role"
            yield Ros2Finding("a unit that discovery needs does not run", cause, remedy, "units")


def _find_exchange(exchange: Mapping[str, Any]) -> Iterator[Ros2Finding]:
    """Find why samples did not arrive, by the `rc`, `stdout` and `stderr` of the program that exchanged them."""
    if not exchange:
        return
    if exchange["rc"] not in (0, 1):
        yield Ros2Finding(
            "no participant starts on this host",
            "; ".join(str(exchange["stderr"]).split("\n")).strip() or "the program gave no reason",
            f"apply the role. If no index is free, run fewer participants, or raise {PREFIX}participants on every host",
            "exchange",
        )
        return
    heard = json.loads(exchange["stdout"])
    for name in heard["missing"]:
        yield _unheard(f"this host receives no samples from {name}", exchange)
    for name in heard["deaf"]:
        yield _unheard(f"{name} receives no samples from this host", exchange)


def _unheard(symptom: str, exchange: Mapping[str, Any]) -> Ros2Finding:
    """Return the finding that samples did not arrive."""
    return Ros2Finding(
        symptom,
        f"samples of {exchange['payload']} bytes in domain {exchange['domain_id']}, discovery {exchange['discovery']}, "
        f"did not arrive within {exchange['timeout']} s",
        "run playbooks/diagnose.yml on all hosts, and allow the ports of the domain in both directions",
        "exchange",
    )
