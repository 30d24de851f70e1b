# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter container_toolkit_problems."""

from __future__ import annotations

DOCUMENTATION = r"""
name: container_toolkit_problems
short_description: Find settings of NVIDIA's Container Toolkit with which containers get no GPU
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Reads the text of C(/etc/nvidia-container-runtime/config.toml) and returns each setting with which a container does
    not get its GPUs, either through CDI or through the runtime C(nvidia), with its remedy.
positional: version
options:
  _input:
    description: The text of the file. Empty when the file does not exist.
    type: str
    required: true
  version:
    description: The toolkit's version.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check that the toolkit's configuration works
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ lookup('file', 'config.toml') | digital_twin.robotics_lab.container_toolkit_problems('1.20.0') }}"
"""

RETURN = r"""
_value:
  description: One or two sentences for each such setting.
  type: list
  elements: str
  sample: ["mode in [nvidia-container-runtime] is 'cdi', with which --gpus fails. Set it to 'auto'."]
"""

import tomllib
from collections.abc import Callable, Iterator
from typing import Any

from ansible.errors import AnsibleFilterError

# In 1.18.0, nvidia-ctk reads the runtime's mode as its own, and does not support these.
# https://github.com/NVIDIA/nvidia-container-toolkit/issues/1376
MODES = ("auto", "jit-cdi", "legacy")
MODES_OF_ALL = ("auto",)
FIRST_WITH_MODES = (1, 18, 1)


def number(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared."""
    try:
        return tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        raise AnsibleFilterError(f"container_toolkit_problems: {version!r} is not a version such as 1.20.0.") from None


def section(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a section, empty when it is missing."""
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def find(settings: dict[str, Any], version: tuple[int, ...]) -> Iterator[str]:
    """Yield what is wrong with the settings."""
    mode = section(settings, "nvidia-container-runtime").get("mode", "auto") or "auto"
    allowed = MODES if version >= FIRST_WITH_MODES else MODES_OF_ALL
    if mode not in allowed:
        yield (
            f"mode in [nvidia-container-runtime] is {mode!r}. Allowed with version {'.'.join(map(str, version))} is "
            f"{' or '.join(repr(name) for name in allowed)}: with others, nvidia-ctk does not describe the GPUs, or "
            f"--gpus and the runtime nvidia fail. Set it to 'auto'."
        )
    cli = section(settings, "nvidia-container-cli")
    if cli.get("no-cgroups") is True and mode == "legacy":
        yield (
            "no-cgroups in [nvidia-container-cli] is true, which is for engines without root: a container may not open "
            "its GPUs. Set it to false."
        )
    root = cli.get("root", "")
    if root not in ("", "/"):
        yield f"root in [nvidia-container-cli] is {root!r}, but the driver is the host's own. Set it to '/'."
    if settings.get("accept-nvidia-visible-devices-envvar-when-unprivileged") is False:
        yield (
            "accept-nvidia-visible-devices-envvar-when-unprivileged is false: the runtime nvidia gives no GPU to "
            "containers that request one by NVIDIA_VISIBLE_DEVICES. Set it to true."
        )
    resource = settings.get("swarm-resource", "")
    if resource:
        yield (
            f"swarm-resource is {resource!r}: the runtime nvidia reads that variable in place of "
            "NVIDIA_VISIBLE_DEVICES. Remove it."
        )


def container_toolkit_problems(text: str, version: str) -> list[str]:
    """Return each setting with which containers get no GPU."""
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [f"it is not valid TOML ({error}). Correct it, or move it away: the toolkit has defaults."]
    return list(find(settings, number(version)))


class FilterModule:
    """Find settings of NVIDIA's Container Toolkit with which containers get no GPU."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"container_toolkit_problems": container_toolkit_problems}
