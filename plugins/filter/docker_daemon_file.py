# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter docker_daemon_file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_daemon_file
short_description: Parse the text of Docker's daemon.json
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the options of C(/etc/docker/daemon.json), or the reason why they cannot be read.
options:
  _input:
    description: The text of the file. Empty when the file does not exist.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check that daemon.json is a JSON object
  ansible.builtin.assert:
    that: file.problem == ''
    fail_msg: "{{ file.problem }}"
  vars:
    file: "{{ lookup('file', '/etc/docker/daemon.json') | digital_twin.robotics_lab.docker_daemon_file }}"
"""

RETURN = r"""
_value:
  description: C(options), the object in the file, and C(problem), a sentence for a file that is not a JSON object.
  type: dict
  sample: {options: {live-restore: true}, problem: ""}
"""

import json
from typing import Any

PATH = "/etc/docker/daemon.json"


def docker_daemon_file(text: str) -> dict[str, Any]:
    """Return the options in the text of daemon.json, and why they cannot be read."""
    if not text.strip():
        return {"options": {}, "problem": ""}
    place = "its top level"
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
    else:
        if isinstance(options, dict):
            return {"options": options, "problem": ""}
    problem = f"{PATH} is not a JSON object ({place}), so its options cannot be preserved. Correct it or move it away."
    return {"options": {}, "problem": problem}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"docker_daemon_file": docker_daemon_file}
