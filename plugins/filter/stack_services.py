# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_services."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_services
short_description: Get what a profile of the stack runs
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Reads from a Compose file the services of a profile, and what a host needs for them.
positional: profile, users, group
options:
  _input:
    description: The text of the Compose file.
    type: str
    required: true
  profile:
    description: The profile. Services without a profile always run.
    type: str
    default: ""
  users:
    description: Lines of C(getent passwd) with the users of the host that have the uid of a service.
    type: list
    elements: str
    default: []
  group:
    description: Lines of C(getent group) with the group that the services with secrets run with.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Get the services of profile nav
  ansible.builtin.debug:
    msg: "{{ (compose | digital_twin.robotics_lab.stack_services('nav')).wanted }}"
  vars:
    compose: "{{ lookup('ansible.builtin.file', 'compose.yaml') }}"
"""

RETURN = r"""
_value:
  description:
    - C(names), all services; C(wanted), those of the profile; C(gpus), the wanted services that get GPUs.
    - C(secrets), the secrets that wanted services mount; C(uids) and C(gid), the users and the group of these services.
    - C(volumes), name and owner of each volume that a user other than root writes to in an image of NVIDIA.
    - C(host_users), the users of all services on the network of the host; C(networks), the names of the networks.
    - C(conflicts), a sentence for each of O(users) about what that user can do to a service.
  type: dict
  sample: {names: [redis, nim], wanted: [redis], gpus: [], secrets: [redis_acl], uids: ["999"], gid: "10003"}
"""

from functools import lru_cache
from typing import Any

import yaml

# Their containers do not run as root, and Docker gives new volumes to root.
NVIDIA = ("isaac_sim", "riva", "nim")
Services = dict[str, dict[str, Any]]


@lru_cache(maxsize=1)
def parse(compose: str) -> dict[str, Any]:
    """Return the document. A task evaluates the filter many times with the same text."""
    return dict(yaml.safe_load(compose))


def uid(service: dict[str, Any]) -> str:
    """Return the user of a service."""
    return str(service["user"]).partition(":")[0]


def volumes(services: Services, declared: dict[str, Any], wanted: list[str]) -> list[dict[str, str]]:
    """Return the declared volumes of NVIDIA's services."""
    return [
        {"name": name, "owner": uid(services[service])}
        for service in NVIDIA
        if service in wanted
        for name in sorted({mount.partition(":")[0] for mount in services[service]["volumes"]} & declared.keys())
    ]


def conflicts(readers: Services, gid: str, users: list[str], group: list[str]) -> list[str]:
    """Return what users of the host can do to the services with secrets. The kernel compares uid and group."""
    members = {member for line in group for member in line.split(":")[-1].split(",")}
    found = []
    for line in users:
        user, _password, number, own_group = line.split(":")[:4]
        theirs = {name: service for name, service in readers.items() if uid(service) == number}
        secrets = ", ".join(dict.fromkeys(secret for service in theirs.values() for secret in service["secrets"]))
        processes = f"the processes of {' and '.join(theirs)}, which have its uid {number}"
        found.append(
            f"User {user} can read {secrets} from {processes} and its group {gid}. Remove the user from that group."
            if own_group == gid or user in members
            else f"User {user} can stop {processes}, and cannot read {secrets} from them, because it is not in the "
            f"group {gid}."
        )
    return found


def stack_services(
    compose: str, profile: str = "", users: list[str] | None = None, group: list[str] | None = None
) -> dict[str, Any]:
    """Return what a profile of a Compose file runs, and what a host needs for it."""
    document = parse(str(compose))
    services: Services = document["services"]
    wanted = [name for name, service in services.items() if "profiles" not in service]
    wanted += [name for name, service in services.items() if profile in service.get("profiles", [])]
    readers = {name: service for name, service in services.items() if name in wanted and "secrets" in service}
    gid = str(services["redis"]["user"]).rpartition(":")[2]
    return {
        "names": list(services),
        "wanted": wanted,
        "gpus": [name for name in wanted if "deploy" in services[name]],
        "secrets": list(dict.fromkeys(secret for service in readers.values() for secret in service["secrets"])),
        "uids": list(dict.fromkeys(map(uid, readers.values()))),
        "gid": gid,
        "volumes": volumes(services, document["volumes"], wanted),
        "host_users": sorted({uid(service) for service in services.values() if "network_mode" in service}),
        "networks": list(document["networks"]),
        "conflicts": conflicts(readers, gid, users or [], group or []),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_services": stack_services}
