# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter docker_daemon_options."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_daemon_options
short_description: Merge options into those of a Docker daemon
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the options of C(daemon.json) with others merged into them. Dictionaries are merged, lists are joined
    without repeating an item, and an option of V(null) is removed. Merging the same options again changes nothing.
  - A driver and its options stay together. Another C(log-driver) drops the earlier C(log-opts),
    and another C(storage-driver) the earlier C(storage-opts). Docker does not start with options of another driver.
  - In lists of C(key=value), such as C(labels) and C(exec-opts), a new value replaces the earlier one of the same key.
  - When the runtime that C(default-runtime) names is removed, so is C(default-runtime).
positional: wanted
options:
  _input:
    description: The options that the daemon has.
    type: dict
    required: true
  wanted:
    description: The options to merge into them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the options of a host that sends its logs to AWS
  ansible.builtin.debug:
    msg: "{{ now | digital_twin.robotics_lab.docker_daemon_options(wanted) }}"
  vars:
    now: {debug: true, log-driver: awslogs, log-opts: {awslogs-group: lab}}
    wanted: {log-driver: json-file, log-opts: {max-size: 50m}}
"""

RETURN = r"""
_value:
  description: The merged options. Existing options keep their order.
  type: dict
  sample: {debug: true, log-driver: json-file, log-opts: {max-size: 50m}}
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

# An option that names a driver, the options that only this driver understands, and the driver without the first option.
# Docker chooses a storage driver by itself.
DRIVERS = (("log-driver", "log-opts", "json-file"), ("storage-driver", "storage-opts", None))
# Lists whose items are key=value, of which Docker wants each key once.
KEYED = ("exec-opts", "labels", "storage-opts")


def join(name: str, old: list[Any], new: list[Any]) -> list[Any]:
    """Return two lists as one, without repeating an item."""
    if name in KEYED:
        keys = {str(item).partition("=")[0] for item in new if item not in old}
        old = [item for item in old if str(item).partition("=")[0] not in keys]
    return old + [item for position, item in enumerate(new) if item not in old and item not in new[:position]]


def merge(old: Any, new: Any, name: str = "") -> Any:
    """Return a value with another one merged into it."""
    if isinstance(new, dict):
        old = old if isinstance(old, dict) else {}
        kept = {key: merge(value, new[key], key) if key in new else value for key, value in old.items()}
        added = {key: merge(None, value, key) for key, value in new.items() if key not in old}
        return {key: value for key, value in (kept | added).items() if key not in new or new[key] is not None}
    if isinstance(new, list) and isinstance(old, list):
        return join(name, old, new)
    return new


def docker_daemon_options(now: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a daemon with others merged into them."""
    for options in (now, wanted):
        if not isinstance(options, dict):
            raise AnsibleFilterError(f"docker_daemon_options: {options!r} is not a dictionary of options.")
    now = dict(now)
    for driver, options_of_it, default in DRIVERS:
        before = now.get(driver, default)
        if driver in wanted and (wanted[driver] or default) != before:
            now.pop(options_of_it, None)
    merged: dict[str, Any] = merge(now, wanted)
    runtime = merged.get("default-runtime")
    if "default-runtime" not in wanted and runtime in set(now.get("runtimes", {})) - set(merged.get("runtimes", {})):
        del merged["default-runtime"]
    return merged


class FilterModule:
    """Merge options of a Docker daemon."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"docker_daemon_options": docker_daemon_options}
