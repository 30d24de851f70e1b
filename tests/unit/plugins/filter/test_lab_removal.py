# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the removal of a lab deletes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_removal import lab_removal
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._lab.kinds import BACKUPS, KINDS


def instance(*, protected: bool = False, device: str = "/dev/sda1", deleted: bool = True) -> dict[str, Any]:
    """Return an instance with the disk vol-1."""
    return {
        "instance_id": "i-1",
        "attributes": {"disable_api_termination": {"value": protected}},
        "root_device_name": "/dev/sda1",
        "block_device_mappings": [
            {"device_name": device, "ebs": {"volume_id": "vol-1", "delete_on_termination": deleted}}
        ],
    }


DISKS = [{"id": "vol-1"}, {"id": "vol-2"}]
RECORD = {
    "digital_twin_vpc": "vpc-1",
    "digital_twin_addresses_1": "1=eipalloc-1 2=eipalloc-2",
    "digital_twin_addresses_2": "9=eipalloc-9",
}


@pytest.mark.parametrize(
    ("found", "key", "expected"),
    [
        ({}, "lines", []),
        ({kind: [] for kind in KINDS}, "lines", []),
        ({"instances": [instance()], "volumes": DISKS}, "lines", ["instances: i-1", "volumes: vol-1, vol-2"]),
        ({"route_tables": [{"route_table_id": "rtb-1"}]}, "lines", ["route tables: rtb-1"]),
        ({"images": [{"image_id": "ami-1"}]}, "lines", []),
        ({"instances": [instance()], "volumes": DISKS}, "volumes", DISKS[1:]),
        ({"instances": [instance(deleted=False)], "volumes": DISKS}, "volumes", DISKS),
        ({"instances": [instance(device="/dev/sdb")], "volumes": DISKS}, "volumes", DISKS),
        ({"instances": [{**instance(), "block_device_mappings": None}], "volumes": DISKS}, "volumes", DISKS),
        ({"instances": [instance()]}, "protected", []),
        ({"instances": [instance(protected=True)]}, "protected", ["i-1"]),
        (
            {"images": [{"image_id": "ami-1"}], "snapshots": [{"snapshot_id": "snap-1"}]},
            "backups",
            ["ami-1", "snap-1"],
        ),
        ({"roles": []}, "recorded", {"vpc": "", "addresses": []}),
        ({"roles": [{"role_name": "lab-instance", "tags": {}}]}, "recorded", {"vpc": "", "addresses": []}),
        (
            {"roles": [{"role_name": "lab-instance", "tags": RECORD}]},
            "recorded",
            {"vpc": "vpc-1", "addresses": ["eipalloc-1", "eipalloc-2", "eipalloc-9"]},
        ),
    ],
)
def test_removal(found: dict[str, Any], key: str, expected: object) -> None:
    assert lab_removal(found)[key] == expected


@pytest.mark.parametrize(("backups", "count"), [(False, len(KINDS) - len(BACKUPS)), (True, len(KINDS))])
def test_each_kind_has_a_line(backups: bool, count: int) -> None:
    found: dict[str, Any] = {kind: [{key: f"{kind}-1", "tags": {}}] for kind, (_title, key) in KINDS.items()}
    found["instances"] = [instance()]
    assert len(lab_removal(found, backups=backups, data=True)["lines"]) == count


def data_volume(*, deleted: bool = False) -> dict[str, Any]:
    """Return a lab with the data volume vol-9 on its instance."""
    host = instance()
    host["block_device_mappings"] += [
        {"device_name": "/dev/sdf", "ebs": {"volume_id": "vol-9", "delete_on_termination": deleted}}
    ]
    role = {"role_name": "lab-instance", "tags": {**RECORD, "digital_twin_data_volumes_1": "1=vol-9"}}
    return {"instances": [host], "data_volumes": [{"id": "vol-9"}], "roles": [role]}


def test_a_data_volume_is_kept_with_the_role_that_records_it() -> None:
    removal = lab_removal(data_volume())
    assert removal["lines"] == ["instances: i-1"]
    assert (removal["kept"], removal["data_volumes"], removal["roles"]) == ([{"id": "vol-9"}], [], [])
    assert removal["cleared"] == dict.fromkeys(RECORD, "")
    assert removal["unsafe"] == []


def test_a_data_volume_is_deleted_by_choice() -> None:
    removal = lab_removal(data_volume(deleted=True), data=True)
    assert removal["lines"] == ["instances: i-1", "data volumes: vol-9", "roles: lab-instance"]
    assert (removal["kept"], removal["data_volumes"]) == ([], [{"id": "vol-9"}])
    assert [role["role_name"] for role in removal["roles"]] == ["lab-instance"]
    assert (removal["cleared"], removal["unsafe"]) == ({}, [])


def test_a_data_volume_that_would_go_with_its_instance_is_not_safe() -> None:
    (line,) = lab_removal(data_volume(deleted=True))["unsafe"]
    assert "vol-9, a data volume, would be deleted with i-1" in line
    assert "aws ec2 modify-instance-attribute --instance-id i-1 --block-device-mappings" in line
