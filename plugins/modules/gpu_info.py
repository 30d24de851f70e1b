#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that returns what NVML reports about a host's GPUs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
version_added: 1.0.0
short_description: Get information about NVIDIA GPUs
description:
  - Reads identity, driver, memory, power, clocks and modes of every NVIDIA GPU through NVML, the library that
    C(nvidia-smi) uses as well.
  - Does not fail when NVML cannot be used. RV(available) is then false, and RV(reason) is set.
  - A single failed reading of a GPU is null, and RV(gpus[].failed_readings) has the error.
  - Does not list processes, because that would delay a GPU that is rendering.
requirements:
  - The Python package C(nvidia-ml-py), for the Python that the module runs in.
extends_documentation_fragment: digital_twin.robotics_lab._attributes.info
seealso:
  - module: digital_twin.robotics_lab.gpu_tuning
  - name: NVML API reference
    description: What each value means.
    link: https://docs.nvidia.com/deploy/nvml-api/
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the GPUs
  digital_twin.robotics_lab.gpu_info:
  register: nvml

- name: Check that the host has a GPU
  ansible.builtin.assert:
    that: nvml.gpus | length > 0
    fail_msg: "{{ nvml.reason or 'NVML works and finds no GPU' }}"

- name: Get the GPUs with a Python that has nvidia-ml-py
  digital_twin.robotics_lab.gpu_info:
  vars:
    ansible_python_interpreter: /opt/nvml/bin/python
"""

RETURN = r"""
available:
  description: Whether NVML can be used on this host.
  returned: always
  type: bool
  sample: true
reason:
  description: Why NVML cannot be used, with the remedy. Empty when it can be used.
  returned: always
  type: str
  sample: ""
reason_code:
  description:
    - The reason as one word - V(binding_missing), V(not_installed), V(not_loaded), V(version_mismatch),
      V(no_permission) or V(other). Empty when NVML can be used.
  returned: always
  type: str
  sample: ""
driver_version:
  description: Version of the driver.
  returned: when NVML can be used
  type: str
  sample: 580.95.05
nvml_version:
  description: Version of NVML.
  returned: when NVML can be used
  type: str
  sample: 13.580.95.05
cuda_version:
  description: The newest CUDA that the driver supports.
  returned: when NVML can be used
  type: str
  sample: "13.0"
failed_readings:
  description: The error of each of these three versions that could not be read, by its name.
  returned: when NVML can be used
  type: dict
  sample: {}
gpus:
  description: The GPUs, in the order of their indices. A value is null if the GPU or its driver does not support it, or
    if it could not be read.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: NVML's index. It can change with a reboot, unlike RV(gpus[].uuid).
      type: int
      sample: 0
    error:
      description: The error of a GPU that does not answer, such as one that has fallen off the bus. The other keys
        are then missing.
      type: str
      sample: null
    failed_readings:
      description:
        - The error of each reading that failed, by its key. A failed reading is null. So is a reading that the GPU does
          not support, which is not listed here.
      type: dict
      sample: {power_draw_watts: "Unknown Error (nvmlDeviceGetPowerUsage, NVML error 999)"}
    uuid:
      description: Its UUID.
      type: str
      sample: GPU-6f7a2b1c-0d3e-4f5a-8b9c-1d2e3f4a5b6c
    name:
      description: Its name.
      type: str
      sample: NVIDIA A10G
    serial:
      description: The board's serial number.
      type: str
      sample: "1650522003455"
    pci_bus_id:
      description: Its PCI address.
      type: str
      sample: 00000000:00:1E.0
    minor_number:
      description: The number in its device node, C(/dev/nvidia<minor>).
      type: int
      sample: 0
    vbios_version:
      description: Version of its firmware.
      type: str
      sample: 94.02.75.00.01
    architecture:
      description: Its architecture.
      type: str
      sample: Ampere
    compute_capability:
      description: Its CUDA compute capability.
      type: str
      sample: "8.6"
    memory_total_mib:
      description: Size of the frame buffer in MiB. Null for a GPU that shares the host's memory.
      type: int
      sample: 23028
    memory_used_mib:
      description: Frame buffer in use in MiB, without the memory reserved by the driver. Drivers before 510 include it.
      type: int
      sample: 0
    memory_free_mib:
      description: Frame buffer that is free in MiB.
      type: int
      sample: 22516
    temperature_celsius:
      description: Temperature of the GPU in degrees Celsius.
      type: int
      sample: 41
    power_draw_watts:
      description: Power draw in watts.
      type: float
      sample: 58.2
    power_limit_watts:
      description: The current power limit, in watts.
      type: float
      sample: 300.0
    power_default_watts:
      description: The power limit after the driver is loaded, in watts.
      type: float
      sample: 300.0
    power_min_watts:
      description: The lowest power limit that it accepts, in watts.
      type: float
      sample: 100.0
    power_max_watts:
      description: The highest power limit that it accepts, in watts.
      type: float
      sample: 300.0
    clocks:
      description: The current clocks, C(graphics_mhz) and C(memory_mhz).
      type: dict
      sample: {graphics_mhz: 1710, memory_mhz: 6251}
    clocks_max:
      description: The highest clocks, C(graphics_mhz) and C(memory_mhz).
      type: dict
      sample: {graphics_mhz: 1710, memory_mhz: 6251}
    application_clocks:
      description: The application clocks, C(graphics_mhz) and C(memory_mhz). Newer drivers have none.
      type: dict
      sample: {graphics_mhz: 1710, memory_mhz: 6251}
    application_clocks_default:
      description: The application clocks after the driver is loaded.
      type: dict
      sample: {graphics_mhz: 1320, memory_mhz: 6251}
    supported_clocks:
      description: The memory clocks in MHz, ascending, each with its graphics clocks in MHz, ascending.
      type: list
      elements: dict
      sample: [{memory_mhz: 405, graphics_mhz: [210, 225]}, {memory_mhz: 6251, graphics_mhz: [210, 225]}]
    persistence_mode:
      description: Whether the driver stays loaded while no process uses the GPU.
      type: bool
      sample: true
    ecc_current:
      description: Whether ECC is enabled.
      type: bool
      sample: true
    ecc_pending:
      description: Whether ECC is enabled after the next reboot.
      type: bool
      sample: true
    ecc_default:
      description: Whether ECC is enabled by default.
      type: bool
      sample: true
    compute_mode:
      description: Its compute mode, one of V(default), V(exclusive_process), V(prohibited).
      type: str
      sample: default
    virtualization_mode:
      description: One of V(none), V(passthrough), V(vgpu), V(host_vgpu), V(host_vsga).
      type: str
      sample: passthrough
    throttle_reasons:
      description: What limits the clocks, such as V(sw_power_cap) or V(hw_thermal_slowdown).
      type: list
      elements: str
      sample: [gpu_idle]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._gpu.nvml import NvmlError, NvmlUnavailable, open_nvml
from ..module_utils._gpu.read import read_driver, read_gpus


def read_host() -> dict[str, Any]:
    """Return what the module returns."""
    try:
        with open_nvml() as session:
            return {
                "available": True,
                "reason": "",
                "reason_code": "",
                **read_driver(session),
                "gpus": read_gpus(session),
            }
    except NvmlUnavailable as error:
        return {"available": False, "reason": error.message, "reason_code": error.reason, "gpus": []}
    except NvmlError as error:
        return {"available": False, "reason": f"{error}: see dmesg", "reason_code": "other", "gpus": []}


def main() -> None:
    """Read."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, **read_host())


if __name__ == "__main__":
    main()
