# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard on each host: its privileges, what it sees, and what its last stop has left."""

from __future__ import annotations

import json
import time
from typing import Any

UNIT = "instance-guard.service"
FOLDER = "/var/lib/robotics-lab/guard"


def release(host: Any) -> str:
    return f"debian{host.system_info.release.split('.')[0]}"


def document(host: Any, name: str) -> dict[str, Any]:
    return dict(json.loads(host.file(f"{FOLDER}/{name}").content_string))


def test_it_is_root_without_capabilities(host: Any) -> None:
    pid = host.check_output(f"systemctl show --property=MainPID --value {UNIT}").strip()
    status = host.file(f"/proc/{pid}/status").content_string
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == "0"
    assert int(fields["CapBnd"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    # The exposure of the service, from 0 to 100.
    grade = host.run(f"systemd-analyze security --no-pager --threshold=25 {UNIT}")
    assert grade.rc == 0, grade.stdout[-400:]
    (resident,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    assert int(resident) < 40 * 1024, "KiB"


def test_it_reports_what_uses_the_host(host: Any) -> None:
    status = document(host, "status.json")
    assert status["unreadable"] == []
    assert "the metadata service" in status["trouble"], "the guard reports no failure of the metadata service"
    assert "an SSH session" not in status["busy"]


def test_a_run_of_ansible_is_seen(host: Any) -> None:
    host.check_output("systemd-run --collect --unit=run-of-ansible sh -c 'sleep 300 # /ansible-tmp-1/'")
    try:
        deadline = time.monotonic() + 90
        while "a run of Ansible" not in host.check_output(f"systemctl show --property=StatusText {UNIT}"):
            assert time.monotonic() < deadline
            time.sleep(1)
    finally:
        host.check_output("systemctl stop run-of-ansible")


def test_the_last_stop(host: Any) -> None:
    # Its lifetime has no end.
    if release(host) == "debian12":
        assert not host.file("/var/lib/robotics-lab/guard/last_stop.json").exists
        return
    record = document(host, "last_stop.json")
    assert {name: record[name] for name in ("cause", "reason", "hook", "stack", "complete")} == {
        "cause": "lifetime",
        "reason": "its lifetime is over",
        "hook": "done",
        "stack": "done",
        "complete": True,
    }
    # The hook ran first, with its arguments in their words.
    assert host.file("/home/saved").content_string == "1 before stop active\n"
    journal = host.check_output("journalctl --no-pager --output=cat --identifier=instance-guard")
    assert "This host stops in 1 minutes: its lifetime is over, which is 744 hours from its start." in journal
    assert "wall: " not in journal, "users could not be warned"


def test_the_timer_has_the_end_of_the_lifetime(host: Any) -> None:
    run = host.run("systemctl show --property=TimersMonotonic --value instance-guard-lifetime.timer")
    if release(host) == "debian12":
        assert run.stdout.strip() == ""
    else:
        assert "OnBootUSec=1month" in run.stdout or "OnBootUSec=4w" in run.stdout, run.stdout
