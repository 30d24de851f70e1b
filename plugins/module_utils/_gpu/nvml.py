# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One NVML session: the readings of each GPU, and why NVML may be unavailable.

Nothing of Ansible is imported here, so that a unit at boot can run the same code. Numbers and names are those of NVML's
API reference; the binding is NVIDIA's own, nvidia-ml-py.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VERSION_MISMATCH = 18
ARGUMENT_VERSION_MISMATCH = 25
DEPRECATED = 26
GPU_NOT_FOUND = 28
# Not supported by the GPU or its driver. This is not a failure: the reading is None.
ABSENT = frozenset({NOT_SUPPORTED, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH, DEPRECATED})
# The GPU, or its driver, is gone. Any other code concerns only the call that returned it.
GONE = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, GPU_IS_LOST, VERSION_MISMATCH, GPU_NOT_FOUND})

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

UNAVAILABLE = {
    LIBRARY_NOT_FOUND: ("not_installed", "libnvidia-ml.so.1 is not on this host. Install the NVIDIA driver"),
    DRIVER_NOT_LOADED: (
        "not_loaded",
        "the driver's library is installed and its kernel module is not loaded: there is no NVIDIA GPU, or the module "
        "was not built for this kernel, or another driver uses the GPU. See dmesg, then run `modprobe nvidia` or "
        "reboot",
    ),
    VERSION_MISMATCH: (
        "version_mismatch",
        "the driver's library was replaced while a kernel module of another version is loaded. Reboot this host",
    ),
    NO_PERMISSION: ("no_permission", "this user may not open /dev/nvidiactl. Use become"),
}


class NvmlUnavailable(Exception):
    """NVML cannot be used on this host.

    Attributes:
        reason: one word: binding_missing, not_installed, not_loaded, version_mismatch, no_permission or other.
        message: the reason as a sentence that ends with the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class NvmlError(Exception):
    """A call that failed in NVML.

    Attributes:
        function: name of the NVML function.
        code: the NVML return code.
        text: NVML's text for it.
    """

    def __init__(self, function: str, code: int, text: str) -> None:
        super().__init__(f"{text} ({function}, NVML error {code})")
        self.function = function
        self.code = code
        self.text = text


class Session:
    """An initialised NVML.

    Args:
        api: the module pynvml.
    """

    def __init__(self, api: Any) -> None:
        self._api = api

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of NVML by its name.

        Raises:
            NvmlError: the call failed, or this version of the library or binding has no such function.
        """
        if not hasattr(self._api, function):
            raise NvmlError(function, FUNCTION_NOT_FOUND, "Function Not Found")
        try:
            return getattr(self._api, function)(*arguments)
        except self._api.NVMLError as error:
            raise NvmlError(function, error.value, str(error)) from None
        except TypeError:
            # An older binding, whose function takes fewer arguments.
            raise NvmlError(function, FUNCTION_NOT_FOUND, "Function Not Found") from None

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of NVML; return None where the GPU or the driver does not support it.

        Raises:
            NvmlError: the call failed for any other reason.
        """
        try:
            return self.call(function, *arguments)
        except NvmlError as error:
            if error.code in ABSENT:
                return None
            raise


@contextlib.contextmanager
def nvml_session() -> Iterator[Session]:
    """Open NVML and close it again.

    Raises:
        NvmlUnavailable: it cannot be used here.
    """
    try:
        api = importlib.import_module("pynvml")
    except ImportError:
        raise without_binding() from None
    try:
        api.nvmlInit()
    except api.NVMLError as error:
        raise unavailable(error.value, str(error)) from None
    try:
        yield Session(api)
    finally:
        with contextlib.suppress(api.NVMLError):
            api.nvmlShutdown()


def without_binding() -> NvmlUnavailable:
    """Return why NVML cannot be used without its binding: a driver that does not work is reported first."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return unavailable(LIBRARY_NOT_FOUND, "NVML Shared Library Not Found")
    code = library.nvmlInit_v2()
    if code != 0:
        library.nvmlErrorString.restype = ctypes.c_char_p
        return unavailable(code, library.nvmlErrorString(code).decode())
    library.nvmlShutdown()
    return NvmlUnavailable(
        "binding_missing",
        f"the Python package nvidia-ml-py is not installed for {sys.executable}. Install it there, or point "
        "ansible_python_interpreter at an interpreter that has it",
    )


def unavailable(code: int, text: str) -> NvmlUnavailable:
    """Return why NVML could not be initialised."""
    reason, message = UNAVAILABLE.get(code, ("other", "see dmesg and the driver's installation"))
    return NvmlUnavailable(reason, f"{text} (NVML error {code}): {message}")


Source = TypeVar("Source")
Parts = Mapping[tuple[str, ...], Callable[[Source], tuple[Any, ...]]]
# Calls a function of NVML for one GPU, or for the system, as ``Session.ask`` does.
Ask = Callable[..., Any]


def read_parts(parts: Parts[Source], source: Source) -> tuple[dict[str, Any], dict[str, NvmlError]]:
    """Return the value of each reading, and the error of each reading that failed; its value is None.

    Args:
        parts: functions that read ``source``, by the names of the values that each returns.

    Raises:
        NvmlError: the GPU or its driver is gone.
    """
    values: dict[str, Any] = {}
    failed: dict[str, NvmlError] = {}
    for names, read in parts.items():
        try:
            values.update(zip(names, read(source), strict=True))
        except NvmlError as error:
            if error.code in GONE:
                raise
            values.update(dict.fromkeys(names))
            failed.update(dict.fromkeys(names, error))
    return values, failed


def read_driver(session: Session) -> dict[str, Any]:
    """Return the versions of driver, NVML and CUDA; CUDA's is the newest that the driver supports."""
    values, failed = read_parts(DRIVER_PARTS, session.ask)
    return {**values, "failed_readings": texts(failed)}


def read_gpus(session: Session) -> list[dict[str, Any]]:
    """Return the readings of every GPU, in the order of their indices."""
    return [read_gpu(session, index) for index in range(session.call("nvmlDeviceGetCount"))]


def read_gpu(session: Session, index: int) -> dict[str, Any]:
    """Return the readings of one GPU; a reading that the GPU does not support, or that failed, is None.

    ``failed_readings`` has the error of each one that failed. A GPU that is gone, or does not answer, still has its
    index, and ``error`` is set.
    """
    try:
        handle = session.call("nvmlDeviceGetHandleByIndex", index)
        values, failed = read_parts(GPU_PARTS, lambda function, *arguments: session.ask(function, handle, *arguments))
    except NvmlError as error:
        return {"index": index, "error": str(error)}
    if failed and not any(value not in (None, []) for value in values.values()):
        return {"index": index, "error": str(next(iter(failed.values())))}
    return {"index": index, "error": None, **values, "failed_readings": texts(failed)}


def texts(failed: dict[str, NvmlError]) -> dict[str, str]:
    """Return errors as texts."""
    return {name: str(error) for name, error in failed.items()}


def read_cuda(ask: Ask) -> tuple[str | None]:
    """Return the version of CUDA, which NVML gives times 1000."""
    version = ask("nvmlSystemGetCudaDriverVersion_v2")
    return (None if version is None else f"{version // 1000}.{version % 1000 // 10}",)


def read_bus_id(ask: Ask) -> tuple[str | None]:
    """Return the address on the PCI bus."""
    pci = ask("nvmlDeviceGetPciInfo")
    return (None if pci is None else as_text(pci.busId),)


def read_capability(ask: Ask) -> tuple[str | None]:
    """Return the CUDA compute capability."""
    capability = ask("nvmlDeviceGetCudaComputeCapability")
    return (None if capability is None else f"{capability[0]}.{capability[1]}",)


def read_memory(ask: Ask) -> tuple[int | None, ...]:
    """Return the frame buffer's size, use and rest in MiB."""
    memory = read_memory_info(ask)
    return tuple(None if memory is None else getattr(memory, name) // 2**20 for name in ("total", "used", "free"))


def read_memory_info(ask: Ask) -> Any:
    """Return the frame buffer's ``total``, ``used`` and ``free`` bytes; None for a GPU that shares the host's memory.

    They are those of nvidia-smi: memory reserved by the driver is neither used nor free. Drivers before 510 count it
    as used.
    """
    memory = ask("nvmlDeviceGetMemoryInfo", MEMORY_INFO_2) or ask("nvmlDeviceGetMemoryInfo")
    return memory if memory is not None and memory.total else None


def watts(function: str) -> Callable[[Ask], tuple[float | None]]:
    """Return a reader of what NVML counts in milliwatts."""

    def read(ask: Ask) -> tuple[float | None]:
        value = ask(function)
        return (None if value is None else value / 1000,)

    return read


def read_constraints(ask: Ask) -> tuple[float | None, ...]:
    """Return the lowest and the highest power limit in watts."""
    values = ask("nvmlDeviceGetPowerManagementLimitConstraints") or (None, None)
    return tuple(None if value is None else value / 1000 for value in values)


def clock_pair(function: str) -> Callable[[Ask], tuple[dict[str, int] | None]]:
    """Return a reader of a graphics and a memory clock in MHz."""

    def read(ask: Ask) -> tuple[dict[str, int] | None]:
        graphics, memory = (ask(function, kind) for kind in (GRAPHICS, MEMORY))
        return (None if graphics is None or memory is None else {"graphics_mhz": graphics, "memory_mhz": memory},)

    return read


def read_supported_clocks(ask: Ask) -> tuple[list[dict[str, Any]]]:
    """Return the memory clocks in MHz, each with its graphics clocks, all ascending."""
    rows = [
        {"memory_mhz": memory, "graphics_mhz": sorted(ask("nvmlDeviceGetSupportedGraphicsClocks", memory) or [])}
        for memory in sorted(ask("nvmlDeviceGetSupportedMemoryClocks") or [])
    ]
    return ([row for row in rows if row["graphics_mhz"]],)


def read_ecc(ask: Ask) -> tuple[bool | None, ...]:
    """Return whether ECC is enabled now, and after the next reboot."""
    return tuple(as_bool(mode) for mode in ask("nvmlDeviceGetEccMode") or (None, None))


def read_throttle_reasons(ask: Ask) -> list[str] | None:
    """Return what limits the clocks, as values of ``THROTTLE_REASONS``."""
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return None if reasons is None else [name for bit, name in THROTTLE_REASONS.items() if reasons & bit]


def as_text(value: Any) -> str | None:
    """Return a text; older versions of the binding return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def as_bool(value: int | None) -> bool | None:
    """Return NVML's enabled and disabled as true and false."""
    return None if value is None else bool(value)


DRIVER_PARTS: Parts[Ask] = {
    ("driver_version",): lambda ask: (as_text(ask("nvmlSystemGetDriverVersion")),),
    ("nvml_version",): lambda ask: (as_text(ask("nvmlSystemGetNVMLVersion")),),
    ("cuda_version",): read_cuda,
}
# What one call to NVML answers together.
GPU_PARTS: Parts[Ask] = {
    ("uuid",): lambda ask: (as_text(ask("nvmlDeviceGetUUID")),),
    ("name",): lambda ask: (as_text(ask("nvmlDeviceGetName")),),
    ("serial",): lambda ask: (as_text(ask("nvmlDeviceGetSerial")),),
    ("pci_bus_id",): read_bus_id,
    ("minor_number",): lambda ask: (ask("nvmlDeviceGetMinorNumber"),),
    ("vbios_version",): lambda ask: (as_text(ask("nvmlDeviceGetVbiosVersion")),),
    ("architecture",): lambda ask: (ARCHITECTURES.get(ask("nvmlDeviceGetArchitecture")),),
    ("compute_capability",): read_capability,
    ("memory_total_mib", "memory_used_mib", "memory_free_mib"): read_memory,
    ("temperature_celsius",): lambda ask: (ask("nvmlDeviceGetTemperature", 0),),
    ("power_draw_watts",): watts("nvmlDeviceGetPowerUsage"),
    ("power_limit_watts",): watts("nvmlDeviceGetPowerManagementLimit"),
    ("power_default_watts",): watts("nvmlDeviceGetPowerManagementDefaultLimit"),
    ("power_min_watts", "power_max_watts"): read_constraints,
    ("clocks",): clock_pair("nvmlDeviceGetClockInfo"),
    ("clocks_max",): clock_pair("nvmlDeviceGetMaxClockInfo"),
    ("application_clocks",): clock_pair("nvmlDeviceGetApplicationsClock"),
    ("application_clocks_default",): clock_pair("nvmlDeviceGetDefaultApplicationsClock"),
    ("supported_clocks",): read_supported_clocks,
    ("persistence_mode",): lambda ask: (as_bool(ask("nvmlDeviceGetPersistenceMode")),),
    ("ecc_current", "ecc_pending"): read_ecc,
    ("ecc_default",): lambda ask: (as_bool(ask("nvmlDeviceGetDefaultEccMode")),),
    ("compute_mode",): lambda ask: (COMPUTE_MODES.get(ask("nvmlDeviceGetComputeMode")),),
    ("virtualization_mode",): lambda ask: (VIRTUALIZATION_MODES.get(ask("nvmlDeviceGetVirtualizationMode")),),
    ("throttle_reasons",): lambda ask: (read_throttle_reasons(ask),),
}
