# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs and instance types agree with EC2's own description, and unknown types are read from it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.data import machines
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.machines import (
    Card,
    Kind,
    find_gpu,
    known_kinds,
    merge,
    read_described,
)
from moto.ec2.models.instance_types import INSTANCE_TYPES

from tests.support.project import ROOT, load_yaml

TYPES: dict[str, dict[str, Any]] = INSTANCE_TYPES


@pytest.mark.parametrize(
    ("gpu", "has"),
    [
        ("T4", True),
        ("Tesla T4", True),
        ("NVIDIA A10G", True),
        ("NVIDIA A10", True),
        ("NVIDIA L4", True),
        ("NVIDIA L40S", True),
        ("NVIDIA GeForce RTX 4090", True),
        ("V100", False),
        ("Tesla V100-SXM2-16GB", False),
        ("NVIDIA A100-SXM4-40GB", False),
        ("NVIDIA H100 80GB HBM3", False),
        ("Tesla P4", False),
        ("", False),
    ],
)
def test_rt_cores(gpu: str, has: bool) -> None:
    assert Card(gpu).traces_rays is has


@pytest.mark.parametrize(
    ("name", "compute", "module"),
    [
        ("Tesla T4", 7.5, "possible"),
        ("NVIDIA A10G", 8.6, "possible"),
        ("NVIDIA L4", 8.9, "possible"),
        ("NVIDIA L40S", 8.9, "possible"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 12.0, "needed"),
        ("RTX PRO Server 6000", 12.0, "needed"),
        ("RTX PRO 4500", 12.0, "needed"),
        ("Tesla V100-SXM2-16GB", 7.0, "none"),
        ("NVIDIA GeForce RTX 4090", None, None),
        ("A100X", None, None),
    ],
)
def test_gpus(name: str, compute: float | None, module: str | None) -> None:
    found = find_gpu(name)
    assert (found.compute if found else None, found.open_module if found else None) == (compute, module)


def facts(kind: Kind) -> tuple[object, ...]:
    """Return what EC2 describes of an instance type."""
    there = kind.machine
    return there.cards, there.ram, kind.gpus, kind.vcpus, kind.network, kind.disk_gb


@pytest.mark.parametrize("name", [name for name in known_kinds() if name in TYPES])
def test_the_table_is_what_ec2_describes(name: str) -> None:
    described = read_described(TYPES[name])
    assert facts(known_kinds()[name]) == facts(described)
    assert described.unusable == ""


def test_the_table_has_all_sizes_of_its_families() -> None:
    families = {name.partition(".")[0] for name in known_kinds()} - {"p3"}
    assert families == {"g4dn", "g5", "g6", "g6e", "g7", "g7e"}
    assert {name for name in TYPES if name.partition(".")[0] in families} | {"p3.2xlarge"} == set(known_kinds())


def test_the_guides_types_have_the_guides_prices() -> None:
    guide = {"g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "p3.2xlarge": 3.06}
    assert {name: known_kinds()[name].prices["us-east-1"] for name in guide} == guide


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("g6f.xlarge", "it has a share of a GPU, which needs NVIDIA's GRID driver"),
        ("gr6f.4xlarge", "it has a share of a GPU, which needs NVIDIA's GRID driver"),
        ("g5g.xlarge", "it is not an x86_64 machine"),
        ("m5.large", "it has no GPU"),
        ("gr6.4xlarge", ""),
        ("p4d.24xlarge", ""),
    ],
)
def test_types_that_ec2_describes(name: str, reason: str) -> None:
    kind = merge([TYPES[name]])[name]
    assert kind.unusable == reason
    assert kind.prices == {}


def test_types_that_the_lab_cannot_use() -> None:
    amd = {**TYPES["g5.xlarge"], "GpuInfo": {"Gpus": [{"Name": "Radeon Pro V520", "Manufacturer": "AMD", "Count": 1}]}}
    assert read_described(amd).unusable == "its GPU is from AMD, not from NVIDIA"
    reserved = {**TYPES["p5.48xlarge"], "SupportedUsageClasses": ["capacity-block"]}
    assert read_described(reserved).unusable == "it is not sold on demand"


def test_ec2s_description_overrides_the_table_except_for_prices() -> None:
    described = {**TYPES["g5.xlarge"], "MemoryInfo": {"SizeInMiB": 20000}}
    kind = merge([described])["g5.xlarge"]
    assert (kind.machine.ram, kind.prices) == (20000, {"us-east-1": 1.006})


def test_the_roles_catalogue_agrees() -> None:
    # The guide states the highest network speed of a family. Memory of GPUs is nominal there.
    catalogue = load_yaml(ROOT / "roles/aws_infrastructure/defaults/main.yml")["aws_infrastructure_instance_catalogue"]
    assert {entry["type"] for entry in catalogue} >= {
        "g5.xlarge",
        "g6.2xlarge",
        "g6e.2xlarge",
        "g7.2xlarge",
        "g7e.2xlarge",
    }
    for entry in catalogue:
        kind = known_kinds()[entry["type"]]
        named = (entry["gpu"], entry["vcpus"], entry["memory_gib"], entry["price_per_hour"])
        assert named == (kind.machine.gpu, kind.vcpus, kind.machine.ram / 1024, kind.prices["us-east-1"])
        assert 0 <= entry["gpu_memory_gib"] - (kind.machine.vram or 0) / 1024 < 4
        assert entry.get("auto_recovery", False) is (kind.disk_gb == 0)


def test_data_is_dated_and_names_its_sources() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", machines()["checked"])
    assert all(source.startswith("https://") for source in machines()["sources"].values())
    assert machines()["recommended_by_guide"] in known_kinds()
    assert all(find_gpu(kind.machine.gpu) for kind in known_kinds().values())
