# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the settings and the state of GPUs. Their metrics over time are read in metrics.py.

Numbers and names are those of NVML's API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from .nvml import GONE, NvmlError, NvmlSession

GRAPHICS, SM, MEMORY = 0, 1, 2
# nvmlMemory_v2: the second version of the structure, of 40 bytes.
MEMORY_INFO_2 = 0x02000028

COMPUTE_MODES = {0: "default", 2: "prohibited", 3: "exclusive_process"}
VIRTUALIZATION_MODES = {0: "none", 1: "passthrough", 2: "vgpu", 3: "host_vgpu", 4: "host_vsga"}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
# NVML calls them clocks event reasons since driver 535, and throttle reasons before.
THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}

Source = TypeVar("Source")
# What reads one value by its name, or several together by a tuple of their names.
Parts: TypeAlias = "Mapping[str | tuple[str, ...], Callable[[Source], Any]]"
# Calls a function of NVML for one GPU, or for the system, as ``NvmlSession.call_optional`` does.
Query = Callable[..., Any]


def read_parts(parts: Parts[Source], source: Source) -> tuple[dict[str, Any], dict[str, NvmlError]]:
    """Return the value of each reading, and the error of each reading that failed; its value is None.

    Args:
        parts: functions that read ``source``.

    Raises:
        NvmlError: the GPU or its driver is gone.
    """
    values: dict[str, Any] = {}
    failed: dict[str, NvmlError] = {}
    for key, read in parts.items():
        names = names_of(key)
        try:
            found = read(source)
            values.update(zip(names, found if isinstance(key, tuple) else (found,), strict=True))
        except NvmlError as error:
            if error.code in GONE:
                raise
            values.update(dict.fromkeys(names))
            failed.update(dict.fromkeys(names, error))
    return values, failed


def names_of(key: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in a key of `Parts`."""
    return key if isinstance(key, tuple) else (key,)


def read_driver(session: NvmlSession) -> dict[str, Any]:
    """Return the versions of driver, NVML and CUDA; CUDA's is the newest that the driver supports."""
    values, failed = read_parts(DRIVER_PARTS, session.call_optional)
    return {**values, "failed_readings": texts(failed)}


def read_gpus(session: NvmlSession) -> list[dict[str, Any]]:
    """Return the readings of every GPU, in the order of their indices."""
    return [read_gpu(session, index) for index in range(session.call("nvmlDeviceGetCount"))]


def read_gpu(session: NvmlSession, index: int) -> dict[str, Any]:
    """Return the readings of one GPU; a reading that the GPU does not support, or that failed, is None.

    ``failed_readings`` has the error of each one that failed. A GPU that is gone, or does not answer, still has its
    index, and ``error`` is set.
    """
    try:
        handle = session.call("nvmlDeviceGetHandleByIndex", index)
        values, failed = read_parts(
            GPU_PARTS, lambda function, *arguments: session.call_optional(function, handle, *arguments)
        )
    except NvmlError as error:
        return {"index": index, "error": str(error)}
    if failed and not any(value not in (None, []) for value in values.values()):
        return {"index": index, "error": str(next(iter(failed.values())))}
    return {"index": index, "error": None, **values, "failed_readings": texts(failed)}


def texts(failed: dict[str, NvmlError]) -> dict[str, str]:
    """Return errors as texts."""
    return {name: str(error) for name, error in failed.items()}


def read_cuda(query: Query) -> str | None:
    """Return the version of CUDA, which NVML returns times 1000."""
    version = query("nvmlSystemGetCudaDriverVersion_v2")
    return None if version is None else f"{version // 1000}.{version % 1000 // 10}"


def read_bus_id(query: Query) -> str | None:
    """Return the address on the PCI bus."""
    pci = query("nvmlDeviceGetPciInfo")
    return None if pci is None else as_text(pci.busId)


def read_capability(query: Query) -> str | None:
    """Return the CUDA compute capability."""
    capability = query("nvmlDeviceGetCudaComputeCapability")
    return None if capability is None else f"{capability[0]}.{capability[1]}"


def read_memory(query: Query) -> tuple[int | None, ...]:
    """Return the frame buffer's size, use and rest in MiB."""
    memory = read_memory_info(query)
    return tuple(None if memory is None else getattr(memory, name) // 2**20 for name in ("total", "used", "free"))


def read_memory_info(query: Query) -> Any:
    """Return the frame buffer's ``total``, ``used`` and ``free`` bytes; None for a GPU that shares the host's memory.

    They are those of nvidia-smi: memory reserved by the driver is neither used nor free. Drivers before 510 count it
    as used.
    """
    memory = query("nvmlDeviceGetMemoryInfo", MEMORY_INFO_2) or query("nvmlDeviceGetMemoryInfo")
    return memory if memory is not None and memory.total else None


def watts(function: str) -> Callable[[Query], float | None]:
    """Return a reader of what NVML counts in milliwatts."""

    def read(query: Query) -> float | None:
        value = query(function)
        return None if value is None else value / 1000

    return read


def read_constraints(query: Query) -> tuple[float | None, ...]:
    """Return the lowest and the highest power limit in watts."""
    values = query("nvmlDeviceGetPowerManagementLimitConstraints") or (None, None)
    return tuple(None if value is None else value / 1000 for value in values)


def clock_pair(function: str) -> Callable[[Query], dict[str, int] | None]:
    """Return a reader of a graphics and a memory clock in MHz."""

    def read(query: Query) -> dict[str, int] | None:
        graphics, memory = (query(function, kind) for kind in (GRAPHICS, MEMORY))
        return None if graphics is None or memory is None else {"graphics_mhz": graphics, "memory_mhz": memory}

    return read


def read_supported_clocks(query: Query) -> list[dict[str, Any]]:
    """Return the memory clocks in MHz, each with its graphics clocks, all ascending."""
    rows = [
        {"memory_mhz": memory, "graphics_mhz": sorted(query("nvmlDeviceGetSupportedGraphicsClocks", memory) or [])}
        for memory in sorted(query("nvmlDeviceGetSupportedMemoryClocks") or [])
    ]
    return [row for row in rows if row["graphics_mhz"]]


def read_ecc(query: Query) -> tuple[bool | None, ...]:
    """Return whether ECC is enabled now, and after the next reboot."""
    return tuple(as_bool(mode) for mode in query("nvmlDeviceGetEccMode") or (None, None))


def read_throttle_reasons(query: Query) -> list[str] | None:
    """Return what limits the clocks, as values of ``THROTTLE_REASONS``."""
    reasons = query("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = query("nvmlDeviceGetCurrentClocksThrottleReasons")
    return None if reasons is None else [name for bit, name in THROTTLE_REASONS.items() if reasons & bit]


def as_text(value: Any) -> str | None:
    """Return a text; older versions of the binding return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def as_bool(value: int | None) -> bool | None:
    """Return NVML's enabled and disabled as true and false."""
    return None if value is None else bool(value)


DRIVER_PARTS: Parts[Query] = {
    "driver_version": lambda query: as_text(query("nvmlSystemGetDriverVersion")),
    "nvml_version": lambda query: as_text(query("nvmlSystemGetNVMLVersion")),
    "cuda_version": read_cuda,
}
GPU_PARTS: Parts[Query] = {
    "uuid": lambda query: as_text(query("nvmlDeviceGetUUID")),
    "name": lambda query: as_text(query("nvmlDeviceGetName")),
    "serial": lambda query: as_text(query("nvmlDeviceGetSerial")),
    "pci_bus_id": read_bus_id,
    "minor_number": lambda query: query("nvmlDeviceGetMinorNumber"),
    "vbios_version": lambda query: as_text(query("nvmlDeviceGetVbiosVersion")),
    "architecture": lambda query: ARCHITECTURES.get(query("nvmlDeviceGetArchitecture")),
    "compute_capability": read_capability,
    ("memory_total_mib", "memory_used_mib", "memory_free_mib"): read_memory,
    "temperature_celsius": lambda query: query("nvmlDeviceGetTemperature", 0),
    "power_draw_watts": watts("nvmlDeviceGetPowerUsage"),
    "power_limit_watts": watts("nvmlDeviceGetPowerManagementLimit"),
    "power_default_watts": watts("nvmlDeviceGetPowerManagementDefaultLimit"),
    ("power_min_watts", "power_max_watts"): read_constraints,
    "clocks": clock_pair("nvmlDeviceGetClockInfo"),
    "clocks_max": clock_pair("nvmlDeviceGetMaxClockInfo"),
    "application_clocks": clock_pair("nvmlDeviceGetApplicationsClock"),
    "application_clocks_default": clock_pair("nvmlDeviceGetDefaultApplicationsClock"),
    "supported_clocks": read_supported_clocks,
    "persistence_mode": lambda query: as_bool(query("nvmlDeviceGetPersistenceMode")),
    ("ecc_current", "ecc_pending"): read_ecc,
    "ecc_default": lambda query: as_bool(query("nvmlDeviceGetDefaultEccMode")),
    "compute_mode": lambda query: COMPUTE_MODES.get(query("nvmlDeviceGetComputeMode")),
    "virtualization_mode": lambda query: VIRTUALIZATION_MODES.get(query("nvmlDeviceGetVirtualizationMode")),
    "throttle_reasons": read_throttle_reasons,
}
