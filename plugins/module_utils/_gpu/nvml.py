# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens NVML and calls its functions, or explains why it cannot be used.

read.py reads GPUs with it, and write.py writes to them. Nothing of Ansible is imported in this folder, so that a unit
at boot can run the same code. The binding is NVIDIA's own, nvidia-ml-py.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from typing import Any

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


class NvmlSession:
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

    def call_optional(self, function: str, *arguments: Any) -> Any:
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
def open_nvml() -> Iterator[NvmlSession]:
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
        yield NvmlSession(api)
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
