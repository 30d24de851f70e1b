# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run configures only hosts of the lab: they get its secrets, so tags alone are not enough."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.ansible_programs import run
from tests.support.project import ROOT

NAME = "robotics-lab"
PROFILE = "arn:aws:iam::123456789012:instance-profile/"


def instance(lab: str, key: str, profile: str) -> dict[str, object]:
    """Return the variables that inventory/aws_ec2.yml sets for an instance with a lab's tags."""
    variables = {"ec2_instance_id": "i-1", "lab_instance_id": "i-1", "lab_name": lab, "ec2_key_name": key}
    return {**variables, "ec2_iam_instance_profile": {"arn": f"{PROFILE}{profile}"}}


HOSTS: dict[str, dict[str, object]] = {
    "ours": instance(NAME, NAME, f"{NAME}-instance"),
    "other-key": instance(NAME, "web", f"{NAME}-instance"),
    "other-profile": instance(NAME, NAME, "web"),
    "no-profile": {"ec2_instance_id": "i-2", "lab_name": NAME},
    "another-lab": instance("lab-2", "lab-2", "lab-2-instance"),
    "workstation": {},
}


def select(folder: Path, **given: str) -> tuple[list[str], str]:
    """Return which hosts are selected, and the output."""
    inventory, play = folder / "inventory.json", folder / "play.yml"
    inventory.write_text(json.dumps({"lab": {"hosts": HOSTS}}))
    namespaces = "{{ hostvars.values() | map(attribute='gpu_metrics_namespace', default='-') | join(',') }}"
    selected = "{{ groups['lab_selected'] | join(',') }}"
    show = {"ansible.builtin.debug": {"msg": f"SELECTED={selected}= NAMESPACES={namespaces}="}}
    play.write_text(
        json.dumps(
            [
                {"ansible.builtin.import_playbook": str(ROOT / "playbooks" / "select.yml")},
                {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [show]},
            ]
        )
    )
    # Tested in test_control_machine.py and test_host_keys.py.
    values = json.dumps(
        {"aws_infrastructure_name": NAME, "control_machine_checked": True, "lab_host_key_saved": True, **given}
    )
    output = run(["ansible-playbook", "--inventory", str(inventory), str(play), "--extra-vars", values])
    return output.partition("SELECTED=")[2].partition("=")[0].split(","), " ".join(output.split())


def test_an_instance_with_the_labs_tags_only_is_not_selected(tmp_path: Path) -> None:
    selected, told = select(tmp_path)
    assert sorted(selected) == ["ours", "workstation"]
    assert 'its instance profile is "web", not "robotics-lab-instance"' in told
    assert "another-lab carries" not in told


def test_a_key_pair_from_before_the_lab_is_accepted(tmp_path: Path) -> None:
    assert sorted(select(tmp_path, aws_infrastructure_key_name="web")[0]) == ["other-key", "ours", "workstation"]


def test_an_instance_publishes_to_the_namespace_of_its_lab(tmp_path: Path) -> None:
    """The instances in HOSTS have their lab's values; other hosts have their own key and the role's default."""
    told = select(tmp_path)[1].partition("NAMESPACES=")[2].partition("=")[0]
    mine = f"DigitalTwin/{NAME}"
    assert told.split(",") == [mine, mine, mine, "-", "DigitalTwin/lab-2", "-"]
    told = select(tmp_path, gpu_metrics_namespace="Fleet")[1].partition("NAMESPACES=")[2].partition("=")[0]
    assert set(told.split(",")) == {"Fleet"}
