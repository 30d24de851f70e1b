# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a host's ROS 2 networking is as declared: the one judgement that verify and diagnose share. Pure functions.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha1
from typing import Any

from ..module_utils._problem import listed
from ..module_utils._ros2.diagnosis import Judgement, compare_hosts
from ..module_utils._ros2.environment import Finding
from ..module_utils._ros2.request import PREFIX


def judge_host(state: Mapping[str, Any]) -> Judgement:
    """Judge a host by its kernel, its files, its units, the samples that it exchanged, and its traffic.

    Args:
        state: What was read, each part only where it was: `kernel`, what module sysctl_settings returns in check mode,
            `sysctl_file`, and `strict`, whether a setting that cannot be changed here is wrong; `documents`, the text
            of each file of the `directory`, and `stats`, what module stat returns of them; `units`, what module
            systemd_service returns; `exchange` of samples; `traffic`, what module ros2_network_info returns;
            `addresses` of the hosts that were asked to exchange samples; `hosts` as `compare_hosts` takes them.
    """
    exchange = list(_find_exchange(state.get("exchange") or {}))
    judgement = Judgement(
        [
            *_find_kernel(state.get("kernel") or {}, str(state.get("sysctl_file", ""))),
            *_find_files(state),
            *_find_units(state),
            *exchange,
            *compare_hosts(state.get("hosts") or {}),
        ],
    )
    unmet = list(_find_unmet(state.get("kernel") or {}))
    (judgement.findings if state.get("strict") else judgement.notices).extend(unmet)
    _add_traffic(judgement, state, samples_arrive=not exchange)
    return judgement


def _add_traffic(judgement: Judgement, state: Mapping[str, Any], *, samples_arrive: bool) -> None:
    """Add what was found wrong with the traffic, without what is judged already."""
    traffic = state.get("traffic") or {}
    for kind, kept in (("findings", judgement.findings), ("notices", judgement.notices)):
        for row in traffic.get(kind, []):
            finding = Finding(**row)
            peer = finding.about.removeprefix("peer ")
            if finding.about == "kernel" and state.get("kernel"):
                continue
            if peer == finding.about:
                kept.append(finding)
            elif peer not in state.get("addresses", []):
                # That host was not asked to answer, and may be switched off.
                judgement.notices.append(finding)
            elif not samples_arrive:
                kept.append(finding)


def _find_kernel(kernel: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """Find kernel settings that are not as declared, now or after the next boot."""
    unmet = {row["name"] for row in kernel.get("unmet", [])}
    others = [
        f"{row['name']} is {row['before']} and should be {row['wanted']}"
        for row in kernel.get("settings", [])
        if row["name"] not in unmet and row["before"] != row["after"]
    ]
    if others:
        yield Finding("the kernel settings do not suit DDS", "; ".join(others), "apply the role", "kernel")
    if kernel.get("file_changed"):
        cause = f"{file} is not what is declared"
        yield Finding("the kernel settings change at the next boot", cause, "apply the role", "kernel")
    for row in kernel.get("overriding", []):
        yield Finding(
            "the kernel settings change at the next boot",
            f"{row['file']} then sets {row['name']} = {row['value']}",
            "remove that line, and apply the role",
            "kernel",
        )


def _find_unmet(kernel: Mapping[str, Any]) -> Iterator[Finding]:
    """Find kernel settings that cannot be changed from here, together for each reason."""
    rows: dict[str, list[str]] = {}
    for row in kernel.get("unmet", []):
        value = "not there" if row["value"] is None else row["value"]
        rows.setdefault(row["reason"], []).append(f"{row['name']} is {value} and should be {row['wanted']}")
    for reason, settings in rows.items():
        remedy = "set it on the machine whose kernel this is, or lower the declared value"
        yield Finding("; ".join(settings), reason, remedy, "kernel")


def _find_files(state: Mapping[str, Any]) -> Iterator[Finding]:
    """Find files that are not as declared."""
    others = []
    for row in state.get("stats", []):
        text = state["documents"][row["item"]]
        # Checksums of sha1, as modules of Ansible know them.
        wanted = sha1(text.encode(), usedforsecurity=False).hexdigest() if text else ""
        if row["stat"].get("checksum", "") != wanted:
            others.append(f"{state['directory']}/{row['item']}")
    if others:
        yield Finding(
            "programs that start now do not have the declared configuration",
            f"{others[0]} is not what is declared"
            if len(others) == 1
            else f"{listed(others)} are not what is declared",
            "apply the role",
            "files",
        )


def _find_units(state: Mapping[str, Any]) -> Iterator[Finding]:
    """Find units that do not run, or do not start at boot."""
    for row in state.get("units", []):
        name = row["item"]
        enabled, active = row["status"].get("UnitFileState"), row["status"].get("ActiveState")
        if (enabled, active) != ("enabled", "active"):
            cause = f"{name} should be enabled and active. It is {enabled or 'not there'} and {active}"
            remedy = f"run `systemctl status {name}` for the reason, and apply the role"
            yield Finding("what discovery needs does not run", cause, remedy, "units")


def _find_exchange(exchange: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what kept samples from travelling, by the `rc`, `stdout` and `stderr` of the program that exchanged them."""
    if not exchange:
        return
    if exchange["rc"] not in (0, 1):
        yield Finding(
            "no participant starts on this host",
            "; ".join(str(exchange["stderr"]).split("\n")).strip() or "the program gave no reason",
            "apply the role; where no index is free, run fewer participants, "
            f"or raise {PREFIX}participants on every host",
            "exchange",
        )
        return
    heard = json.loads(exchange["stdout"])
    for name in heard["missing"]:
        yield _silence(f"this host does not hear {name}", exchange)
    for name in heard["deaf"]:
        yield _silence(f"this host is not heard by {name}", exchange)


def _silence(symptom: str, exchange: Mapping[str, Any]) -> Finding:
    """Return the finding that samples did not travel."""
    return Finding(
        symptom,
        f"samples of {exchange['payload']} bytes in domain {exchange['domain_id']}, discovery {exchange['discovery']}, "
        f"did not arrive within {exchange['timeout']} s",
        "run playbooks/diagnose.yml on all hosts, and let the ports of the domain through in both directions",
        "exchange",
    )
