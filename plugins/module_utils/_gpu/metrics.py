# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the metrics of a GPU: utilization, memory, power, temperature, clock, throttling and memory errors.

What a GPU or its driver does not support is left out; it is never 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from .nvml import GONE, NvmlError, NvmlSession
from .read import SM, Parts, names_of, read_memory_info, read_parts, read_throttle_reasons

HEARTBEAT = "Heartbeat"
UTILIZATION = "GPUUtilization"
# Units of CloudWatch, which has none for watts, degrees and hertz.
UNITS = {
    UTILIZATION: "Percent",
    "GPUMemoryUsed": "Megabytes",
    "GPUMemoryUsedPercent": "Percent",
    "GPUMemoryUtilization": "Percent",
    "GPUPowerDraw": "None",
    "GPUTemperature": "None",
    "GPUSMClock": "None",
    "GPUThrottled": "None",
    "GPUEncoderUtilization": "Percent",
    "GPUDecoderUtilization": "Percent",
    "GPUECCErrorsCorrected": "Count",
    "GPUECCErrorsUncorrected": "Count",
    "GPURemappedRows": "Count",
    HEARTBEAT: "None",
}
DEFAULT_METRICS = (
    UTILIZATION,
    "GPUMemoryUsed",
    "GPUMemoryUsedPercent",
    "GPUPowerDraw",
    "GPUTemperature",
    HEARTBEAT,
)
# Idling and configured clocks do not count as throttling.
HELD_BACK = frozenset(
    {"sw_power_cap", "hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)

# nvmlSamplingType_t, and the member of nvmlValue_t for each nvmlValueType_t
GPU_UTILIZATION_SAMPLES, MEMORY_UTILIZATION_SAMPLES = 1, 2
VALUE_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
TEMPERATURE_GPU = 0
CORRECTED, UNCORRECTED, AGGREGATE_ECC = 0, 1, 1

Readings = dict[str, float]


class GpuReader:
    """One GPU's handle, and the parts of the last reading that the next one needs.

    Args:
        session: an open NVML.
        index: the GPU's NVML index.

    Raises:
        NvmlError: the GPU does not answer.
    """

    def __init__(self, session: NvmlSession, index: int) -> None:
        self._session = session
        self._handle = session.call("nvmlDeviceGetHandleByIndex", index)
        self._newest: dict[int, int] = {}
        self._energy: tuple[float, int] | None = None

    def read(self, metrics: Iterable[str]) -> tuple[Readings, dict[str, NvmlError]]:
        """Return the value of each metric that this GPU supports, and the error of each that could not be read.

        Raises:
            NvmlError: the GPU does not answer.
        """
        wanted = set(metrics)
        values, failed = read_parts(
            {key: read for key, read in PARTS.items() if wanted.intersection(names_of(key))}, self
        )
        failed = {name: error for name, error in failed.items() if name in wanted}
        if failed and not self.answers(values):
            raise next(iter(failed.values()))
        return {name: value for name, value in values.items() if value is not None and name in wanted}, failed

    def answers(self, values: Mapping[str, float | None]) -> bool:
        """Return whether one of these readings has a value, or else any other reading."""
        return any(value is not None for known in (values, read_parts(PARTS, self)[0]) for value in known.values())

    def query(self, function: str, *arguments: Any) -> Any:
        """Call a function of NVML for this GPU; return None where it is not supported."""
        return self._session.call_optional(function, self._handle, *arguments)

    def query_optional(self, function: str, *arguments: Any) -> Any:
        """Do the same for values that can also be read in another way; also return None on failure."""
        try:
            return self.query(function, *arguments)
        except NvmlError as error:
            if error.code in GONE:
                raise
            return None

    def busy(self, kind: int, rate: str) -> float | None:
        """Return the mean of the samples in the driver's buffer of this kind since the last reading, in percent.

        Without a buffer, or anything new in it, the driver's latest rate.
        """
        mean = self._mean_since(kind)
        if mean is not None:
            return mean
        rates = self.query("nvmlDeviceGetUtilizationRates")
        return None if rates is None else float(getattr(rates, rate))

    def _mean_since(self, kind: int) -> float | None:
        """Return the mean of a buffer's samples since the last reading; None for the first, or without any."""
        last = self._newest.get(kind)
        answer = self.query_optional("nvmlDeviceGetSamples", kind, last or 0)
        if answer is None:
            return None
        member, samples = VALUE_MEMBERS[answer[0]], [entry for entry in answer[1] if entry.timeStamp > (last or 0)]
        if not samples:
            return None
        self._newest[kind] = max(entry.timeStamp for entry in samples)
        if last is None:
            return None
        return round(float(sum(getattr(entry.sampleValue, member) for entry in samples) / len(samples)), 2)

    def memory(self) -> tuple[float | None, float | None]:
        """Return the frame buffer in use, in megabytes of 10^6 bytes, and the share that is not free, in percent.

        The share includes the memory reserved by the driver, so that a full GPU has 100.
        """
        memory = read_memory_info(self.query)
        if memory is None:
            return None, None
        return memory.used / 1e6, round(100 * (memory.total - memory.free) / memory.total, 2)

    def power(self) -> float | None:
        """Return the power draw, in watts.

        The mean since the last reading, by the energy counter; for the first reading, or without a counter, the
        driver's latest value.
        """
        energy = self.query_optional("nvmlDeviceGetTotalEnergyConsumption")
        now, last = time.monotonic(), self._energy
        self._energy = None if energy is None else (now, energy)
        # The counter restarts when the driver is loaded.
        if energy is not None and last is not None and energy > last[1] and now > last[0]:
            return float(round((energy - last[1]) / 1000 / (now - last[0]), 2))
        milliwatts = self.query("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1000

    def throttled(self) -> float | None:
        """Return 1 while power or temperature limits slow the GPU down, else 0."""
        reasons = read_throttle_reasons(self.query)
        return None if reasons is None else float(bool(HELD_BACK.intersection(reasons)))

    def remapped(self) -> float | None:
        """Return the number of remapped rows of memory."""
        rows = self.query("nvmlDeviceGetRemappedRows")
        return None if rows is None else rows[0] + rows[1]


def first(answer: Any) -> Any:
    """Return the first of the values in an answer of NVML; None without an answer."""
    return None if answer is None else answer[0]


# Utilization is the share of time in percent, the clock is in MHz, and errors and rows are those of the GPU's lifetime.
PARTS: Parts[GpuReader] = {
    "GPUUtilization": lambda gpu: gpu.busy(GPU_UTILIZATION_SAMPLES, "gpu"),
    "GPUMemoryUtilization": lambda gpu: gpu.busy(MEMORY_UTILIZATION_SAMPLES, "memory"),
    ("GPUMemoryUsed", "GPUMemoryUsedPercent"): GpuReader.memory,
    "GPUPowerDraw": GpuReader.power,
    "GPUTemperature": lambda gpu: gpu.query("nvmlDeviceGetTemperature", TEMPERATURE_GPU),
    "GPUSMClock": lambda gpu: gpu.query("nvmlDeviceGetClockInfo", SM),
    "GPUThrottled": GpuReader.throttled,
    "GPUEncoderUtilization": lambda gpu: first(gpu.query("nvmlDeviceGetEncoderUtilization")),
    "GPUDecoderUtilization": lambda gpu: first(gpu.query("nvmlDeviceGetDecoderUtilization")),
    "GPUECCErrorsCorrected": lambda gpu: gpu.query("nvmlDeviceGetTotalEccErrors", CORRECTED, AGGREGATE_ECC),
    "GPUECCErrorsUncorrected": lambda gpu: gpu.query("nvmlDeviceGetTotalEccErrors", UNCORRECTED, AGGREGATE_ECC),
    "GPURemappedRows": GpuReader.remapped,
}
