# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chosen type is the cheapest that fits, by arithmetic of its own: every type, every profile, every region."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_offers import FilterModule
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

from tests.support.project import ROOT, load_yaml

offers = FilterModule().filters()["stack_offers"]
STACK = ROOT / "plugins/plugin_utils/_stack"
MACHINES, MODELS = load_yaml(STACK / "machines.yml"), load_yaml(STACK / "models.yml")
SERVICES = load_yaml(ROOT / "compose/versions.yml")["services"]
HOST = load_yaml(ROOT / "compose/versions.yml")["host"]
TYPES: dict[str, dict[str, Any]] = {entry["type"]: entry for entry in MACHINES["types"]}
GPUS = {name.upper(): entry for entry in MACHINES["gpus"] for name in entry["names"]}
# As compose.yaml has them.
BASE = ["redis", "cognitive"]
PROFILES = {
    "nav": [*BASE, "ros2", "foxglove"],
    "sim": [*BASE, "ros2", "foxglove", "isaac_sim"],
    "voice": [*BASE, "riva", "nim"],
    "full": [*BASE, "ros2", "foxglove", "isaac_sim", "riva", "nim"],
}
# The services of each GPU, by the number of GPUs; with more than four, as with four.
ON_GPUS: dict[tuple[str, int], list[list[str]]] = {
    ("nav", 1): [],
    ("nav", 2): [],
    ("nav", 4): [],
    ("sim", 1): [["isaac_sim"]],
    ("sim", 2): [["isaac_sim"]],
    ("sim", 4): [["isaac_sim"]],
    ("voice", 1): [["riva", "nim"]],
    ("voice", 2): [["nim"], ["riva"]],
    ("voice", 4): [["nim"], ["riva"]],
    ("full", 1): [["isaac_sim", "riva", "nim"]],
    ("full", 2): [["isaac_sim", "riva"], ["nim"]],
    ("full", 4): [["isaac_sim"], ["nim"], ["riva"]],
}
REGIONS = sorted(INSTANCE_TYPE_OFFERINGS["region"])


def mib(given: dict[str, Any], what: str, which: int) -> int:
    """Return a minimum (0), or what it takes to run well (1), in MiB."""
    if f"{what}_mib" in given:
        return int(given[f"{what}_mib"][which])
    return int(given.get(f"{what}_gb", (0, 0))[which] * 10**9 // 2**20)


def gpu_runs(gpu: dict[str, Any], names: list[str]) -> bool:
    """Return whether a GPU runs some services."""
    needs = {name: SERVICES[name]["needs"] for name in names}
    if any(need.get("rt_cores") for need in needs.values()) and not gpu["rt_cores"]:
        return False
    if any(need.get("compute_capability", 0) > gpu["compute_capability"] for need in needs.values()):
        return False
    offered = int(gpu["vram_mib"] * MODELS["usable_fraction"])
    if sum(mib(need, "vram", 0) for need in needs.values()) > offered:
        return False
    if "nim" not in needs:
        return True
    # NIM's 8 GB, or less where the others would get less than their minimum; or all that they do not need.
    others = [need for name, need in needs.items() if name != "nim"]
    promised = min(mib(needs["nim"], "vram", 1), offered - sum(mib(need, "vram", 0) for need in others))
    share = min(0.9 * offered, max(promised, offered - sum(mib(need, "vram", 1) for need in others)))
    # The share is a whole number of hundredths. No type is so close to a limit that these decide.
    smallest = min(map(smallest_share, filter(lambda model: runs(model, gpu), MODELS["models"])), default=10**9)
    assert smallest <= share - offered / 100 or smallest > share
    return smallest <= share


def runs(model: dict[str, Any], gpu: dict[str, Any]) -> bool:
    """Return whether a GPU is of a generation that runs a language model."""
    first, below = [*model["compute_capability"], 99][:2]
    return bool(first <= gpu["compute_capability"] < below)


def smallest_share(model: dict[str, Any]) -> float:
    """Return what a model takes with the smallest context, in MiB."""
    cached = min(MODELS["contexts"]) * model["kv_bytes"] / 2**20
    return float(model["weights_mib"] + sum(MODELS["overhead_mib"].values()) + cached)


@cache
def judge(name: str, profile: str) -> str:
    """Return how a profile runs on a type: well, tight or not."""
    entry = TYPES[name]
    gpu = GPUS[entry["gpu"].upper()]
    on_gpus = ON_GPUS[profile, min(entry["gpu_count"], 4)]
    if not all(gpu_runs(gpu, names) for names in on_gpus):
        return "not"
    needs = [SERVICES[service]["needs"] for service in PROFILES[profile]]
    ram = entry["ram_gib"] * 1024
    if ram < sum(mib(need, "ram", 0) for need in [*needs, HOST["needs"]]):
        return "not"
    vendor = max(need.get("machine", {}).get("ram_gb", 0) for need in needs) * 10**9 // 2**20
    enough = ram >= max(vendor, sum(mib(need, "ram", 1) for need in [*needs, HOST["needs"]]))
    cramped = any(gpu["vram_mib"] < sum(mib(SERVICES[name]["needs"], "vram", 1) for name in names) for names in on_gpus)
    return "well" if enough and not cramped else "tight"


def cheapest(names: list[str], profile: str) -> float | None:
    """Return the price in us-east-1 of the cheapest type of some on which a profile runs, well if there is one."""
    for answer in ("well", "tight"):
        prices = [TYPES[name]["prices"].get("us-east-1") for name in names if judge(name, profile) == answer]
        known = [price for price in prices if price is not None]
        if known:
            return float(min(known))
    return None


def check(names: list[str], profile: str, region: str) -> str:
    """Check the choice among types that a region offers, and return the chosen type."""
    found = offers(profile, region, names)
    chosen, price = found["instance_type"], cheapest(names, profile)
    assert bool(chosen) is (price is not None), (region, profile, names)
    if not chosen:
        assert found["price_per_hour"] is None
        assert found["problem"]
        return ""
    assert chosen in names
    entry = TYPES[chosen]
    # Where the region's own prices are known for all of these, they decide.
    own = [TYPES[name]["prices"].get(region) for name in names if TYPES[name]["prices"]]
    if None in own:
        assert entry["prices"]["us-east-1"] == price, (region, profile, chosen)
    assert found["price_per_hour"] == entry["prices"].get(region, entry["prices"]["us-east-1"])
    return str(chosen)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_region(profile: str) -> None:
    assert len(REGIONS) >= 20
    chosen = set()
    for region in REGIONS:
        there = {offer["InstanceType"] for offer in INSTANCE_TYPE_OFFERINGS["region"][region]}
        chosen.add(check([name for name in TYPES if name in there], profile, region))
    assert chosen - {""}


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-northeast-2"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_type_in_three_regions(profile: str, region: str) -> None:
    """Each type is once the cheapest that is left, so that each is chosen where it runs the profile."""
    assert len(TYPES) >= 25
    order = sorted(TYPES, key=lambda name: TYPES[name]["prices"].get("us-east-1", 1000))
    chosen = {check(order[number:], profile, region) for number in range(len(order))}
    if region == "us-east-1":
        priced = {name for name in TYPES if TYPES[name]["prices"]}
        assert chosen - {""} >= {name for name in priced if judge(name, profile) == "well"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_type_alone(profile: str) -> None:
    """It is chosen exactly where it runs the profile, well or not, and its price is known."""
    for name, entry in TYPES.items():
        runs_here = judge(name, profile) != "not" and "us-east-1" in entry["prices"]
        assert check([name], profile, "us-east-1") == (name if runs_here else "")


@pytest.mark.parametrize(
    ("profile", "numbers"),
    [("nav", (44, 0, 0)), ("sim", (40, 3, 1)), ("voice", (36, 0, 8)), ("full", (34, 0, 10))],
)
def test_the_arithmetic_tells_types_apart(profile: str, numbers: tuple[int, int, int]) -> None:
    answers = [judge(name, profile) for name in TYPES]
    assert tuple(map(answers.count, ("well", "tight", "not"))) == numbers
