# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the published values of a real GPU with those of nvidia-smi; changes nothing.

Needs NVIDIA's driver. GPU 0 is read once an interval, as the service of the role gpu_metrics reads it, while one
nvidia-smi prints the same quantities several times a second. A row has the published value, and nvidia-smi's mean,
least and greatest of the same interval. Arguments are a program that keeps the GPU busy: ``make bench-gpu LOAD="python3
load.py"`` runs it after a first, idle interval, and stops it.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / ".collections"))

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu.metrics import UNITS, Readings
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.sampler import Sampler

INTERVAL, ROUNDS, SMI_MILLISECONDS = 5.0, 4, 200
MIB = 2**20 / 1e6
# Metric, its name in nvidia-smi, and the factor from nvidia-smi's unit to the metric's.
SAME = {
    "GPUUtilization": ("utilization.gpu", 1.0),
    "GPUMemoryUtilization": ("utilization.memory", 1.0),
    "GPUMemoryUsed": ("memory.used", MIB),
    "GPUPowerDraw": ("power.draw.instant", 1.0),
    "GPUTemperature": ("temperature.gpu", 1.0),
    "GPUSMClock": ("clocks.sm", 1.0),
    "GPUEncoderUtilization": ("utilization.encoder", 1.0),
    "GPUDecoderUtilization": ("utilization.decoder", 1.0),
    "GPUECCErrorsCorrected": ("ecc.errors.corrected.aggregate.total", 1.0),
    "GPUECCErrorsUncorrected": ("ecc.errors.uncorrected.aggregate.total", 1.0),
}


@contextlib.contextmanager
def running(*command: str, stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the block ends."""
    with subprocess.Popen(command, stdout=stdout, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def nvidia_smi(seconds: float) -> list[dict[str, float]]:
    """Return what nvidia-smi printed for GPU 0 in this time, by its own names, without values that are not numbers."""
    names = [name for name, _factor in SAME.values()]
    query = [f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits", "--id=0"]
    with running("nvidia-smi", *query, f"--loop-ms={SMI_MILLISECONDS}", stdout=subprocess.PIPE) as process:
        time.sleep(seconds)
        process.terminate()
        lines = process.communicate()[0].splitlines()
    rows = []
    for line in lines:
        cells = dict(zip(names, line.split(", "), strict=False))
        if len(cells) == len(names):
            rows.append({name: float(cell) for name, cell in cells.items() if cell.replace(".", "", 1).isdigit()})
    return rows


def compare(sampler: Sampler) -> None:
    """Print one row for each metric of one interval."""
    sampler.sample()
    rows = nvidia_smi(INTERVAL)
    sample = sampler.sample()
    print(f"{'metric':<26}{'published':>12}{'nvidia-smi':>12}{'least':>12}{'greatest':>12}")
    gpu: Readings = sample.gpus["0"]
    for metric in UNITS:
        name, factor = SAME.get(metric, ("", 1.0))
        theirs = [row[name] * factor for row in rows if name in row]
        ours = f"{gpu[metric]:12.2f}" if metric in gpu else f"{'-':>12}"
        figures = (statistics.mean(theirs), min(theirs), max(theirs)) if theirs else ()
        print(f"{metric:<26}{ours}{''.join(f'{figure:12.2f}' for figure in figures)}", flush=True)
    print(f"healthy: {sample.healthy} {' '.join(sample.problems)}; nvidia-smi's lines: {len(rows)}\n", flush=True)


def main() -> None:
    """Compare an idle GPU, then one that runs the program of the arguments."""
    sampler = Sampler(UNITS)
    sample = sampler.sample()
    if not sample.gpus:
        raise SystemExit(f"No GPU was found: {'; '.join(sample.problems)}")
    compare(sampler)
    if sys.argv[1:]:
        with running(*sys.argv[1:]) as load:
            time.sleep(INTERVAL)
            for _round in range(ROUNDS):
                compare(sampler)
            if load.poll() is not None:
                raise SystemExit(
                    f"The program ended with exit status {load.returncode}. Use a program that runs for half a minute."
                )
    sampler.close()


if __name__ == "__main__":
    main()
