# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a run that has nothing to change, alternating with another author's role on the same host.

Needs a running, configured lab; source ``.sandbox/env`` first. Each round runs every case once, so that a change of the
machine's speed affects all of them. The first round is not counted: it saves the host keys and fills caches. A counted
run that changes something fails the measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)", re.MULTILINE)
# The packages that role docker installs on the sandbox's hosts (Debian 13), so that the peer has nothing to change.
PEER_VARIABLES = {
    "docker_add_repo": False,
    "docker_packages": ["docker.io", "docker-cli"],
    "docker_compose_package": "docker-compose",
    "docker_obsolete_packages": ["docker-ce", "docker-engine", "podman-docker"],
    "docker_users": [],
    "docker_daemon_options": {},
}
SLOWEST = 20


@dataclass
class Case:
    """One command, and the cost of its counted runs."""

    name: str
    command: list[str]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    executed: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def run(self, counted: bool, folder: Path) -> None:
        """Run it once.

        Raises:
            SystemExit: it failed, or changed something in a counted run.
        """
        log = folder / "tasks.jsonl"
        log.write_text("", encoding="utf-8")
        settings = {
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "bench" / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_times",
            "ANSIBLE_NOCOLOR": "1",
            "BENCH_TASKS": str(log),
        }
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            self.command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        recap = {host: (int(ok), int(changed)) for host, ok, changed in RECAP.findall(done.stdout)}
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        if not counted:
            return
        changes = {host: changed for host, (_ok, changed) in recap.items() if changed}
        if changes:
            raise SystemExit(f"{self.name} changed something, so it is not a second run: {changes}")
        self.wall.append(wall)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        self.executed = {host: ok for host, (ok, _changed) in recap.items()}
        for line in log.read_text(encoding="utf-8").splitlines():
            task = json.loads(line)
            self.tasks[task["task"]].append(task["seconds"])

    def row(self) -> str:
        """Return its line of the table."""
        tasks = ", ".join(f"{host} {count}" for host, count in sorted(self.executed.items()))
        return f"{self.name:<28}{statistics.median(self.wall):>9.1f}{statistics.median(self.cpu):>9.1f}  {tasks}"

    def slowest(self) -> list[str]:
        """Return the slowest tasks, with their mean seconds in a run."""
        rounds = len(self.wall)
        seconds = sorted(((sum(times) / rounds, name) for name, times in self.tasks.items()), reverse=True)
        return [f"{time_:>8.2f}  {name}" for time_, name in seconds[:SLOWEST]]


def peer_playbook(role: Path, host: str, variables: dict[str, object], folder: Path) -> Path:
    """Write a playbook that applies another author's role to one host."""
    play = {
        "name": "Apply the role",
        "hosts": host,
        "become": True,
        "vars": variables,
        "roles": [{"role": str(role.resolve())}],
    }
    path = folder / "peer.yml"
    path.write_text(json.dumps([play]), encoding="utf-8")
    return path


def main() -> None:
    """Measure, and print a table and the slowest tasks of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="robotics-lab-2", help="the host of configure.yml and of the peer's role")
    parser.add_argument("--peer", type=Path, help="folder of a role to compare with, such as geerlingguy.docker")
    parser.add_argument("--peer-variables", type=json.loads, default=PEER_VARIABLES, help="its variables, as JSON")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default: 3)")
    parser.add_argument(
        "--playbook", action="append", default=[], help="another playbook to measure, such as playbooks/verify.yml"
    )
    parser.add_argument("--without-site", action="store_true", help="leave out site.yml, which takes longest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limit = ["--limit", f"{options.host},localhost"]
        cases = [Case("configure.yml, one host", ["ansible-playbook", "playbooks/configure.yml", *limit])]
        if options.peer:
            peer = peer_playbook(options.peer, options.host, options.peer_variables, folder)
            cases.append(Case(options.peer.name, ["ansible-playbook", str(peer)]))
        if not options.without_site:
            cases.append(Case("site.yml, all hosts", ["ansible-playbook", "site.yml"]))
        cases += [Case(Path(path).name, ["ansible-playbook", path]) for path in options.playbook]
        for number in range(options.rounds + 1):
            for case in cases:
                case.run(number > 0, folder)
                print(f"round {number}: {case.name}", file=sys.stderr, flush=True)
    print(f"{'nothing to change':<28}{'wall s':>9}{'CPU s':>9}  executed tasks")
    for case in cases:
        print(case.row())
    for case in cases:
        print(f"\n{case.name}: seconds of the slowest tasks", *case.slowest(), sep="\n")


if __name__ == "__main__":
    main()
