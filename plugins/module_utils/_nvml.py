# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One NVML session: what it says of each GPU, and why there may be none.

Nothing of Ansible is imported here, so that a unit at boot can run the same code. Numbers and names are those of NVML's
API reference; the binding is NVIDIA's own, nvidia-ml-py.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from typing import Any

INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
VERSION_MISMATCH = 18
DEPRECATED = 26
# What a GPU, or its driver, does not have. No failure: the answer is "none".
ABSENT = frozenset({NOT_SUPPORTED, FUNCTION_NOT_FOUND, DEPRECATED})

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
    LIBRARY_NOT_FOUND: ("not_installed", "libnvidia-ml.so.1 is not on this host: install the NVIDIA driver"),
    DRIVER_NOT_LOADED: (
        "not_loaded",
        "the driver's library is installed and its kernel module is not loaded: there is no NVIDIA GPU, or the module "
        "was not built for this kernel, or another driver holds the GPU; see dmesg, then modprobe nvidia or reboot",
    ),
    VERSION_MISMATCH: (
        "version_mismatch",
        "the driver's library was replaced under a loaded kernel module of another version: reboot",
    ),
    NO_PERMISSION: ("no_permission", "this user may not open /dev/nvidiactl: use become"),
}


class NvmlUnavailable(Exception):
    """NVML cannot be used on this host.

    Attributes:
        reason: one word: binding_missing, not_installed, not_loaded, version_mismatch, no_permission or other.
        message: the reason as a sentence that ends with what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class NvmlError(Exception):
    """A call that NVML refused.

    Attributes:
        function: name of the NVML function.
        code: the NVML return code.
        text: NVML's own words for it.
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
            NvmlError: NVML refused, or this version of the library or binding has no such function.
        """
        if not hasattr(self._api, function):
            raise NvmlError(function, FUNCTION_NOT_FOUND, "Function Not Found")
        try:
            return getattr(self._api, function)(*arguments)
        except self._api.NVMLError as error:
            raise NvmlError(function, error.value, str(error)) from None
        except TypeError:
            # An older binding, whose function of that name takes less.
            raise NvmlError(function, FUNCTION_NOT_FOUND, "Function Not Found") from None

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of NVML; return None where the GPU or the driver has no such thing.

        Raises:
            NvmlError: NVML refused for any other reason.
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
    """Return why NVML cannot be used without its binding: as with it, a driver that does not work comes first."""
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
        f"the Python package nvidia-ml-py is not installed for {sys.executable}: install it there, or point "
        "ansible_python_interpreter at an interpreter that has it",
    )


def unavailable(code: int, text: str) -> NvmlUnavailable:
    """Return why NVML could not be initialised."""
    reason, message = UNAVAILABLE.get(code, ("other", "see dmesg and the driver's installation"))
    return NvmlUnavailable(reason, f"{text} (NVML error {code}): {message}")


def read_driver(session: Session) -> dict[str, str | None]:
    """Return the versions of driver, NVML and CUDA; CUDA's is the newest that the driver supports."""
    cuda = session.ask("nvmlSystemGetCudaDriverVersion_v2")
    return {
        "driver_version": as_text(session.ask("nvmlSystemGetDriverVersion")),
        "nvml_version": as_text(session.ask("nvmlSystemGetNVMLVersion")),
        "cuda_version": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
    }


def read_gpus(session: Session) -> list[dict[str, Any]]:
    """Return what NVML says of every GPU, in the order of their indices."""
    return [read_gpu(session, index) for index in range(session.call("nvmlDeviceGetCount"))]


def read_gpu(session: Session, index: int) -> dict[str, Any]:
    """Return what NVML says of one GPU; a key that the GPU has no answer to is None.

    A GPU that has fallen off the bus still has its index, and the key ``error`` says what NVML said.
    """
    try:
        handle = session.call("nvmlDeviceGetHandleByIndex", index)
        return {
            "index": index,
            "error": None,
            **read_identity(session, handle),
            **read_memory(session, handle),
            **read_power(session, handle),
            **read_clocks(session, handle),
            **read_modes(session, handle),
        }
    except NvmlError as error:
        return {"index": index, "error": str(error)}


def read_identity(session: Session, handle: Any) -> dict[str, Any]:
    """Return which GPU it is."""
    pci = session.ask("nvmlDeviceGetPciInfo", handle)
    capability = session.ask("nvmlDeviceGetCudaComputeCapability", handle)
    return {
        "uuid": as_text(session.call("nvmlDeviceGetUUID", handle)),
        "name": as_text(session.call("nvmlDeviceGetName", handle)),
        "serial": as_text(session.ask("nvmlDeviceGetSerial", handle)),
        "pci_bus_id": None if pci is None else as_text(pci.busId),
        "minor_number": session.ask("nvmlDeviceGetMinorNumber", handle),
        "vbios_version": as_text(session.ask("nvmlDeviceGetVbiosVersion", handle)),
        "architecture": ARCHITECTURES.get(session.ask("nvmlDeviceGetArchitecture", handle)),
        "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
    }


def read_memory(session: Session, handle: Any) -> dict[str, Any]:
    """Return the frame buffer's size and use in MiB, and the GPU's temperature in degrees Celsius."""
    memory = read_memory_info(session, handle)
    amounts = {name: None if memory is None else getattr(memory, name) // 2**20 for name in ("total", "used", "free")}
    return {
        **{f"memory_{name}_mib": amount for name, amount in amounts.items()},
        "temperature_celsius": session.ask("nvmlDeviceGetTemperature", handle, 0),
    }


def read_memory_info(session: Session, handle: Any) -> Any:
    """Return the frame buffer's ``total``, ``used`` and ``free`` bytes as nvidia-smi has them.

    What the driver keeps for itself is neither used nor free. Drivers before 510 cannot tell it from what is used.
    """
    memory = session.ask("nvmlDeviceGetMemoryInfo", handle, MEMORY_INFO_2)
    return session.ask("nvmlDeviceGetMemoryInfo", handle) if memory is None else memory


def read_power(session: Session, handle: Any) -> dict[str, Any]:
    """Return power draw, limit and the limit's constraints in watts; NVML counts in milliwatts."""
    constraints = session.ask("nvmlDeviceGetPowerManagementLimitConstraints", handle) or (None, None)
    milliwatts = {
        "draw": session.ask("nvmlDeviceGetPowerUsage", handle),
        "limit": session.ask("nvmlDeviceGetPowerManagementLimit", handle),
        "default": session.ask("nvmlDeviceGetPowerManagementDefaultLimit", handle),
        "min": constraints[0],
        "max": constraints[1],
    }
    return {f"power_{name}_watts": None if value is None else value / 1000 for name, value in milliwatts.items()}


def read_clocks(session: Session, handle: Any) -> dict[str, Any]:
    """Return the clocks in MHz: as they are, as they can be, and as applications were given them."""

    def pair(function: str) -> dict[str, int] | None:
        graphics, memory = (session.ask(function, handle, kind) for kind in (GRAPHICS, MEMORY))
        return None if graphics is None or memory is None else {"graphics_mhz": graphics, "memory_mhz": memory}

    memory_clocks = session.ask("nvmlDeviceGetSupportedMemoryClocks", handle)
    return {
        "clocks": pair("nvmlDeviceGetClockInfo"),
        "clocks_max": pair("nvmlDeviceGetMaxClockInfo"),
        "application_clocks": pair("nvmlDeviceGetApplicationsClock"),
        "application_clocks_default": pair("nvmlDeviceGetDefaultApplicationsClock"),
        "supported_clocks": [
            {
                "memory_mhz": memory,
                "graphics_mhz": sorted(session.ask("nvmlDeviceGetSupportedGraphicsClocks", handle, memory) or []),
            }
            for memory in sorted(memory_clocks or [])
        ],
    }


def read_modes(session: Session, handle: Any) -> dict[str, Any]:
    """Return the modes a GPU is in, and what slows it down."""
    ecc = session.ask("nvmlDeviceGetEccMode", handle) or (None, None)
    return {
        "persistence_mode": as_bool(session.ask("nvmlDeviceGetPersistenceMode", handle)),
        "ecc_current": as_bool(ecc[0]),
        "ecc_pending": as_bool(ecc[1]),
        "ecc_default": as_bool(session.ask("nvmlDeviceGetDefaultEccMode", handle)),
        "compute_mode": COMPUTE_MODES.get(session.ask("nvmlDeviceGetComputeMode", handle)),
        "virtualization_mode": VIRTUALIZATION_MODES.get(session.ask("nvmlDeviceGetVirtualizationMode", handle)),
        "throttle_reasons": read_throttle_reasons(session, handle),
    }


def read_throttle_reasons(session: Session, handle: Any) -> list[str] | None:
    """Return what keeps the clocks from being higher, as values of ``THROTTLE_REASONS``."""
    reasons = session.ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:
        reasons = session.ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if reasons is None else [name for bit, name in THROTTLE_REASONS.items() if reasons & bit]


def as_text(value: Any) -> str | None:
    """Return a text; older versions of the binding answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value


def as_bool(value: int | None) -> bool | None:
    """Return NVML's enabled and disabled as true and false."""
    return None if value is None else bool(value)
