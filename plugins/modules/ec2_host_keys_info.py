#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets the SSH host keys of EC2 instances."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_host_keys_info
version_added: 1.0.0
short_description: Get the SSH host keys of EC2 instances from their console output
description:
  - Returns the SSH host keys that cloud-init writes to the console of an instance at its first boot. They come from AWS
    and not from the address of the instance, so that the first SSH connection can be verified by them.
  - If there are several blocks, the last complete one is used. A damaged key is left out.
  - EC2 stores at most the last 64 KB of the console, so the keys of an instance that was booted long ago may be
    missing. That is not an error. The instance then has a reason instead of keys.
options:
  instance_ids:
    description: Ids of the instances.
    type: list
    elements: str
    required: true
  wait_timeout:
    description:
      - How many seconds to wait for the keys of an instance that is still booting. The module stops waiting when
        cloud-init has finished without writing keys.
    type: int
    default: 0
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permission C(ec2:GetConsoleOutput). Without it, this is the reason of each instance.
  - Images that set C(emit_keys_to_console) of cloud-init to false write no keys.
seealso:
  - module: ansible.builtin.known_hosts
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the host keys of a new instance
  digital_twin.robotics_lab.ec2_host_keys_info:
    region: eu-central-1
    instance_ids: [i-0123456789abcdef0]
    wait_timeout: 600
  register: host

- name: Save them
  ansible.builtin.known_hosts:
    name: i-0123456789abcdef0
    key: i-0123456789abcdef0 {{ item }}
  loop: "{{ host.instances['i-0123456789abcdef0']['host_keys'] }}"
"""

RETURN = r"""
instances:
  description: The instances by their ids.
  returned: success
  type: dict
  contains:
    host_keys:
      description: The host keys, each a type and a key in base64. Empty if they are not available.
      type: list
      elements: str
      sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGH5fGgBdTgC1nD8E/TekwJAet/K4f1f8DiBiQ4NYry/]
    reason:
      description: Why the keys are missing. Empty if they were found.
      type: str
      sample: ec2:GetConsoleOutput is denied in eu-central-1
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import console_keys
from ..module_utils._aws.connection import connector, region_of
from ..module_utils._aws.errors import ReadError, describe_error, translated

SPEC: dict[str, dict[str, Any]] = {
    "instance_ids": {"type": "list", "elements": "str", "required": True},
    "wait_timeout": {"type": "int", "default": 0},
}


def main() -> None:
    """Return the keys, or fail with one line."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    region = region_of(module)
    try:
        with translated(console_keys.ACTION, region):
            client = connector(module)("ec2", region)
        found = console_keys.wait(client, module.params["instance_ids"], region, module.params["wait_timeout"])
    except ReadError as error:
        module.fail_json(msg=str(describe_error(error)))
    instances = {name: {"host_keys": answer.keys, "reason": answer.reason} for name, answer in found.items()}
    module.exit_json(changed=False, instances=instances)


if __name__ == "__main__":
    main()
