# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages show of the choice of a machine is what the filters return."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_fit import FilterModule as Fit
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_offers import FilterModule as Offers
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

from tests.support.project import ROOT, load_yaml

fit = Fit().filters()["stack_fit"]
offers = Offers().filters()["stack_offers"]
STACK_PAGE = (ROOT / "roles/digital_twin_stack/README.md").read_text("utf-8")


def default_choice() -> dict[str, Any]:
    """Return the offers for the profile as shipped, with the disk as shipped."""
    settings = load_yaml(ROOT / "group_vars/all.yml")
    there = sorted({offer["InstanceType"] for offer in INSTANCE_TYPE_OFFERINGS["region"]["us-east-1"]})
    found: dict[str, Any] = offers(
        settings["lab_profile"], "us-east-1", there, disk_gib=settings["aws_infrastructure_volume_size"]
    )
    return found


def test_the_table_of_offers() -> None:
    page = (ROOT / "roles/aws_infrastructure/README.md").read_text("utf-8")
    section = page.partition("## The instance type")[2].partition("\n## ")[0]
    shown = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    found = default_choice()
    assert shown
    assert shown[1].splitlines() == [*found["table"], *found["arithmetic"]]
    assert found["price_per_hour"] <= 1.006


def test_the_memory_that_is_left() -> None:
    (line,) = (line for line in default_choice()["arithmetic"] if line.startswith("GPU memory"))
    used, offered = map(int, re.findall(r"= ([0-9]+) of ([0-9]+) MiB", line)[0])
    assert f"planned to the last {offered - used} MiB" in STACK_PAGE
    assert f"This leaves {offered - used} MiB of the GPU" in (ROOT / "docs/compatibility.md").read_text("utf-8")
    for share, name in re.findall(r"([0-9]+) (nim|riva|isaac_sim)", line):
        assert f"{share} for {({'nim': 'NIM', 'riva': 'Riva', 'isaac_sim': 'Isaac Sim'})[name]}" in STACK_PAGE


def test_the_remedies_on_the_page() -> None:
    models = load_yaml(ROOT / "plugins/plugin_utils/_stack/models.yml")
    overhead, least = sum(models["overhead_mib"].values()), min(models["contexts"])
    offered = int(22888 * models["usable_fraction"])
    takes = {
        entry["name"]: entry["weights_mib"] + overhead + least * entry["kv_bytes"] / 2**20 for entry in models["models"]
    }
    smallest = min(takes, key=lambda name: takes[name])
    assert f"digital_twin_stack_language_model: {smallest}`" in STACK_PAGE
    # The fraction of the page holds it, and the next one does not.
    assert 0.32 * offered < takes[smallest] <= 0.33 * offered
    assert "digital_twin_stack_nim_gpu_fraction: 0.33`" in STACK_PAGE
    larger = fit("full", {"instance_type": "g6e.xlarge", "disk_gib": 200})
    (line,) = (line for line in larger["arithmetic"] if line.startswith("GPU memory"))
    used, whole = map(int, re.findall(r"= ([0-9]+) of ([0-9]+) MiB", line)[0])
    assert (larger["answer"], larger["model"]["precision"]) == ("fits", "fp8")
    assert f"leaves {(whole - used) * 2**20 / 1e9:.0f} GB free" in STACK_PAGE
    assert "g6e.xlarge`, $1.861 an hour" in STACK_PAGE
