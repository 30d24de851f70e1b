# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The metrics of a GPU: which there are, and one reading of them for every GPU of this host.

Nothing of Ansible is imported here, so that a service can run the same code. Values come from NVML, whose API reference
says what each means. What a GPU or its driver does not have is left out; it is never a 0.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._nvml import (
    NOT_FOUND,
    SM,
    NvmlError,
    NvmlUnavailable,
    Session,
    nvml_session,
    read_memory_info,
    read_throttle_reasons,
)

HEARTBEAT = "Heartbeat"
UTILIZATION = "GPUUtilization"
# Units are CloudWatch's own words, which have none for watts, degrees and hertz.
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
# A GPU that idles, or runs the clocks that somebody set, is not held back.
HELD_BACK = frozenset(
    {"sw_power_cap", "hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)

# nvmlSamplingType_t, and the member of nvmlValue_t for each nvmlValueType_t
GPU_UTILIZATION_SAMPLES, MEMORY_UTILIZATION_SAMPLES = 1, 2
VALUE_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
TEMPERATURE_GPU = 0
CORRECTED, UNCORRECTED, AGGREGATE_ECC = 0, 1, 1

# A GPU that fell off the bus is only found again by another session.
REOPEN_SECONDS = 60.0

Readings = dict[str, float]


@dataclass(frozen=True)
class Sample:
    """All GPUs of a host at one moment.

    Attributes:
        time: seconds since the epoch.
        healthy: whether NVML worked and every GPU answered.
        gpus: what each GPU read, by its NVML index as text.
        problems: why it is not healthy, one sentence each.
        reason: why NVML cannot be used, in one word of ``NvmlUnavailable``; empty where it can.
    """

    time: float
    healthy: bool
    gpus: dict[str, Readings] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    reason: str = ""


class GpuReader:
    """One GPU's handle, and what of the last reading the next one needs.

    Args:
        session: an open NVML.
        index: the GPU's NVML index.

    Raises:
        NvmlError: the GPU does not answer.
    """

    def __init__(self, session: Session, index: int) -> None:
        self._session = session
        self._handle = session.call("nvmlDeviceGetHandleByIndex", index)
        self._newest: dict[int, int] = {}
        self._energy: tuple[float, int] | None = None

    def read(self, metrics: Iterable[str]) -> Readings:
        """Return the value of each metric that this GPU has.

        Raises:
            NvmlError: the GPU does not answer.
        """
        wanted = set(metrics)
        values: dict[str, float | None] = {}
        for names, read in GROUPS.items():
            if wanted.intersection(names):
                values.update(read(self))
        return {name: value for name, value in values.items() if value is not None and name in wanted}

    def ask(self, function: str, *arguments: Any) -> Any:
        """Ask NVML about this GPU; None where it has no such thing."""
        return self._session.ask(function, self._handle, *arguments)

    def utilization(self) -> dict[str, float | None]:
        """Return the share of time in which kernels ran, in percent."""
        return {"GPUUtilization": self._busy(GPU_UTILIZATION_SAMPLES, "gpu")}

    def memory_utilization(self) -> dict[str, float | None]:
        """Return the share of time in which memory was read or written, in percent."""
        return {"GPUMemoryUtilization": self._busy(MEMORY_UTILIZATION_SAMPLES, "memory")}

    def _busy(self, kind: int, rate: str) -> float | None:
        """Return the mean of what the driver's buffer of this kind gained since the last reading, in percent.

        Without a buffer, or anything new in it, the driver's latest rate.
        """
        mean = self._mean_since(kind)
        if mean is not None:
            return mean
        rates = self.ask("nvmlDeviceGetUtilizationRates")
        return None if rates is None else float(getattr(rates, rate))

    def _mean_since(self, kind: int) -> float | None:
        """Return the mean of a buffer's samples since the last reading; None for the first, or without any."""
        last = self._newest.get(kind)
        try:
            answer = self.ask("nvmlDeviceGetSamples", kind, last or 0)
        except NvmlError as error:
            if error.code != NOT_FOUND:
                raise
            answer = None
        if answer is None:
            return None
        member, samples = VALUE_MEMBERS[answer[0]], [entry for entry in answer[1] if entry.timeStamp > (last or 0)]
        if not samples:
            return None
        self._newest[kind] = max(entry.timeStamp for entry in samples)
        if last is None:
            return None
        return round(float(sum(getattr(entry.sampleValue, member) for entry in samples) / len(samples)), 2)

    def memory(self) -> dict[str, float | None]:
        """Return the frame buffer in use, in megabytes of 10^6 bytes, and the share that is not free, in percent.

        The share includes what the driver keeps for itself, so that a full GPU has 100.
        """
        memory = read_memory_info(self._session, self._handle)
        if memory is None or memory.total == 0:
            return {}
        return {
            "GPUMemoryUsed": memory.used / 1e6,
            "GPUMemoryUsedPercent": round(100 * (memory.total - memory.free) / memory.total, 2),
        }

    def power(self) -> dict[str, float | None]:
        """Return the power drawn, in watts.

        The mean since the last reading, by the energy counter; for the first reading, or without a counter, the
        driver's latest value.
        """
        energy = self.ask("nvmlDeviceGetTotalEnergyConsumption")
        now, last = time.monotonic(), self._energy
        self._energy = None if energy is None else (now, energy)
        # It starts again when the driver is loaded.
        if energy is not None and last is not None and energy > last[1] and now > last[0]:
            return {"GPUPowerDraw": round((energy - last[1]) / 1000 / (now - last[0]), 2)}
        milliwatts = self.ask("nvmlDeviceGetPowerUsage")
        return {"GPUPowerDraw": None if milliwatts is None else milliwatts / 1000}

    def temperature(self) -> dict[str, float | None]:
        """Return the temperature in degrees Celsius."""
        return {"GPUTemperature": self.ask("nvmlDeviceGetTemperature", TEMPERATURE_GPU)}

    def clock(self) -> dict[str, float | None]:
        """Return the clock of the streaming multiprocessors in MHz."""
        return {"GPUSMClock": self.ask("nvmlDeviceGetClockInfo", SM)}

    def throttled(self) -> dict[str, float | None]:
        """Return 1 while power or heat hold the GPU back, else 0."""
        reasons = read_throttle_reasons(self._session, self._handle)
        return {"GPUThrottled": None if reasons is None else float(bool(HELD_BACK.intersection(reasons)))}

    def video(self) -> dict[str, float | None]:
        """Return how busy the video encoder and decoder are, in percent."""
        encoder, decoder = (self.ask(f"nvmlDeviceGet{name}Utilization") for name in ("Encoder", "Decoder"))
        return {
            "GPUEncoderUtilization": None if encoder is None else encoder[0],
            "GPUDecoderUtilization": None if decoder is None else decoder[0],
        }

    def memory_errors(self) -> dict[str, float | None]:
        """Return how many memory errors there ever were, and how many rows were replaced for them."""
        rows = self.ask("nvmlDeviceGetRemappedRows")
        return {
            "GPUECCErrorsCorrected": self.ask("nvmlDeviceGetTotalEccErrors", CORRECTED, AGGREGATE_ECC),
            "GPUECCErrorsUncorrected": self.ask("nvmlDeviceGetTotalEccErrors", UNCORRECTED, AGGREGATE_ECC),
            "GPURemappedRows": None if rows is None else rows[0] + rows[1],
        }


# What one call to NVML answers together.
GROUPS: Mapping[tuple[str, ...], Callable[[GpuReader], dict[str, float | None]]] = {
    ("GPUUtilization",): GpuReader.utilization,
    ("GPUMemoryUtilization",): GpuReader.memory_utilization,
    ("GPUMemoryUsed", "GPUMemoryUsedPercent"): GpuReader.memory,
    ("GPUPowerDraw",): GpuReader.power,
    ("GPUTemperature",): GpuReader.temperature,
    ("GPUSMClock",): GpuReader.clock,
    ("GPUThrottled",): GpuReader.throttled,
    ("GPUEncoderUtilization", "GPUDecoderUtilization"): GpuReader.video,
    ("GPUECCErrorsCorrected", "GPUECCErrorsUncorrected", "GPURemappedRows"): GpuReader.memory_errors,
}


class Sampler:
    """Reads the GPUs again and again through one NVML session, and opens another when that one no longer serves.

    Args:
        metrics: names of ``UNITS``.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self._metrics = set(metrics) - {HEARTBEAT}
        self._stack = contextlib.ExitStack()
        self._session: Session | None = None
        self._opened = 0.0
        self._readers: dict[int, GpuReader] = {}
        self._count = 0

    def sample(self) -> Sample:
        """Read every GPU now. What cannot be read makes the sample unhealthy; nothing is raised."""
        now = time.time()
        try:
            session = self._open()
            # A GPU that is missing after the driver was loaded again is not forgotten.
            self._count = max(self._count, session.call("nvmlDeviceGetCount"))
        except (NvmlUnavailable, NvmlError) as error:
            self.close()
            reason = error.reason if isinstance(error, NvmlUnavailable) else "other"
            return Sample(now, healthy=False, problems=(f"NVML cannot be used: {error}",), reason=reason)
        gpus, problems = {}, []
        for index in range(self._count):
            try:
                reader = self._readers.get(index) or GpuReader(session, index)
                self._readers[index] = reader
                gpus[str(index)] = reader.read(self._metrics)
            except NvmlError as error:
                problems.append(f"GPU {index} does not answer: {error}")
        if not self._count:
            problems.append("NVML works and knows no GPU")
        if problems and time.monotonic() - self._opened > REOPEN_SECONDS:
            self.close()
        return Sample(now, not problems, gpus, tuple(problems))

    def _open(self) -> Session:
        """Return the session, opened when there is none.

        Raises:
            NvmlUnavailable: NVML cannot be used now.
        """
        if self._session is None:
            self._session = self._stack.enter_context(nvml_session())
            self._opened = time.monotonic()
        return self._session

    def close(self) -> None:
        """End the session, which lets go of the driver."""
        self._readers.clear()
        self._session = None
        self._stack.close()
