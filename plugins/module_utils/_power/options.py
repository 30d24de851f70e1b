# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options and results that the modules for starting, stopping and resizing hosts have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._aws.connection import client_of, connector, region_of
from .._lab.last_action import CAUSES
from .calls import Host, Power

COMMON: dict[str, dict[str, Any]] = {
    "hosts": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "instance_id": {"type": "str", "required": True},
        },
    },
    "cause": {"type": "str", "choices": list(CAUSES), "default": "person"},
    "wait_timeout": {"type": "int", "default": 600},
    "retry_timeout": {"type": "int", "default": 90},
    "variable_prefix": {"type": "str", "default": ""},
}


def power_of(module: Any, action: str) -> Power:
    """Return the calls that a module's options describe; messages name the action that they are needed for.

    Raises:
        ReadError: The options or the environment do not describe a connection.
    """
    region = region_of(module)
    return Power(
        ec2=client_of(module, "ec2", action),
        once=connector(module, attempts=1)("ec2", region),
        region=region,
        prefix=module.params["variable_prefix"],
        patience=module.params["retry_timeout"],
        timeout=module.params["wait_timeout"],
        cause=module.params["cause"],
    )


@dataclass
class Result:
    """What a module returns.

    Attributes:
        more: Its own values.
        hosts: The hosts.
        types: Their types before, by name.
        changed: Whether something has changed.
    """

    more: dict[str, Any]
    hosts: list[Host] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    def remember(self) -> None:
        """Keep the types that the hosts have now."""
        self.types = {host.name: host.type for host in self.hosts}

    def end(self, module: Any, problem: str) -> None:
        """Exit the module, or fail with a problem."""
        hosts = [
            {
                "name": host.name,
                "instance_id": host.id,
                "instance_type": host.type,
                "previous_type": self.types[host.name],
                "state": host.state,
            }
            for host in self.hosts
        ]
        result = {"changed": self.changed, "hosts": hosts, **self.more}
        if problem:
            module.fail_json(msg=problem, **result)
        module.exit_json(**result)
