# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples the metrics of every GPU of this host, again and again.

Nothing of Ansible is imported in this folder, so that a service can run the same code.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .._gpu.metrics import HEARTBEAT, GpuReader, Readings
from .._gpu.nvml import RESET_REQUIRED, NvmlError, NvmlSession, NvmlUnavailable, open_nvml

# Only a new session finds a GPU again that fell off the bus.
REOPEN_SECONDS = 60.0


@dataclass(frozen=True)
class Sample:
    """All GPUs of a host at one moment.

    Attributes:
        time: seconds since the epoch.
        healthy: whether NVML worked and every GPU answered. A single failed reading of a GPU does not change that.
        gpus: the readings of each GPU, by its NVML index as text.
        failed: the error of each reading that failed, by GPU and metric: ``GPU 1: GPUPowerDraw``.
        problems: why it is not healthy, one sentence each.
        reason: why NVML cannot be used, in one word of ``NvmlUnavailable``; empty where it can.
    """

    time: float
    healthy: bool
    gpus: dict[str, Readings] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    reason: str = ""


class Sampler:
    """Read the GPUs repeatedly through one NVML session, and open another when it no longer works.

    Args:
        metrics: names of ``UNITS``.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self._metrics = set(metrics) - {HEARTBEAT}
        self._stack = contextlib.ExitStack()
        self._session: NvmlSession | None = None
        self._opened = 0.0
        self._readers: dict[int, GpuReader] = {}
        self._count = 0

    def sample(self) -> Sample:
        """Read every GPU now. Failures make the sample unhealthy; nothing is raised."""
        now = time.time()
        try:
            session = self._open()
            # A GPU that is missing after a reload of the driver still counts.
            self._count = max(self._count, session.call("nvmlDeviceGetCount"))
        except (NvmlUnavailable, NvmlError) as error:
            self.close()
            reason = error.reason if isinstance(error, NvmlUnavailable) else "other"
            return Sample(now, healthy=False, problems=(f"NVML cannot be used: {error}",), reason=reason)
        gpus: dict[str, Readings] = {}
        failed: dict[str, str] = {}
        problems: list[str] = []
        for index in range(self._count):
            try:
                reader = self._readers.get(index) or GpuReader(session, index)
                self._readers[index] = reader
                gpus[str(index)], errors = reader.read(self._metrics)
                failed.update({f"GPU {index}: {name}": str(error) for name, error in errors.items()})
                # A GPU that has to be reset is unhealthy, even if it still answers.
                resets = [error for error in errors.values() if error.code == RESET_REQUIRED]
                problems += [f"GPU {index} has to be reset: {error}" for error in resets[:1]]
            except NvmlError as error:
                problems.append(f"GPU {index} does not answer: {error}")
        if not self._count:
            problems.append("NVML works and finds no GPU")
        if problems and time.monotonic() - self._opened > REOPEN_SECONDS:
            self.close()
        return Sample(now, not problems, gpus, failed, tuple(problems))

    def _open(self) -> NvmlSession:
        """Return the session, opened when there is none.

        Raises:
            NvmlUnavailable: NVML cannot be used now.
        """
        if self._session is None:
            self._session = self._stack.enter_context(open_nvml())
            self._opened = time.monotonic()
        return self._session

    def close(self) -> None:
        """End the session, which releases the driver."""
        self._readers.clear()
        self._session = None
        self._stack.close()
