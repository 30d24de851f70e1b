# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which profile of the stack runs on which machine."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_fit import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.fit import INSTANCES
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.needs import COMPONENTS, PROFILES

CASES = yaml.safe_load((Path(__file__).parent / "stack_fit.yml").read_text(encoding="utf-8"))
BIG = {"gpu": "NVIDIA L40S", "vram_mib": 46068, "ram_mib": 131072}
fit = FilterModule().filters()["stack_fit"]


def answer_of(message: str) -> str:
    """Return which answer a message belongs to."""
    if not message:
        return "fits"
    return "tight" if " is tight on " in message else "does not fit"


@pytest.mark.parametrize("case", CASES, ids=[f"{case['profile']} on {case['instance_type']}" for case in CASES])
def test_table(case: dict[str, Any]) -> None:
    found = fit(case["profile"], {"instance_type": case["instance_type"], "disk_gib": 200})
    message = case.get("message", "")
    assert (found["message"], found["answer"]) == (message, answer_of(message))
    assert found["smallest"] == (re.search(r"does is ([a-z0-9]+[.][a-z0-9]+)", message) or ["", ""])[1]
    left = re.sub(".* does not start (on .*), where ([0-9]+) are left for it[.]$", r"\2 \1", found["nim_message"])
    assert left == case.get("left_for_nim", "")


def test_the_table_is_whole() -> None:
    pairs = [(case["profile"], case["instance_type"]) for case in CASES]
    assert sorted(pairs) == sorted(product(PROFILES, INSTANCES))


def test_a_known_type_has_no_more_memory_than_its_driver_leaves() -> None:
    told = {"instance_type": "g5.xlarge", "vram_mib": 24 * 1024}
    assert fit("full", told)["message"] == fit("full", {"instance_type": "g5.xlarge"})["message"] != ""
    assert fit("full", {**told, "vram_mib": 16 * 1024 - 1})["answer"] == "does not fit"


def test_needs_are_the_guides() -> None:
    found = fit("full", BIG)
    needs = found["needs"]
    assert needs["vram_mib"] == [16 * 1024, 24 * 1024]
    assert needs["disk_gib"] == [100, 200]
    # Of the 100 the system takes 10.
    assert sum(found["services_disk_gib"].values()) == 90
    named = [COMPONENTS[name].ram for name in ("isaac_sim", "riva", "nim", "ros2")]
    assert [sum(column) for column in zip(*named, strict=True)] == [12 * 1024, 14 * 1024]


@pytest.mark.parametrize(("profile", "services"), PROFILES.items(), ids=PROFILES)
def test_services(profile: str, services: tuple[str, ...]) -> None:
    assert fit(profile, BIG)["services"] == list(services)


@pytest.mark.parametrize(
    ("profile", "vram", "fraction"),
    [
        ("full", 22888, 0.28),
        ("full", 46068, 0.64),
        ("voice", 15360, 0.73),
        ("voice", 22888, 0.82),
        # Never more than NIM takes by itself, and never less than its least.
        ("voice", 81559, 0.89),
        ("full", 15360, 0.4),
        ("full", 0, 0.0),
        ("sim", 22888, 0.0),
    ],
)
def test_nim_leaves_the_others_their_share(profile: str, vram: int, fraction: float) -> None:
    assert fit(profile, {**BIG, "vram_mib": vram})["nim_gpu_fraction"] == fraction


def test_too_little_memory_for_the_default_model_is_reported() -> None:
    message = "NIM is counted with the guide's 6144 to 8192 MiB of GPU memory, enough for a small or quantised model."
    assert fit("voice", {"instance_type": "g4dn.xlarge"})["nim_message"].startswith(message)
    assert fit("voice", {**BIG, "vram_mib": 17408 + 4096})["nim_message"] == ""
    assert "where 17407 are left for it." in fit("voice", {**BIG, "vram_mib": 17407 + 4096})["nim_message"]
    assert fit("full", BIG)["nim_message"] == ""


LACKING: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "enough of everything": ("full", {}, "fits", "^$"),
    "exactly enough": ("full", {"vram_mib": 24576, "ram_mib": 16000, "disk_gib": 200}, "fits", "^$"),
    "one MiB of memory short": ("full", {"ram_mib": 15999}, "tight", "is tight on this machine: 1 MiB of memory less"),
    "as Linux sees 16 GiB": ("full", {"ram_mib": 15757}, "tight", "243 MiB of memory less than the 16000 it takes"),
    "exactly the least": ("full", {"vram_mib": 16384, "ram_mib": 13952, "disk_gib": 100}, "tight", "100 GiB of disk"),
    "less than the least": ("full", {"ram_mib": 13951}, "does not fit", "13951 MiB of memory, 1 less than the 13952"),
    "small disk": ("full", {"disk_gib": 99}, "does not fit", "99 GiB of disk, 1 less than the 100"),
    "what is only tight is left out": ("full", {"disk_gib": 99, "ram_mib": 15999}, "does not fit", "^(?!.*of memory)"),
    "no GPU": (
        "sim",
        {"gpu": "", "vram_mib": 0},
        "does not fit",
        "and there is no GPU; 0 MiB of GPU memory, 8192 less",
    ),
    "no GPU needed": ("nav", {"gpu": "", "vram_mib": 0, "ram_mib": 4096}, "fits", "^$"),
    "told to have RT cores": ("sim", {"gpu": "V100", "rt_cores": True}, "fits", "^$"),
    "told to have none": ("sim", {"rt_cores": False}, "does not fit", "RT cores only and NVIDIA L40S has none"),
    "its name": ("sim", {"name": "lab-1", "ram_mib": 0}, "does not fit", "does not fit on lab-1: 0 MiB of memory"),
}


@pytest.mark.parametrize(("profile", "machine", "answer", "message"), LACKING.values(), ids=LACKING)
def test_lacking(profile: str, machine: dict[str, Any], answer: str, message: str) -> None:
    found = fit(profile, {**BIG, **machine})
    assert found["answer"] == answer
    assert re.search(message, found["message"]), found["message"]


# What nvidia-smi prints of a host's GPUs: how profile full fits, with which GPU's name in the notice that its memory is
# not known.
SMI: dict[str, tuple[str, str, str]] = {
    "a number": ("NVIDIA L40S, 46068", "fits", ""),
    "with its unit": ("NVIDIA L40S, 46068 MiB", "fits", ""),
    "in GiB": ("NVIDIA L40S, 45 GiB", "fits", ""),
    "with heading": ("name, memory.total [MiB]\nNVIDIA L40S, 46068 MiB", "fits", ""),
    "too little": ("Tesla T4, 15360", "does not fit", ""),
    "no GPU": ("", "does not fit", ""),
    "no devices": ("No devices were found", "does not fit", ""),
    "shared memory": ("NVIDIA GB10, [N/A]", "fits", "NVIDIA GB10"),
    "without brackets": ("NVIDIA Thor, N/A", "fits", "NVIDIA Thor"),
    "not supported": ("Orin (nvgpu), [Not Supported]", "fits", "Orin (nvgpu)"),
    "unknown error": ("NVIDIA L40S, [Unknown Error]", "fits", "NVIDIA L40S"),
    "requires reset": ("NVIDIA L40S, [GPU requires reset]", "fits", "NVIDIA L40S"),
    "lost": ("NVIDIA L40S, [GPU is lost]", "fits", "NVIDIA L40S"),
    "MIG, as another user": ("NVIDIA L40S, [Insufficient Permissions]", "fits", "NVIDIA L40S"),
    "error as a word": ("NVIDIA L40S, ERR!", "fits", "NVIDIA L40S"),
    "nothing": ("NVIDIA GB10,", "fits", "NVIDIA GB10"),
    "zero": ("NVIDIA GB10, 0", "fits", "NVIDIA GB10"),
    "zero with its unit": ("NVIDIA GB10, 0 MiB", "fits", "NVIDIA GB10"),
    "not even a name": ("[N/A], [N/A]", "fits", "A GPU without a name ([N/A])"),
    "the second does not report": ("NVIDIA L40S, 46068\nNVIDIA GB10, [N/A]", "fits", ""),
    "the first does not report": ("NVIDIA GB10, [N/A]\nTesla T4, 15360", "fits", "NVIDIA GB10"),
    "too little, and one that does not report": ("Tesla T4, 15360\nNVIDIA GB10, [N/A]", "fits", "NVIDIA GB10"),
    "too little twice": ("Tesla T4, 15360\nTesla T4, 15360", "does not fit", ""),
    "a warning after it": ("NVIDIA L40S, 46068\nWARNING: infoROM is corrupted at gpu 0000:00:1E.0", "fits", ""),
    "without RT cores": ("NVIDIA GH200 480GB, [N/A]", "does not fit", "NVIDIA GH200 480GB"),
}


@pytest.mark.parametrize(("printed", "answer", "unknown"), SMI.values(), ids=SMI)
def test_what_nvidia_smi_prints(printed: str, answer: str, unknown: str) -> None:
    found = fit("full", {"nvidia_smi": printed, "ram_mib": 131072})
    assert found["answer"] == answer
    assert found["vram_message"].partition(" of this machine does not report its memory, so ")[0] == unknown
    if printed:
        assert not re.search(r"\b0 MiB", found["message"]) or "No devices" in printed
    if unknown and answer == "fits":
        assert found["nim_gpu_fraction"] == 0
        assert found["nim_message"] == ""


@pytest.mark.parametrize("value", [None, "", "[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", 0, "0"])
def test_a_gpu_that_does_not_report_its_memory_is_not_too_small(value: Any) -> None:
    found = fit("full", {"gpu": "NVIDIA GB10", "vram_mib": value, "ram_mib": 131072})
    assert found["answer"] == "fits"
    assert "does not report its memory" in found["vram_message"]
    assert fit("nav", {"gpu": "NVIDIA GB10", "vram_mib": value, "ram_mib": 131072})["vram_message"] == ""
    known = {"instance_type": "g5.xlarge", "vram_mib": value}
    assert fit("full", known)["message"] == fit("full", {"instance_type": "g5.xlarge"})["message"]


@pytest.mark.parametrize(
    ("ram", "wanted", "gets", "message"),
    [
        (32768, 16384, 16384, ""),
        (65536, 16384, 16384, ""),
        (16384, 16384, 8192, "Shared memory is 8192 MiB instead of 16384: half of the machine's 16384 MiB of memory."),
        (15757, 16384, 7878, "Shared memory is 7878 MiB instead of 16384: half of the machine's 15757 MiB of memory."),
        (16384, 1024, 1024, ""),
    ],
)
def test_shared_memory(ram: int, wanted: int, gets: int, message: str) -> None:
    found = fit("nav", {**BIG, "ram_mib": ram}, wanted)
    assert (found["shm_mib"], found["shm_message"]) == (gets, message)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "profile": ("all", BIG, "profile is 'all'. Allowed: sim, nav, voice, full"),
    "type": (
        "nav",
        {"instance_type": "m5.large"},
        "machine lacks gpu, vram_mib, ram_mib: instance_type is 'm5.large', and",
    ),
    "nothing": ("nav", {"gpu": "T4"}, "machine lacks vram_mib, ram_mib: there is no instance_type"),
    "unknown name": ("nav", {**BIG, "ram": 1}, "machine has ram. Allowed: name, instance_type, gpu"),
    "no number": ("nav", {**BIG, "ram_mib": "much"}, "machine.ram_mib is 'much'; needed: a number"),
    "negative": ("nav", {**BIG, "disk_gib": -1}, "machine.disk_gib is -1; needed: a number"),
    "truth": ("nav", {**BIG, "vram_mib": True}, "machine.vram_mib is True; needed: a number"),
}


@pytest.mark.parametrize(("profile", "machine", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(profile: str, machine: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"^stack_fit: {re.escape(message)}"):
        fit(profile, machine)
