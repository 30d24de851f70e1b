# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the things that carry a lab's tags belong to the lab.

Tags are how a lab is found, and any caller that may tag resources can add them to others. What belongs to a lab also
has what tagging cannot give: a place in the lab's VPC, its key pair, its instance profile.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws_account import (
    Address,
    Instance,
    SecurityGroup,
    Vpc,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab_problem import listed, shown

INDEX_TAG = "digital_twin_index"


@dataclass(frozen=True)
class Foreign:
    """Something that carries a lab's tags and does not belong to it.

    Attributes:
        kind: What it is, such as "volume".
        identifier: What AWS calls it.
        reason: Why it does not belong to the lab, continuing a sentence.
    """

    kind: str
    identifier: str
    reason: str

    def __str__(self) -> str:
        """Return it as one phrase."""
        return f"{self.kind} {self.identifier} ({self.reason})"


def wrong_with_vpc(lab: str, vpc: Vpc, groups: Iterable[SecurityGroup] | None) -> str:
    """Return why a tagged VPC does not belong to a lab, or nothing.

    Its name tag may have been edited: then a security group, whose name cannot be, shows that it is the lab's.
    """
    if groups is None or vpc.tags.get("Name") == f"{lab}-vpc":
        return ""
    if any(group.vpc_id == vpc.vpc_id and group.name == f"{lab}-sg" for group in groups):
        return ""
    return f"its name is {shown(vpc.tags.get('Name', ''))}, not {shown(f'{lab}-vpc')}"


def wrong_with_place(vpc_id: str | None, vpc_ids: Collection[str] | None) -> str:
    """Return why something in a VPC does not belong to the lab that has certain VPCs, or nothing."""
    if vpc_id is None or vpc_ids is None or vpc_id in vpc_ids:
        return ""
    where = f"it is in {vpc_id}" if vpc_id else "it is not in a VPC"
    return f"{where}, not in the lab's VPC{f' {listed(sorted(vpc_ids))}' if vpc_ids else ', which does not exist'}"


def wrong_with_instance(lab: str, keys: Collection[str], vpc_ids: Collection[str] | None, instance: Instance) -> str:
    """Return why a tagged instance does not belong to a lab, or nothing.

    Args:
        lab: The lab's name.
        keys: Names of the key pairs that its instances may have been launched with.
        vpc_ids: Its VPCs; None where they were not read.
        instance: The instance. One that is shutting down gives up its place, and is on its way out anyhow.
    """
    if instance.state == "shutting-down":
        return ""
    reasons = [wrong_with_place(instance.vpc_id, vpc_ids)]
    if instance.key_name is not None and instance.key_name not in keys:
        reasons.append(f"its key pair is {shown(instance.key_name)}, not {' or '.join(map(shown, sorted(keys)))}")
    if instance.profile is not None and instance.profile != f"{lab}-instance":
        reasons.append(f"its instance profile is {shown(instance.profile)}, not {shown(f'{lab}-instance')}")
    return "; ".join(filter(None, reasons))


def wrong_with_address(instance_ids: Collection[str] | None, address: Address) -> str:
    """Return why a tagged Elastic IP does not belong to a lab, or nothing.

    A run that died between allocating and associating an address left one that nothing holds, with a host's number.
    """
    if instance_ids is None or address.holder in instance_ids:
        return ""
    if address.holder:
        return f"it is associated with {address.holder}, which does not belong to the lab"
    return "" if address.tags.get(INDEX_TAG) else f"no host has it, and it has no tag {INDEX_TAG}"


def lab_keys(lab: str, key_name: str) -> set[str]:
    """Return the key pairs that a lab's instances may have: its own, and the one that is named."""
    return {lab, key_name or lab}
