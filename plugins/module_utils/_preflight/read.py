# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read an AWS account before a lab is created in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .._aws.account import Account
from .._aws.errors import CREDENTIALS, DENIED, THROTTLED, UNREACHABLE, ReadError
from .._lab.record import DATA_TAG, read_record
from .description import LabDescription
from .quotas import COUNTED_STATES, list_demands, vcpu_quota
from .snapshot import AccountSnapshot, boundary_arn, missing_hosts, own_tags, region_is_usable, sort_out

LIVE_STATES = ["pending", "running", "stopping", "stopped"]

# The alias of AWS's own EBS key in every account.
AWS_KEY = "alias/aws/ebs"

Answer = TypeVar("Answer")


def read_account(account: Account, lab: LabDescription) -> AccountSnapshot:
    """Read everything that is compared with the lab.

    A missing permission does not stop reading, so that all of them are reported at once. Invalid credentials, endpoints
    that do not answer and throttling do, as every further read would fail alike.
    """
    snapshot = AccountSnapshot()
    try:
        snapshot.caller = account.caller()
        _read_regions(account, snapshot)
        if region_is_usable(lab, snapshot):
            _read_region(account, lab, snapshot)
            _read_limits(account, lab, snapshot)
    except ReadError as error:
        snapshot.failures.append(error)
    return snapshot


def _read_regions(account: Account, snapshot: AccountSnapshot) -> None:
    """Read the regions. An organisation may deny this call outside its own regions."""
    try:
        snapshot.regions = account.regions()
    except ReadError as error:
        if error.kind != DENIED:
            raise
        snapshot.skipped["whether the account has the region enabled"] = f"{error.action} is denied in {error.where}"


def _read_region(account: Account, lab: LabDescription, snapshot: AccountSnapshot) -> None:
    """Read everything in the lab's region except quotas."""

    def attempt(read: Callable[[], Answer]) -> Answer | None:
        try:
            return read()
        except ReadError as error:
            if error.kind in (CREDENTIALS, THROTTLED, UNREACHABLE):
                raise
            snapshot.failures.append(error)
            return None

    known_types = sorted({lab.instance_type, *(str(entry["type"]) for entry in lab.instance_catalogue)})
    snapshot.zones = attempt(account.zones)
    snapshot.offerings = attempt(lambda: account.offerings(known_types))
    snapshot.type_info = attempt(lambda: account.instance_types([lab.instance_type]))
    snapshot.vpcs = attempt(account.vpcs)
    snapshot.groups = attempt(lambda: account.security_groups(own_tags(lab)))
    snapshot.gateways = attempt(lambda: account.gateways(own_tags(lab)))
    snapshot.subnets = attempt(lambda: account.subnets(own_tags(lab)))
    snapshot.instances = attempt(lambda: account.instances(LIVE_STATES, own_tags(lab)))
    snapshot.running = attempt(lambda: account.instances(COUNTED_STATES, {}))
    snapshot.addresses = attempt(account.addresses)
    snapshot.key_pairs = attempt(lambda: account.key_pairs([lab.key_name or lab.name]))
    snapshot.role = attempt(lambda: account.role(f"{lab.name}-instance"))
    snapshot.instance_profile = attempt(lambda: account.instance_profile(f"{lab.name}-instance"))
    recorded = read_record(lab.name, lab.region, snapshot.role.tags if snapshot.role else None).data_volumes
    snapshot.data_volumes = attempt(lambda: account.volumes({**own_tags(lab), DATA_TAG: "true"}, recorded.values()))
    boundary = boundary_arn(lab, snapshot)
    # Only its own account can read a policy.
    if boundary and snapshot.caller and boundary.split(":")[4] in ("aws", snapshot.caller.account_id):
        snapshot.boundary_exists = attempt(lambda: account.has_policy(boundary))
    sort_out(lab, snapshot)
    # A running host keeps its image, even if AWS has withdrawn it since.
    if missing_hosts(lab, snapshot):
        snapshot.image_id = lab.image_id or attempt(lambda: account.image_id(lab.images[lab.image]["parameter"]))
        if snapshot.image_id:
            image_id = snapshot.image_id
            snapshot.image = attempt(lambda: account.image(image_id))
        _read_default_key(account, snapshot)
    counted = {
        instance.instance_type
        for instance in [*(snapshot.running or []), *(snapshot.instances or [])]
        if vcpu_quota(instance.instance_type) == vcpu_quota(lab.instance_type)
    }
    unknown = sorted(counted - (snapshot.type_info or {}).keys())
    if snapshot.type_info and unknown:
        snapshot.type_info.update(attempt(lambda: account.instance_types(unknown)) or {})


def _read_default_key(account: Account, snapshot: AccountSnapshot) -> None:
    """Read the key that would encrypt new volumes. A caller that may launch instances may lack the permission."""
    try:
        key_id = account.default_key()
        if not key_id.endswith(AWS_KEY):
            snapshot.key = account.key(key_id)
            snapshot.default_key = key_id
    except ReadError as error:
        if error.kind in (CREDENTIALS, THROTTLED, UNREACHABLE):
            raise
        reason = f"{error.action} in {error.where}: {error.code}"
        snapshot.skipped["whether the key with which EBS encrypts new volumes can be used"] = reason


def _read_limits(account: Account, lab: LabDescription, snapshot: AccountSnapshot) -> None:
    """Read the quotas of which the lab needs more. A failed read is not an error, as the launch may still work."""
    for demand in list_demands(lab, snapshot):
        quota = demand.quota
        if demand.needed <= 0:
            continue
        try:
            limit = account.quota(quota.service, quota.code)
        except ReadError as error:
            snapshot.skipped[f'the quota "{quota.title}"'] = f"{error.action} in {error.where}: {error.code}"
            continue
        if limit is None:
            snapshot.skipped[f'the quota "{quota.title}"'] = f"Service Quotas does not list {quota.code}"
        else:
            snapshot.limits[quota.code] = limit
