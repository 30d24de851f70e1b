# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter docker_info_problems."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_info_problems
short_description: Find options of daemon.json that are not in effect
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares options of C(daemon.json) with what C(docker info) reports. Options that it does not report are left out.
positional: options
options:
  _input:
    description: What C(docker info --format json) prints. Empty where no engine answers.
    type: dict
    required: true
  options:
    description: The options of C(daemon.json).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check that the options are in effect
  ansible.builtin.assert:
    that: info | digital_twin.robotics_lab.docker_info_problems(declared) == []
  vars:
    declared: {live-restore: true}
    info: {LiveRestoreEnabled: true}
"""

RETURN = r"""
_value:
  description: A sentence for each option that is not in effect.
  type: list
  elements: str
  sample: ["live-restore is true in daemon.json and false in the engine. Restart Docker."]
"""

import json
from typing import Any

# By the option, the field of `docker info`.
FIELDS = {
    "data-root": "DockerRootDir",
    "debug": "Debug",
    "default-runtime": "DefaultRuntime",
    "live-restore": "LiveRestoreEnabled",
    "log-driver": "LoggingDriver",
    "storage-driver": "Driver",
}
SCHEMES = ("http://", "https://")


def bare(registry: str) -> str:
    """Return a registry without a scheme."""
    for scheme in SCHEMES:
        registry = registry.removeprefix(scheme)
    return registry


def lists(info: dict[str, Any], options: dict[str, Any]) -> dict[str, tuple[set[str], set[str]]]:
    """Return the items that each list in daemon.json has, and those that the engine reports."""
    registries = info.get("RegistryConfig") or {}
    insecure = {entry["Name"] for entry in (registries.get("IndexConfigs") or {}).values() if not entry["Secure"]}
    return {
        "registry-mirrors": (
            {url.removesuffix("/") for url in options.get("registry-mirrors") or []},
            {url.removesuffix("/") for url in registries.get("Mirrors") or []},
        ),
        "insecure-registries": (
            {bare(name) for name in options.get("insecure-registries") or []},
            insecure | set(registries.get("InsecureRegistryCIDRs") or []),
        ),
        "runtimes": (set(options.get("runtimes") or {}), set(info.get("Runtimes") or {})),
    }


def docker_info_problems(info: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Return a sentence for each option of daemon.json that is not in effect."""
    if not info:
        return []
    found = [
        f"{name} is {json.dumps(options[name])} in daemon.json and {json.dumps(info.get(field))} in the engine. "
        "Restart Docker."
        for name, field in FIELDS.items()
        if name in options and options[name] != info.get(field)
    ]
    for name, (expected, reported) in lists(info, options).items():
        if not expected <= reported:
            missing = ", ".join(sorted(expected - reported))
            found.append(f"{name} in daemon.json has {missing}, which the engine does not report. Restart Docker.")
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"docker_info_problems": docker_info_problems}
