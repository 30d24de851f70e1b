# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages of which archive make up the driver that is wanted.

The Debian lists are what apt-cache said in November 2026. The Ubuntu ones follow packages.ubuntu.com of that time in
names, summaries and the drivers' versions; their kernels' numbers are examples. Nothing here was run on Ubuntu.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter.nvidia_driver_choice import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._nvidia_driver.drivers import Request, World
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._nvidia_driver.gpus import ChoiceError
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._nvidia_driver.package_choice import (
    choose,
    parse_madison,
    transitional_packages,
)

HERE = Path(__file__).parent
CASES = yaml.safe_load((HERE / "nvidia_driver_choice.yml").read_text(encoding="utf-8"))
WRITTEN_DOWN = datetime.date(2026, 11, 24)


def recorded(archive: str, kind: str) -> str:
    """Return the output of apt-cache for an archive; nothing for an empty one."""
    path = HERE / "archives" / f"{archive}.{kind}"
    return path.read_text(encoding="utf-8") if archive != "empty" else ""


def world(archive: str, installed: dict[str, str]) -> World:
    """Return what there was on the day on which the lists were written down."""
    offered, transitional = recorded(archive, "madison"), recorded(archive, "search")
    return World(parse_madison(offered), transitional_packages(transitional), installed, WRITTEN_DOWN)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_choice(case: dict[str, Any]) -> None:
    request = Request(**{"distribution": "Debian", **case["wanted"]})
    there_is = world(case["archive"], case.get("installed", {}))
    if "refusal" in case:
        with pytest.raises(ChoiceError, match=case["refusal"]):
            choose(request, there_is)
        return
    choice = choose(request, there_is)
    expected = dict(case["expect"])
    assert expected.pop("packages", {}).items() <= choice.packages.items(), choice.packages
    assert expected.pop("exactly", choice.packages) == choice.packages
    found = {
        "branch": choice.driver.branch,
        "version": choice.driver.version,
        "module": choice.module.kind,
        "module_from": choice.module.source,
        "rejected": choice.rejected,
        "satisfied": choice.satisfied,
        "sources": choice.sources,
        "notices": choice.notices,
    }
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("archive", "place", "version", "names"),
    [
        ("debian-12", "debian12/x86_64", "580.95.05-1", ["libcuda1", "libnvidia-ml1", "nvidia-smi"]),
        ("debian-13", "debian13/x86_64", "580.95.05-1", ["libcuda1", "libnvidia-ml1", "nvidia-smi"]),
        ("ubuntu-24.04", "ubuntu2404/x86_64", "580.95.05-0ubuntu1", ["libnvidia-compute-580", "nvidia-driver-580"]),
    ],
)
@pytest.mark.parametrize("mirror", ["https://developer.download.nvidia.com", "http://mirror.lab/nvidia"])
def test_nvidias_own_repository_is_not_a_part_of_the_archive(
    archive: str, place: str, version: str, names: list[str], mirror: str
) -> None:
    """As cuda-keyring adds it, and as apt-cache shows a flat repository."""
    lines = [f" {name} | {version} | {mirror}/compute/cuda/repos/{place}  Packages\n" for name in names]
    wanted = Request(archive.partition("-")[0].capitalize(), flavour="desktop")
    offered = parse_madison("".join(lines) + recorded(archive, "madison"))
    there_is = World(offered, transitional_packages(recorded(archive, "search")), {}, WRITTEN_DOWN)
    assert choose(wanted, there_is) == choose(wanted, world(archive, {}))
    with pytest.raises(ChoiceError, match="Ubuntu in restricted"):
        choose(wanted, World(parse_madison("".join(lines)), set(), {}, WRITTEN_DOWN))


def test_the_filter_says_what_it_chose_or_why_it_did_not() -> None:
    choose_driver = FilterModule().filters()["nvidia_driver_choice"]
    wanted = {"distribution": "Ubuntu", "capabilities": ["compute"], "kernel": "6.17.0-1021-aws", "gpus": [0x1DB1]}
    text = [recorded("ubuntu-24.04", kind) for kind in ("search", "madison")]
    choice = choose_driver(wanted, *text, {})
    assert choice["refusal"] == ""
    assert choice["packages"]["nvidia-utils-580-server"] == "580.173.02-0ubuntu0.24.04.1"
    refused = choose_driver({**wanted, "module": "open"}, *text, {})
    assert re.match("GPU 10de:1db1 is older than Turing", refused["refusal"])
    assert refused.keys() == {"refusal", "final"}
    assert refused["final"] is True
    missing = choose_driver({**wanted, "branch": "999"}, *text, {})
    assert missing["final"] is False
