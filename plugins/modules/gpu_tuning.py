#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that sets persistence, power limit, clocks, ECC and compute mode of NVIDIA GPUs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_tuning
version_added: 1.0.0
short_description: Set persistence mode, power limit, clocks, ECC and compute mode of NVIDIA GPUs
description:
  - Reads every GPU through NVML, compares it with the requested settings, writes those that differ, and reads them
    back.
  - Every chosen GPU is checked before any of them is changed.
  - A setting that a GPU does not support is reported in RV(skipped_settings) and left out, unless O(strict) is true.
  - The same holds for a setting that a GPU rejects or reverts, as GPUs of laptops do with a power limit, and for one
    whose value NVML cannot read. Each of them also causes a warning. The other settings are applied.
  - A failed reading that no setting needs, such as the power draw, only causes a warning.
  - Never reboots. RV(reboot_required) is true when a requested setting needs a reboot.
  - The driver resets everything except ECC when it is unloaded, and so with every reboot.
options:
  gpus:
    description: The GPUs to configure, V(all) or indices and UUIDs as M(digital_twin.robotics_lab.gpu_info) returns
      them.
    type: list
    elements: str
    default: [all]
  persistence_mode:
    description:
      - Whether the driver keeps the GPU initialised while no process uses it.
      - Without it the driver resets power limit, clocks and compute mode as soon as the last process closes the GPU.
    type: bool
  power_limit:
    description:
      - V(max), V(default) or V(min) of the GPU's range, a number of watts such as V(250), or a share of the maximum
        such as V(80%).
    type: raw
  clocks:
    description:
      - V(max) for the highest supported, V(default), or a mapping of C(memory) and C(graphics) in MHz.
      - A clock that is not supported is replaced by the nearest supported one, with a warning.
      - A clock that is left out is set to the highest.
      - Sets application clocks. Where a driver no longer has these, it locks the clocks.
    type: raw
  ecc:
    description: Whether memory errors are corrected, from the next reboot on.
    type: bool
  compute_mode:
    description: Which processes may use a GPU - any (V(default)), only one (V(exclusive_process)), none
      (V(prohibited)).
    type: str
    choices: [default, exclusive_process, prohibited]
  state:
    description:
      - V(present) sets the requested settings, and nothing else.
      - V(default) resets every setting to its value after the driver is loaded, and accepts no other setting.
    type: str
    choices: [present, default]
    default: present
  strict:
    description:
      - Whether to fail, before anything is written, when a GPU does not support a requested setting.
      - Also whether to fail when a GPU rejects or reverts a setting, which is only known after the attempt.
    type: bool
    default: false
requirements:
  - The Python package C(nvidia-ml-py), for the Python that the module runs in.
extends_documentation_fragment: digital_twin.robotics_lab._attributes
notes:
  - Writing needs root. Reading does not.
  - NVML has no getter for locked clocks. The locked clocks are saved in
    C(/run/digital_twin.robotics_lab/gpu_locked_clocks.json) until the driver is loaded again. With persistence mode off
    a GPU loses them earlier, when the last process closes it, which the module cannot detect.
  - Settings that a GPU rejected are saved in the same file. In check mode the module leaves it out, unless O(strict) is
    true; otherwise it tries again.
seealso:
  - module: digital_twin.robotics_lab.gpu_info
  - name: NVML API reference
    description: What each setting means, and which GPUs have it.
    link: https://docs.nvidia.com/deploy/nvml-api/
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Set the highest power limit, and preserve it
  digital_twin.robotics_lab.gpu_tuning:
    persistence_mode: true
    power_limit: max

- name: Limit the power of one GPU, and set its clocks
  digital_twin.robotics_lab.gpu_tuning:
    gpus: [0]
    persistence_mode: true
    power_limit: 80%
    clocks:
      memory: 6251
      graphics: 1500

- name: Disable ECC to get more memory
  digital_twin.robotics_lab.gpu_tuning:
    ecc: false
  register: tuned

- name: Reboot
  ansible.builtin.reboot:
  when: tuned.reboot_required

- name: Reset all settings
  digital_twin.robotics_lab.gpu_tuning:
    state: default
"""

RETURN = r"""
gpus:
  description: The chosen GPUs, each with its C(index), C(uuid), C(name), and the C(settings) that differed, each with
    C(before) and C(after). Power limits are in watts, clocks in MHz, and C(ecc) is the value after a reboot.
  returned: success
  type: list
  elements: dict
  sample:
    - index: 0
      uuid: GPU-6f7a2b1c-0d3e-4f5a-8b9c-1d2e3f4a5b6c
      name: NVIDIA A10G
      settings:
        power_limit_watts:
          before: 300.0
          after: 240.0
skipped_settings:
  description:
    - The requested settings that were left out, each with C(gpu), its index, C(setting) and C(reason) - the GPU does
      not support it, rejected it, reverted it, or its value cannot be read.
  returned: success
  type: list
  elements: dict
  sample:
    - gpu: 0
      setting: ecc
      reason: this GPU has no ECC that can be switched
reboot_required:
  description: Whether ECC of a chosen GPU changes with the next reboot.
  returned: success
  type: bool
  sample: false
problems:
  description: The reasons why the request is refused, each one line. Nothing was written.
  returned: when the request is refused
  type: list
  elements: str
  sample:
    - "GPU 0 (NVIDIA A10G): power_limit 400 W is outside its range. Allowed: 100 to 300 W"
reason_code:
  description: Why NVML cannot be used, as in M(digital_twin.robotics_lab.gpu_info).
  returned: when NVML cannot be used
  type: str
  sample: version_mismatch
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._gpu.apply import TuningError, TuningResult, tune
from ..module_utils._gpu.nvml import NvmlError, NvmlUnavailable, open_nvml
from ..module_utils._gpu.plan import Step
from ..module_utils._gpu.request import COMPUTE_MODES, TuningRequestError, read_request

SETTINGS = ("persistence_mode", "power_limit", "clocks", "ecc", "compute_mode")


def present(outcome: TuningResult) -> dict[str, Any]:
    """Return an outcome as the module's result."""
    return {
        "changed": bool(outcome.steps),
        "gpus": [
            {
                **{key: gpu[key] for key in ("index", "uuid", "name")},
                "settings": {
                    step.setting: {"before": step.before, "after": step.after}
                    for step in outcome.plans[gpu["index"]].steps
                },
            }
            for gpu in outcome.gpus
        ],
        "skipped_settings": [
            {"gpu": index, "setting": setting, "reason": reason}
            for index, plan in outcome.plans.items()
            for setting, reason in plan.skipped.items()
        ],
        "reboot_required": outcome.reboot_required,
        "diff": {side: difference(outcome.steps, side) for side in ("before", "after")},
    }


def difference(steps: list[Step], side: str) -> dict[str, dict[str, Any]]:
    """Return one side of the diff."""
    shown: dict[str, dict[str, Any]] = {}
    for step in steps:
        shown.setdefault(f"gpu{step.gpu}", {})[step.setting] = getattr(step, side)
    return shown


def main() -> None:
    """Read, compare, write."""
    module = AnsibleModule(
        argument_spec={
            "gpus": {"type": "list", "elements": "str", "default": ["all"]},
            "persistence_mode": {"type": "bool"},
            "power_limit": {"type": "raw"},
            "clocks": {"type": "raw"},
            "ecc": {"type": "bool"},
            "compute_mode": {"type": "str", "choices": list(COMPUTE_MODES)},
            "state": {"type": "str", "choices": ["present", "default"], "default": "present"},
            "strict": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    requested = [name for name in SETTINGS if module.params[name] is not None]
    if module.params["state"] == "default" and requested:
        module.fail_json(
            msg=f"state: default resets all settings and cannot be combined with {', '.join(requested)}. "
            "Leave one of them out."
        )
    try:
        wanted = read_request(module.params)
        with open_nvml() as session:
            outcome = tune(
                session, wanted, module.params["gpus"], strict=module.params["strict"], write=not module.check_mode
            )
    except NvmlUnavailable as error:
        module.fail_json(msg=f"NVML cannot be used: {error.message}", reason_code=error.reason)
    except TuningRequestError as error:
        module.fail_json(msg="; ".join(error.problems), problems=error.problems)
    except TuningError as error:
        module.fail_json(msg=str(error), changed=bool(error.done))
    except NvmlError as error:
        module.fail_json(msg=f"{error}. See dmesg, and check whether `nvidia-smi -q` answers")
    for plan in outcome.plans.values():
        for warning in plan.warnings:
            module.warn(warning)
    module.exit_json(**present(outcome))


if __name__ == "__main__":
    main()
