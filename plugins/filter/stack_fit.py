# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_fit."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_fit
short_description: Check whether a profile of the stack fits a machine
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares the needs of a profile's services with a machine. Contacts nothing, changes nothing.
  - The needs are those in C(compose/versions.yml) - of the AWS deployment guide of the Digital Twin Robotics Lab, or
    NVIDIA's where they are higher. They were not measured. A machine that has the minimum but not enough to run well is
    tight.
  - Of the language models that the collection knows, the largest is chosen that fits into the GPU beside the other
    services. A machine on which none fits is refused.
  - Isaac Sim is refused on a GPU without RT cores, the speech and language models on a GPU that is too old for them.
  - On a machine with several GPUs, each service has one of them, as RV(_value.gpu_devices) shows, and each GPU is
    compared with the services that it runs. No service uses several.
positional: machine
options:
  _input:
    description: The profile - V(sim), V(nav), V(voice) or V(full).
    type: str
    required: true
  machine:
    description: The machine. Missing values are taken from its type, which must then be a known one.
    type: dict
    required: true
    suboptions:
      name:
        description: Its name in messages; by default O(machine.instance_type) or V(this machine).
        type: str
      instance_type:
        description: Its type. All of the families g4dn, g5, g6, g6e, g7 and g7e, and V(p3.2xlarge), are known.
        type: str
      gpu:
        description: The model of its GPU, such as V(A10G) or V(Tesla V100-SXM2-16GB); empty when there is none.
        type: str
      vram_mib:
        description:
          - Memory of one GPU, in MiB; of a known type no more than its driver leaves.
          - None, or what C(nvidia-smi) prints instead of a number, such as V([N/A]), for a GPU that does not
            report it. V(0) means the same where O(machine.gpu) names a GPU. Such a GPU is never too small.
        type: int
      gpu_count:
        description: Number of its GPUs, which are all alike; V(1) by default, or that of its type.
        type: int
      nvidia_smi:
        description:
          - What C(nvidia-smi --query-gpu=name,memory.total --format=csv,noheader) prints, instead of O(machine.gpu),
            O(machine.gpu_count) and O(machine.vram_mib); empty without a GPU.
        type: str
      ram_mib:
        description: Memory of the machine, in MiB.
        type: int
      disk_gib:
        description: Size of the disk that holds the images, in GiB; left out of the answer when it is not given.
        type: int
      rt_cores:
        description: Whether the GPU has RT cores; derived from its model when it is not given.
        type: bool
  model:
    description:
      - The language model. When empty, the largest that fits.
      - The name of a known one, such as V(llama-3.1-8b-instruct), or V(own) for one that is not known. Its needs are
        then not checked, and the guide's figure is used.
    type: str
    default: ''
  nim_max_model_len:
    description: The context that the language model must have, in tokens. None for the largest that fits.
    type: int
  nim_gpu_fraction:
    description:
      - How much of its GPU NIM takes, between 0 and 1. None for what the other services leave.
      - The language model must fit into it. What it leaves for the other services is not checked.
    type: float
  shm_mib:
    description: How much shared memory containers should get, in MiB.
    type: int
    default: 16384
"""

EXAMPLES = r"""
- name: Refuse an instance that is too small, before it is paid for
  ansible.builtin.assert:
    that: fit.answer != 'does not fit'
    fail_msg: "{{ fit.message }}"
  vars:
    fit: "{{ 'full' | digital_twin.robotics_lab.stack_fit({'instance_type': 'g4dn.xlarge', 'disk_gib': 200}) }}"

- name: Look at the machine itself
  ansible.builtin.debug:
    msg: "{{ 'nav' | digital_twin.robotics_lab.stack_fit(machine) }}"
  vars:
    machine:
      nvidia_smi: "{{ gpus.stdout }}"
      ram_mib: "{{ ansible_facts['memtotal_mb'] }}"
"""

RETURN = r"""
_value:
  description: Whether the profile runs on the machine.
  type: dict
  contains:
    answer:
      description: V(fits), V(tight) or V(does not fit).
      type: str
      sample: tight
    message:
      description: Why it is tight or does not fit, in one line; empty when it fits.
      type: str
      sample: >-
        Profile full does not fit on g5.xlarge: 16384 MiB of memory, 4493 less than the 20877 it requires (NVIDIA
        requires 32 GB for Isaac Sim, the guide counts 4 to 6). The cheapest known instance type that does is
        g6.2xlarge, 0.978 US dollars an hour in us-east-1.
    vram_message:
      description: >-
        That the memory of the GPU is not known, in one line; empty when it is, or when the profile needs none. The
        answer then leaves it out.
      type: str
      sample: >-
        NVIDIA GB10 of this machine does not report its memory, so it is not known whether it has the 22887 MiB that
        profile full takes to run well.
    lacks:
      description: The same reasons, one item for each.
      type: list
      elements: dict
      contains:
        kind:
          description: V(vram), V(ram), V(disk), V(rt_cores), V(compute) or V(model).
          type: str
          sample: vram
        fatal:
          description: Whether it is below the minimum.
          type: bool
          sample: false
        text:
          description: One line.
          type: str
          sample: 1688 MiB of GPU memory less than the 24575 it takes to run well
    cheapest:
      description: The cheapest known instance type on which it runs; empty when it runs here.
      type: str
      sample: g6.2xlarge
    services:
      description: The services of the profile.
      type: list
      elements: str
      sample: [redis, cognitive, ros2, foxglove]
    services_disk_gib:
      description: Minimum disk space of the image, the models and the caches of each service, in GiB.
      type: dict
      sample: {redis: 0, cognitive: 0, ros2: 5, foxglove: 0}
    needs:
      description: The needs of the profile, including the system itself, each as a minimum and to run well.
      type: dict
      sample:
        vram_mib: [15258, 22887]
        ram_mib: [20877, 30517]
        disk_gib: [100, 200]
        rt_cores: true
        compute_capability: 8.0
    driver_minimum:
      description: The oldest version of NVIDIA's driver that all of its services run with; empty when none uses a GPU.
      type: str
      sample: "580.95.05"
    model:
      description:
        - The language model, with C(name), C(served_name), C(image) (the entry of C(compose/versions.yml) that serves
          it), C(path) (where it is downloaded from, or empty), C(precision) and C(licence).
        - Empty without NIM, where no model fits, and with V(own).
      type: dict
      sample:
        name: llama-3.1-8b-instruct-awq
        served_name: meta/llama-3.1-8b-instruct
        image: nim_model_free
        path: hf://hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4
        precision: int4
        licence: Llama 3.1 Community License
    nim_max_model_len:
      description: The model's context in tokens; V(0) where there is no RV(_value.model).
      type: int
      sample: 2048
    nim_max_num_seqs:
      description: How many requests it works on at once; V(0) where there is no RV(_value.model).
      type: int
      sample: 1
    nim_gpu_fraction:
      description:
        - How much of its GPU NIM may take, between 0 and 1, in addition to the other services of that GPU; V(0) without
          NIM or GPU, or where the GPU's memory is not known.
      type: float
      sample: 0.34
    gpu_devices:
      description:
        - The GPU of each service that uses one, as in the CDI device C(nvidia.com/gpu=...) - V(all) on a machine with
          one GPU, which they share, and its number on a machine with several.
        - Isaac Sim gets the first, the language model the second, and the speech recogniser the third, or of two the
          first. Those that the profile does not have are left out, so with V(voice) the language model gets the first.
      type: dict
      sample: {isaac_sim: "0", nim: "1", riva: "0"}
    arithmetic:
      description: How the memory of GPUs and machine is divided, one line for each.
      type: list
      elements: str
      sample:
        - "GPU memory: 7548 nim + 3585 riva + 10986 isaac_sim = 22119 of 22201 MiB that CUDA offers of 22888"
    shm_mib:
      description: Shared memory of the containers, in MiB - as asked for, but at most half of the machine's memory.
      type: int
      sample: 8192
    shm_message:
      description: Why that is less than asked for, in one line; empty when it is not.
      type: str
      sample: "Shared memory is 8192 MiB instead of 16384: half of the machine's 16384 MiB of memory."
"""

import re
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils._stack.assignment import devices
from ..plugin_utils._stack.fit import fit, read_gpus, reported_mib, shared_memory
from ..plugin_utils._stack.machines import Card, Machine, known_kinds
from ..plugin_utils._stack.models import Model, Wish
from ..plugin_utils._stack.needs import SHARED_MEMORY, CapacityError, components, services

NAMES = ("name", "instance_type", "gpu", "gpu_count", "vram_mib", "nvidia_smi", "ram_mib", "disk_gib", "rt_cores")
# What a program prints instead of a number that the hardware does not report.
UNREPORTED = re.compile(r"(\[.*\]|N/?A|Not Supported|Unknown Error)?", re.IGNORECASE)


def stack_fit(
    profile: str,
    machine: dict[str, Any],
    shm_mib: int = SHARED_MEMORY,
    model: str = "",
    *,
    nim_max_model_len: int | None = None,
    nim_gpu_fraction: float | None = None,
) -> dict[str, Any]:
    """Return whether a profile runs on a machine."""
    try:
        found = fit(profile, read_machine(machine), read_wish(model, nim_max_model_len, nim_gpu_fraction))
        shm, shm_message = shared_memory(found.machine.ram, int(shm_mib))
        served = found.serving
        return {
            "answer": found.answer,
            "message": found.message,
            "vram_message": found.vram_message,
            "lacks": [{"kind": lack.kind, "fatal": lack.fatal, "text": lack.text} for lack in found.lacks],
            "cheapest": found.cheapest,
            "services": list(components(profile)),
            "services_disk_gib": {name: services()[name].disk[0] for name in components(profile)},
            "needs": {
                "vram_mib": list(found.need.vram),
                "ram_mib": list(found.need.ram),
                "disk_gib": list(found.need.disk),
                "rt_cores": found.need.rt_cores,
                "compute_capability": found.need.compute,
            },
            "driver_minimum": found.need.driver,
            "model": describe_model(served.model) if served else {},
            "nim_max_model_len": served.context if served else 0,
            "nim_max_num_seqs": served.sequences if served else 0,
            "nim_gpu_fraction": found.fraction,
            "gpu_devices": devices(components(profile), len(found.machine.cards)),
            "arithmetic": found.arithmetic,
            "shm_mib": shm,
            "shm_message": shm_message,
        }
    except CapacityError as error:
        raise AnsibleFilterError(f"stack_fit: {error}") from None


def describe_model(model: Model) -> dict[str, str]:
    """Return what a caller needs to serve a language model."""
    return {name: getattr(model, name) for name in ("name", "served_name", "image", "path", "precision", "licence")}


def read_wish(model: str, context: Any, fraction: Any) -> Wish:
    """Return what is asked of NIM.

    :raises CapacityError: a value is not a number.
    """
    try:
        return Wish(
            model,
            None if context is None else int(context),
            None if fraction is None else float(fraction),
        )
    except (TypeError, ValueError):
        given = f"nim_max_model_len is {context!r} and nim_gpu_fraction is {fraction!r}"
        raise CapacityError(f"{given}; needed: numbers") from None


def read_machine(given: dict[str, Any]) -> Machine:
    """Return the machine that is described.

    :raises CapacityError: something is missing, unknown or not a number.
    """
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise CapacityError(f"machine has {', '.join(unknown)}. Allowed: {', '.join(NAMES)}")
    kind = str(given.get("instance_type") or "")
    known = known_kinds()[kind].machine if kind in known_kinds() else None
    listed = "nvidia_smi" in given
    missing = [
        name for name in ("gpu", "vram_mib", "ram_mib") if name not in given and (name == "ram_mib" or not listed)
    ]
    if missing and not known:
        types = ", ".join(known_kinds())
        those = f"instance_type is {kind!r}, and known are {types}" if kind else "there is no instance_type"
        raise CapacityError(f"machine lacks {', '.join(missing)}: {those}")
    base = known or Machine("", (Card(),), 0)
    return Machine(
        name=str(given.get("name") or kind or "this machine"),
        cards=_read_listed(given, known) if listed else _read_cards(given, base, known),
        ram=_number(given, "ram_mib", base.ram),
        disk=_number(given, "disk_gib", 0) if given.get("disk_gib") is not None else None,
    )


def _read_cards(given: dict[str, Any], base: Machine, known: Machine | None) -> tuple[Card, ...]:
    """Return the GPUs that are described, which are all alike."""
    gpu = str(given.get("gpu", base.gpu))
    card = Card(gpu, _vram(given, gpu, known), _rt_cores(given))
    return (card,) * max(_number(given, "gpu_count", len(base.cards)), 1)


def _read_listed(given: dict[str, Any], known: Machine | None) -> tuple[Card, ...]:
    """Return the GPUs that nvidia-smi lists."""
    gpus = read_gpus(str(given["nvidia_smi"])) or [("", 0)]
    return tuple(Card(gpu, _vram({"vram_mib": vram}, gpu, known), _rt_cores(given)) for gpu, vram in gpus)


def _rt_cores(given: dict[str, Any]) -> bool | None:
    """Return whether the GPUs have RT cores, if the caller says so."""
    value = given.get("rt_cores")
    return None if value is None else bool(value)


def _vram(given: dict[str, Any], gpu: str, known: Machine | None) -> int | None:
    """Return the memory of one GPU, in MiB; None when it is not reported."""
    value = given.get("vram_mib")
    if isinstance(value, str):
        value = None if UNREPORTED.fullmatch(value.strip()) else reported_mib(value) or value
    number = None if value is None else _number({"vram_mib": value}, "vram_mib", 0)
    if known and known.vram:
        # EC2 reports a GPU's nominal memory. For a known type, the memory that the driver leaves is known.
        return min(number or known.vram, known.vram)
    return number or (None if gpu else 0)


def _number(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if isinstance(value, bool) or number < 0:
        raise CapacityError(f"machine.{name} is {value!r}; needed: a number that is not negative")
    return number


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_fit": stack_fit}
