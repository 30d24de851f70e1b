# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the cost of publishing GPU metrics by the guide's shell script and by the service of the role gpu_metrics.

Both read the same simulated GPU and send to the same CloudWatch of the tests, at the same time, with a sample every
five seconds. The service has its defaults, which are six metrics with dimensions; the script has two without.
``make bench`` prints one row for each figure. Compare the ratios: times differ between machines.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sandbox.nvml import PROGRAM, Gpus, build
from sandbox.waiting import wait_until
from tests.support.cloudwatch import CREDENTIALS, CloudWatch, Datum
from tests.support.project import ROOT, clean_environment
from tests.support.publisher import Publisher

AWSCLI = (ROOT / "bench" / "awscli.txt").read_text("utf-8").splitlines()
SAMPLE_SECONDS, MINUTES = 5, 3
# In dollars, us-east-1: a metric for a month, and a request. A month of AWS has 730 hours.
METRIC, REQUEST, MINUTES_A_MONTH = 0.30, 0.01 / 1000, 730 * 60

SCRIPT = """
UTIL=$(nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits)
MEM=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits)

aws cloudwatch put-metric-data \\
  --namespace "DigitalTwin" \\
  --metric-name GPUUtilization \\
  --value $UTIL \\
  --unit Percent

aws cloudwatch put-metric-data \\
  --namespace "DigitalTwin" \\
  --metric-name GPUMemoryUsed \\
  --value $MEM \\
  --unit Megabytes
"""
# The kernel counts the memory of the parent for a new process, so a small process starts the script.
RUN = """
import resource, subprocess, sys
subprocess.run(["bash", "-e", "-c", sys.argv[1]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
# Replaces a program on PATH, and logs each start.
NOTE = """#!/bin/sh
echo >> {notes}
exec {program} "$@"
"""


def install(folder: Path, *packages: str) -> Path:
    """Create a virtual environment in a folder, compiled as pip does; return its folder of programs."""
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    options = ["--quiet", "--compile-bytecode", "--python", str(folder)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(packages) + "\n")
        requirements.flush()
        subprocess.run(["uv", "pip", "install", "--require-hashes", *options, "-r", requirements.name], check=True)
    return folder / "bin"


class Script:
    """The guide's script, as cron starts it."""

    def __init__(self, folder: Path, gpus: Gpus, endpoint: str) -> None:
        """Install its programs below a folder; it sends to this endpoint."""
        self._folder = folder
        self._programs = [install(folder / "aws", *AWSCLI) / "aws", gpus.library / PROGRAM]
        self._environment = clean_environment(
            {
                **gpus.environment,
                **{name.upper(): value for name, value in CREDENTIALS.items()},
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": endpoint,
            }
        )

    def run(self, *, notes: Path | None = None) -> tuple[float, int]:
        """Take one sample; return the CPU seconds of the shell and its children, and the bytes of the largest process.

        Args:
            notes: file that gets a line for each program that is started.
        """
        folders = [program.parent for program in self._programs]
        if notes is not None:
            folders.insert(0, self._shims(notes))
        path = os.pathsep.join([*map(str, folders), self._environment["PATH"]])
        done = subprocess.run(
            [sys.executable, "-c", RUN, SCRIPT],
            env={**self._environment, "PATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds, kibibytes = done.stdout.split()
        return float(seconds), int(kibibytes) * 1024

    def _shims(self, notes: Path) -> Path:
        """Return a folder with a wrapper for each program, which logs each start."""
        shims = self._folder / "shims"
        shims.mkdir()
        for program in self._programs:
            (shims / program.name).write_text(NOTE.format(notes=notes, program=program), encoding="utf-8")
            (shims / program.name).chmod(0o755)
        return shims


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a running process has used, by clock_getcpuclockid(3)."""
    return time.clock_gettime((~process << 3) | 2)


def peak_memory(process: int) -> int:
    """Return the peak resident memory of a running process, in bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak) * 1024


def has_had_children(process: int) -> bool:
    """Return whether a running process has had children: its statistics include their page faults."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return int(fields[8]) > 0


@dataclass(frozen=True)
class Figures:
    """The cost of one of the two.

    Attributes:
        cpu: seconds a sample.
        memory: bytes, the largest process.
        processes: started for a sample.
        requests: a minute.
        metrics: that cost money.
    """

    cpu: float
    memory: int
    processes: int
    requests: float
    metrics: int

    @property
    def dollars(self) -> float:
        """Return the cost of a month."""
        return self.metrics * METRIC + self.requests * MINUTES_A_MONTH * REQUEST


def count_requests(datums: Iterable[Datum], *, minutes: float) -> tuple[float, int]:
    """Return the requests a minute that carried these datums, and the number of their metrics."""
    kept = list(datums)
    metrics = {(datum.metric, *datum.dimensions.items()) for datum in kept}
    return len({datum.request for datum in kept}) / minutes, len(metrics)


def measure(server: CloudWatch, script: Script, publisher: Publisher) -> tuple[Figures, Figures]:
    """Run both for some minutes; return the cost of the script and of the service."""
    notes = publisher.folder / "notes"
    script.run(notes=notes)
    processes = len(notes.read_text(encoding="utf-8").splitlines())
    publisher.start()
    wait_until(
        lambda: any(datum.dimensions for datum in server.datums()), what="the service's first request", seconds=60
    )
    before, spent = len(server.datums()), cpu_seconds(publisher.running.pid)
    runs = []
    begin = time.monotonic()
    for number in range(MINUTES * 60 // SAMPLE_SECONDS):
        time.sleep(max(0.0, begin + number * SAMPLE_SECONDS - time.monotonic()))
        runs.append(script.run())
    time.sleep(max(0.0, begin + MINUTES * 60 - time.monotonic()))
    minutes = (time.monotonic() - begin) / 60
    process = publisher.running.pid
    datums = server.datums()[before:]
    by_script = Figures(
        sum(seconds for seconds, _memory in runs) / len(runs),
        max(memory for _seconds, memory in runs),
        processes,
        *count_requests((datum for datum in datums if not datum.dimensions), minutes=minutes),
    )
    by_service = Figures(
        (cpu_seconds(process) - spent) / (minutes * 60 / SAMPLE_SECONDS),
        peak_memory(process),
        int(has_had_children(process)),
        *count_requests((datum for datum in datums if datum.dimensions), minutes=minutes),
    )
    return by_script, by_service


def row(name: str, script: float, service: float, digits: int) -> None:
    """Print one figure of both, and their ratio."""
    ratio = f"{script / service:.1f}" if service else "-"
    print(f"{name:<28}{script:>12.{digits}f}{service:>12.{digits}f}{ratio:>10}", flush=True)


def main() -> None:
    """Measure both, and remove everything afterwards."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    defaults = yaml.safe_load((ROOT / "roles/gpu_metrics/defaults/main.yml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch, CloudWatch() as server:
        folder = Path(scratch)
        build(folder / "nvml")
        gpus = Gpus(folder, folder / "nvml", "A10G")
        gpus.reboot()
        script = Script(folder, gpus, server.url)
        publisher = Publisher(
            folder,
            gpus,
            server.url,
            {"sample_interval": SAMPLE_SECONDS, "flush_interval": defaults["gpu_metrics_flush_interval"]},
            # The environment of the unit.
            {"MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            python=install(folder / "service", *defaults["gpu_metrics_packages"]) / "python",
        )
        try:
            by_script, by_service = measure(server, script, publisher)
        finally:
            if publisher.process is not None:
                publisher.kill()
    print(f"{'':<28}{'script':>12}{'service':>12}{'ratio':>10}")
    row("CPU-milliseconds a sample", by_script.cpu * 1000, by_service.cpu * 1000, 2)
    row("resident at most, MiB", by_script.memory / 2**20, by_service.memory / 2**20, 1)
    row("processes a sample", by_script.processes, by_service.processes, 0)
    row("requests a minute", by_script.requests, by_service.requests, 1)
    row("metrics", by_script.metrics, by_service.metrics, 0)
    row("dollars a month", by_script.dollars, by_service.dollars, 2)


if __name__ == "__main__":
    main()
