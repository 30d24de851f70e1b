# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instance type is chosen of what a region offers, and why the others are not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_offers import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.machines import known_kinds
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.needs import PROFILES
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

offers = FilterModule().filters()["stack_offers"]

# Whether each profile runs on each type, as the filter stack_fit answers.
FITS = {case["type"]: case for case in yaml.safe_load((Path(__file__).parent / "stack_fit.yml").read_text("utf-8"))}

# The chosen type and its price in us-east-1, by region and profile. eu-west-1 offers no g6 and us-west-1 only g4dn.
CHOSEN: dict[str, dict[str, tuple[str, float | None]]] = {
    "us-east-1": {
        "nav": ("g4dn.xlarge", 0.526),
        "sim": ("g4dn.2xlarge", 0.752),
        "voice": ("g6.xlarge", 0.8048),
        "full": ("g6.2xlarge", 0.9776),
    },
    "eu-central-1": {
        "nav": ("g4dn.xlarge", 0.526),
        "sim": ("g4dn.2xlarge", 0.752),
        "voice": ("g6.xlarge", 0.8048),
        "full": ("g6.2xlarge", 0.9776),
    },
    "eu-west-1": {
        "nav": ("g4dn.xlarge", 0.526),
        "sim": ("g4dn.2xlarge", 0.752),
        "voice": ("g5.xlarge", 1.006),
        "full": ("g5.2xlarge", 1.212),
    },
    "us-west-1": {
        "nav": ("g4dn.xlarge", 0.526),
        "sim": ("g4dn.2xlarge", 0.752),
        "voice": ("", None),
        "full": ("", None),
    },
}


@cache
def offered_in(region: str) -> tuple[str, ...]:
    """Return the instance types of a region, as EC2 offered them when moto's data were read."""
    return tuple(sorted({str(offer["InstanceType"]) for offer in INSTANCE_TYPE_OFFERINGS["region"][region]}))


def by_type(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the offers by type."""
    return {offer["type"]: offer for offer in found["offers"]}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("region", CHOSEN)
def test_every_type_in_every_region(region: str, profile: str) -> None:
    found = offers(profile, region, list(offered_in(region)))
    chosen, price = CHOSEN[region][profile]
    assert (found["instance_type"], found["price_per_hour"]) == (chosen, price)
    assert bool(found["problem"]) is (not chosen)
    assert len(found["offers"]) == len(FITS) >= 25
    for name, offer in by_type(found).items():
        assert offer["chosen"] is (name == chosen)
        reasons = "; ".join(offer["reasons"])
        answer = FITS[name][profile].partition(" ")[0]
        assert ("not offered in" in reasons) is (name not in offered_in(region))
        assert ("price is not known" in reasons) is (offer["price_per_hour"] is None)
        if answer == "no":
            assert re.search("RT cores|compute capability|MiB of|of its", reasons)
        if answer == "tight" and name in offered_in(region):
            assert reasons.startswith("tight: ")
        if offer["price_per_hour"] is not None and price is not None and offer["price_per_hour"] < price:
            assert reasons, f"{name} is cheaper and has no reason"
        if not reasons and not offer["chosen"]:
            assert offer["price_per_hour"] >= price


def test_the_default_profile_costs_no_more_than_the_guides_recommendation() -> None:
    found = offers("full", "us-east-1", list(offered_in("us-east-1")))
    assert (found["instance_type"], found["price_region"], found["open_module"]) == (
        "g6.2xlarge",
        "us-east-1",
        "possible",
    )
    assert found["price_per_hour"] <= by_type(found)["g5.xlarge"]["price_per_hour"] == 1.006
    assert found["arithmetic"][0].startswith("GPU memory: 7548 nim + 3585 riva + 10986 isaac_sim = 22119 of 22201 MiB")
    assert found["table"] == [
        "   instance type  GPU   GPU GiB  GiB  vCPUs  $/hour",
        *(line for line in found["table"][1:4]),
        "*  g6.2xlarge     L4    22.4     32   8      0.978   chosen; llama-3.1-8b-instruct-awq, context 2048",
        "   g5.xlarge      A10G  22.4     16   4      1.006   16384 MiB of memory, 4493 less than the 20877 it "
        "requires (NVIDIA requires 32 GB for Isaac Sim, the guide counts 4 to 6)",
        *(line for line in found["table"][6:-1]),
        "US dollars on demand, for Linux, without disk and address, as published 2026-01-19 to 2026-10-05",
    ]
    assert len(found["table"]) == 8
    assert "~" not in "\n".join(found["table"])
    assert [line.split()[0] for line in found["table"][1:4]] == ["g4dn.xlarge", "g4dn.2xlarge", "g6.xlarge"]


def test_prices_of_another_region_are_marked() -> None:
    found = offers("full", "eu-central-1", list(offered_in("eu-central-1")))
    assert found["table"][-2] == "~ an estimate: the price in us-east-1, as that in eu-central-1 is not known here"
    assert "  ~0.978  " in "\n".join(found["table"])
    assert (found["price_per_hour"], found["price_region"]) == (0.9776, "us-east-1")
    # A price of the region itself is shown, although those of us-east-1 decide the order.
    found = offers("full", "eu-central-1", ["g6e.xlarge", "g6e.2xlarge", "g6e.4xlarge"])
    assert (found["instance_type"], found["price_per_hour"], found["price_region"]) == (
        "g6e.xlarge",
        2.327,
        "eu-central-1",
    )
    assert by_type(found)["g6e.xlarge"]["estimated"] is False
    assert by_type(found)["g6e.2xlarge"]["estimated"] is True
    assert by_type(found)["g6e.2xlarge"]["price_per_hour"] == 2.24208
    assert {"2.327", "~1.006"} <= set(" ".join(found["table"]).split())
    # Where only types are offered whose own prices are known, these are used.
    found = offers("full", "eu-central-1", ["g6e.xlarge"])
    assert (found["instance_type"], found["price_per_hour"], found["price_region"]) == (
        "g6e.xlarge",
        2.327,
        "eu-central-1",
    )
    assert by_type(found)["g6e.xlarge"]["estimated"] is False


def test_the_guides_recommendation_is_always_shown() -> None:
    assert any("g5.xlarge" in line for line in offers("nav", "us-east-1", list(known_kinds()))["table"])


@pytest.mark.parametrize(
    ("left", "count", "chosen", "reason"),
    [
        (None, 1, "g6.2xlarge", ""),
        (8, 1, "g6.2xlarge", ""),
        # g6e.xlarge has 4 vCPUs, and costs more.
        (4, 1, "g6e.xlarge", "needs 8 vCPUs, and the quota leaves 4"),
        (15, 2, "g6e.xlarge", "needs 16 vCPUs, and the quota leaves 15"),
        (0, 1, "", "needs 8 vCPUs, and the quota leaves 0"),
    ],
)
def test_quotas(left: int | None, count: int, chosen: str, reason: str) -> None:
    found = offers("full", "us-east-1", list(known_kinds()), quotas={"g": left}, count=count)
    assert found["instance_type"] == chosen
    assert "; ".join(by_type(found)["g6.2xlarge"]["reasons"]) == reason
    if not chosen:
        assert found["problem"].startswith("profile full runs on no instance type that can be had in us-east-1. ")
        assert "g6.2xlarge: needs 8 vCPUs, and the quota leaves 0" in found["problem"]


def test_a_tight_type_is_chosen_only_without_one_that_fits() -> None:
    assert offers("sim", "us-east-1", ["g4dn.xlarge", "g4dn.4xlarge"])["instance_type"] == "g4dn.4xlarge"
    found = offers("sim", "us-east-1", ["g4dn.xlarge"])
    assert found["instance_type"] == "g4dn.xlarge"
    assert "chosen; 14133 MiB of memory less than the 30517" in "\n".join(found["table"])


def test_a_small_disk_is_a_reason() -> None:
    found = offers("full", "us-east-1", ["g6.2xlarge"], disk_gib=80)
    assert found["instance_type"] == ""
    assert "80 GiB of disk, 20 less than the 100" in "; ".join(by_type(found)["g6.2xlarge"]["reasons"])


def test_types_that_only_ec2_describes() -> None:
    names = ["g6f.xlarge", "g5g.xlarge", "gr6.4xlarge", "p4d.24xlarge"]
    found = offers("full", "us-east-1", names, described=[INSTANCE_TYPES[name] for name in names])
    reasons = {name: by_type(found)[name]["reasons"] for name in names}
    unpriced = "its price is not known here: set aws_infrastructure_instance_type to use it"
    assert reasons == {
        "g6f.xlarge": ["it has a share of a GPU, which needs NVIDIA's GRID driver"],
        "g5g.xlarge": ["it is not an x86_64 machine"],
        "gr6.4xlarge": [unpriced],
        "p4d.24xlarge": ["Isaac Sim renders on RT cores only and A100 has none", unpriced],
    }
    assert found["instance_type"] == ""
    assert "gr6.4xlarge: its price is not known here" in found["problem"]


def test_a_type_that_ec2_no_longer_describes() -> None:
    names = ["g4dn.xlarge", "p3.2xlarge", "g6.2xlarge"]
    found = offers("nav", "us-east-1", names, described=[INSTANCE_TYPES["g4dn.xlarge"]])
    assert found["instance_type"] == "g4dn.xlarge"
    reasons = {name: offer["reasons"] for name, offer in by_type(found).items()}
    assert [reasons[name] for name in names] == [[], *[["EC2 no longer describes it"]] * 2]
    assert reasons["g5.xlarge"] == ["not offered in us-east-1"]
    assert offers("nav", "us-east-1", ["p3.2xlarge"])["instance_type"] == "p3.2xlarge"


def test_blackwell_needs_the_open_module() -> None:
    assert offers("full", "us-east-1", ["g7.2xlarge"])["open_module"] == "needed"


@pytest.mark.parametrize(
    ("module", "profile", "offered", "chosen", "reason"),
    [
        ("auto", "full", ["g7.2xlarge"], "g7.2xlarge", ""),
        ("open", "full", ["g7.2xlarge"], "g7.2xlarge", ""),
        ("none", "full", ["g7.2xlarge"], "g7.2xlarge", ""),
        ("proprietary", "full", ["g7.2xlarge"], "", "the proprietary kernel module does not run RTX PRO 4500"),
        ("proprietary", "full", ["g7.2xlarge", "g6e.2xlarge"], "g6e.2xlarge", "the proprietary kernel module does not"),
        ("open", "nav", ["p3.2xlarge"], "", "the open kernel module does not run V100"),
        ("proprietary", "nav", ["p3.2xlarge"], "p3.2xlarge", ""),
    ],
)
def test_the_kernel_module_of_the_driver(
    module: str, profile: str, offered: list[str], chosen: str, reason: str
) -> None:
    found = offers(profile, "us-east-1", offered, driver_module=module)
    assert found["instance_type"] == chosen
    reasons = by_type(found)[offered[0]]["reasons"]
    assert [text.startswith(reason) for text in reasons] == ([True] if reason else [])


def test_unknown_profile() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^stack_offers: profile is 'all'[.] Allowed: sim, nav, voice, full"):
        offers("all", "us-east-1", [])
