# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan for the data volumes of a lab: what is created, attached and grown, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_data_volumes import lab_data_volumes
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_ownership import lab_ownership
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_provision_cost import lab_provision_cost
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.data_volume import device_of
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.record import Record, claim, write_record

Item = dict[str, Any]
TAGS = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab"}
OWN = {**TAGS, "Name": "lab-1-data", "digital_twin_index": "1", "digital_twin_data": "true"}
LAB: Item = {
    "name": "lab",
    "region": "us-east-1",
    "hosts": ["1"],
    "size": 100,
    "iops": 3000,
    "throughput": 125,
    "tags": TAGS,
    "recorded": {"1": "vol-1"},
    "prices": {},
    "instance_catalogue": [],
    "zones": ["us-east-1a", "us-east-1b"],
}


def volume(**more: Any) -> Item:
    """Return the data volume of host 1, attached, with changes."""
    attachment = {"instance_id": "i-1", "device": "/dev/sdf", "delete_on_termination": False}
    found = {
        "id": "vol-1",
        "index": "1",
        "size": 100,
        "type": "gp3",
        "iops": 3000,
        "throughput": 125,
        "zone": "us-east-1a",
        "tags": OWN,
        "attachment_set": [attachment],
    }
    return {**found, **more}


def host(zone: str = "us-east-1a", state: str = "running", **disks: str) -> Item:
    """Return the instance of host 1 with its disks by device."""
    mappings = [
        {"device_name": f"/dev/{name}", "ebs": {"volume_id": disk, "delete_on_termination": False}}
        for name, disk in {"sda1": "vol-root", **disks}.items()
    ]
    return {
        "instance_id": "i-1",
        "state": {"name": state},
        "placement": {"availability_zone": zone},
        "block_device_mappings": mappings,
        "tags": {"digital_twin_index": "1"},
    }


def plan(volumes: list[Item], instances: list[Item], others: list[Item] | None = None, **lab: Any) -> Item:
    """Return the plan of the lab with changes."""
    return lab_data_volumes({"data_volumes": volumes, "instances": instances}, {**LAB, **lab}, others or [])


FREE = volume(attachment_set=[])
FORGED = {"id": "vol-7", "tags": OWN}
NOTHING: tuple[list[str], ...] = ([], [], [], [])


@pytest.mark.parametrize(
    ("volumes", "instances", "lab", "steps"),
    [
        pytest.param([volume()], [host(sdf="vol-1")], {}, NOTHING, id="as described"),
        pytest.param([], [host()], {"recorded": {}, "size": 0}, NOTHING, id="none"),
        pytest.param(
            [],
            [host()],
            {"recorded": {}},
            (["us-east-1a /dev/sdf"], [], [], ["data volume of lab-1: missing"]),
            id="missing",
        ),
        pytest.param([], [], {"recorded": {}}, ([" "], [], [], ["data volume of lab-1: missing"]), id="with its host"),
        pytest.param(
            [FREE],
            [host()],
            {},
            ([], ["vol-1 /dev/sdf"], [], ["data volume of lab-1: attachment"]),
            id="killed before it was attached",
        ),
        pytest.param(
            [FREE],
            [host(sdf="vol-8", xvdg="vol-9")],
            {},
            ([], ["vol-1 /dev/sdh"], [], ["data volume of lab-1: attachment"]),
            id="names in use",
        ),
        pytest.param([FREE], [], {}, ([], [], [], ["data volume of lab-1: attachment"]), id="its host is launched"),
        pytest.param(
            [volume()],
            [host(sdf="vol-1")],
            {"size": 200},
            ([], [], ["performance"], ["data volume of lab-1: performance"]),
            id="larger",
        ),
        pytest.param(
            [volume(type="gp2", tags={})],
            [host(sdf="vol-1")],
            {},
            ([], [], ["performance tags"], ["data volume of lab-1: performance", "data volume of lab-1: tags"]),
            id="changed by hand",
        ),
        pytest.param([volume()], [host(sdf="vol-1")], {"size": 0}, NOTHING, id="switched off"),
        pytest.param([volume()], [host(sdf="vol-1")], {"hosts": []}, NOTHING, id="a host less"),
    ],
)
def test_steps(volumes: list[Item], instances: list[Item], lab: Item, steps: tuple[list[str], ...]) -> None:
    found = plan(volumes, instances, **lab)
    assert found["problems"] == []
    assert (
        [f"{step['zone']} {step['device']}" for step in found["create"]],
        [f"{step['volume_id']} {step['device']}" for step in found["attach"]],
        [" ".join(step["modify"]) for step in found["modify"]],
        found["differences"],
    ) == steps


@pytest.mark.parametrize(
    ("volumes", "instances", "others", "lab", "part"),
    [
        ([volume()], [host(sdf="vol-1")], [], {"size": 99}, "99 is less than vol-1, the data volume of lab-1, has"),
        ([FREE], [host(zone="us-east-1b")], [], {}, "lab-1 (i-1) is in us-east-1b, and vol-1, its data volume, in us-"),
        ([FREE], [], [], {"zones": ["us-east-1b"]}, "lab-1 can be launched in us-east-1a only, where vol-1,"),
        (
            [volume(attachment_set=[{"instance_id": "i-5"}])],
            [host()],
            [],
            {},
            "attached to i-5, which is not this host",
        ),
        ([volume()], [], [], {}, "is attached to i-1, which is not this host"),
        ([], [host()], [], {}, "vol-1, the data volume of lab-1, no longer exists in us-east-1"),
        (
            [],
            [host()],
            [FORGED],
            {"recorded": {}},
            "vol-7 with the tags of the data volume of lab-1 is not in the lab's",
        ),
        (
            [],
            [host()],
            [FORGED, {**FORGED, "id": "vol-6"}],
            {"recorded": {}},
            "vol-6 and vol-7 with the tags of the data volume of lab-1 are not in the lab's record",
        ),
    ],
)
def test_refused(volumes: list[Item], instances: list[Item], others: list[Item], lab: Item, part: str) -> None:
    (problem,) = plan(volumes, instances, others, **lab)["problems"]
    assert part in problem


def test_a_lost_volume_is_replaced_only_after_its_record_was_changed() -> None:
    (problem,) = plan([], [host()], recorded={"1": "vol-1", "2": "vol-2"})["problems"]
    assert "aws iam tag-role --role-name lab-instance --tags 'Key=digital_twin_data_volumes_1,Value=2=vol-2'" in problem


def test_a_volume_that_goes_with_its_instance_is_refused_even_when_switched_off() -> None:
    instance = host(sdf="vol-1")
    instance["block_device_mappings"][1]["ebs"]["delete_on_termination"] = True
    (problem,) = plan([volume()], [instance], size=0)["problems"]
    assert "vol-1, a data volume, would be deleted with i-1 (DeleteOnTermination)" in problem


def test_the_copy_of_anyone_does_not_matter_beside_the_recorded_volume() -> None:
    found = plan([volume()], [host(sdf="vol-1")], [FORGED])
    assert (found["problems"], found["differences"]) == ([], [])


def test_an_instance_that_ends_still_holds_the_volume_of_the_next_one() -> None:
    found = plan([volume()], [host(state="shutting-down", sdf="vol-1")])
    assert (found["problems"], found["differences"]) == ([], ["data volume of lab-1: attachment"])
    assert found["zones"] == {"1": "us-east-1a"}
    earlier = {**host(state="shutting-down"), "instance_id": "i-0"}
    found = plan([volume(attachment_set=[{"instance_id": "i-0"}])], [earlier, host()])
    assert found["problems"] == []
    assert [(step["volume_id"], step["instance_id"]) for step in found["attach"]] == [("vol-1", "i-1")]


@pytest.mark.parametrize(
    ("lab", "instances", "note"),
    [
        ({}, [host(sdf="vol-1")], None),
        ({"size": 0}, [host(sdf="vol-1")], "stays as it is, although aws_infrastructure_data_volume_size is 0."),
        ({"hosts": []}, [], "which is beyond aws_infrastructure_instance_count, stays."),
        ({}, [], "is kept. The host is launched in us-east-1a only."),
    ],
)
def test_what_stays_is_reported_with_its_price(lab: Item, instances: list[Item], note: str | None) -> None:
    notes = plan([volume() if instances else FREE], instances, **lab)["notes"]
    what = "vol-1 (100 GiB in us-east-1a, $8.00 a month), the data volume of lab-1, "
    assert notes == ([] if note is None else [what + note])


def test_zones_bind_only_hosts_with_data_volumes() -> None:
    assert plan([FREE], [])["zones"] == {"1": "us-east-1a"}
    assert plan([FREE], [], size=0)["zones"] == {}


SECRET = "s" * 32
ROLE = {**TAGS, "digital_twin_region": "us-east-1"}


def judge(role: Record, *tagged: Item, adopt: list[str] | None = None) -> Item:
    """Return the data volumes that belong to the lab."""
    tags = {**ROLE, **write_record(role)}
    return lab_ownership({"data_volumes": list(tagged)}, "lab", region="us-east-1", role_tags=tags, adopt=adopt or [])


def claimed(identifier: str, secret: str = SECRET) -> Item:
    """Return a volume with the token of a run."""
    return {"id": identifier, "tags": {**OWN, "digital_twin_claim": claim(secret, "data-1")}}


@pytest.mark.parametrize(
    ("record", "tagged", "adopt", "own"),
    [
        pytest.param(Record(data_volumes={"1": "vol-1"}), [{"id": "vol-1", "tags": {}}], [], ["vol-1"], id="recorded"),
        pytest.param(Record(data_volumes={"1": "vol-1"}), [FORGED], [], [], id="only tags"),
        pytest.param(Record(secret=SECRET), [claimed("vol-1")], [], ["vol-1"], id="killed before it was recorded"),
        pytest.param(Record(secret=SECRET), [claimed("vol-1"), claimed("vol-7")], [], [], id="its token was copied"),
        pytest.param(Record(secret=SECRET), [claimed("vol-7", "other")], [], [], id="another token"),
        pytest.param(Record(data_volumes={"1": "vol-1"}, secret=SECRET), [claimed("vol-7")], [], [], id="one recorded"),
        pytest.param(Record(vpc_id="vpc-1"), [FORGED], ["vol-7"], ["vol-7"], id="adopted"),
        pytest.param(Record(data_volumes={"1": "vol-1"}), [FORGED], ["vol-7"], [], id="adopted beside its own"),
    ],
)
def test_the_record_proves_whose_a_data_volume_is(
    record: Record, tagged: list[Item], adopt: list[str], own: list[str]
) -> None:
    judged = judge(record, *tagged, adopt=adopt)
    assert [item["id"] for item in judged["own"]["data_volumes"]] == own
    assert [item["index"] for item in judged["own"]["data_volumes"]] == ["1"] * len(own)
    assert len(judged["foreign"]) == len(tagged) - len(own)


@pytest.mark.parametrize(
    ("instance_type", "attached_as", "device"),
    [
        ("g5.xlarge", "/dev/sdf", "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"),
        ("p3dn.24xlarge", "/dev/sdf", "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"),
        ("p3.2xlarge", "/dev/sdf", "/dev/xvdf"),
        ("g3s.xlarge", "/dev/xvdg", "/dev/xvdg"),
        ("g5.xlarge", "", ""),
    ],
)
def test_device(instance_type: str, attached_as: str, device: str) -> None:
    assert device_of(instance_type, "vol-0123456789abcdef0", attached_as) == device


@pytest.mark.parametrize(
    ("volumes", "size", "hosts", "amount"),
    [
        ([], 100, ["1"], 8.0),
        ([volume()], 100, ["1"], 0.0),
        ([volume()], 150, ["1"], 4.0),
        ([volume()], 150, ["1", "2"], 16.0),
        ([volume()], 0, ["1"], 0.0),
        ([volume()], 100, [], 0.0),
    ],
)
def test_the_change_of_cost_counts_data_volumes(
    volumes: list[Item], size: int, hosts: list[str], amount: float
) -> None:
    declared = {
        "volume": {"size": 200, "iops": 3000, "throughput": 125},
        "launch": {"hosts": [], "instance_type": "g5.xlarge"},
        "data": {"size": size, "iops": 3000, "throughput": 125, "hosts": hosts},
    }
    lab = {"region": "us-east-1", "prices": {}, "instance_catalogue": []}
    found = lab_provision_cost([], [], declared, lab, data_volumes=volumes)
    assert found["per_month"] == found["per_month_stopped"] == amount
    assert bool(found["line"]) == bool(amount)
