# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which profile of the stack runs on which machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_fit import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.machines import Kind, known_kinds
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.needs import PROFILES

CASES = yaml.safe_load((Path(__file__).parent / "stack_fit.yml").read_text(encoding="utf-8"))
BIG = {"gpu": "NVIDIA L40S", "vram_mib": 46068, "ram_mib": 131072}
fit = FilterModule().filters()["stack_fit"]


def summary_of(found: dict[str, Any]) -> str:
    """Return an answer in the form of stack_fit.yml."""
    kinds = [lack["kind"] for lack in found["lacks"] if lack["fatal"] or found["answer"] == "tight"]
    if found["model"] and found["answer"] != "does not fit":
        kinds += [found["model"]["precision"], f"{found['nim_max_model_len']}x{found['nim_max_num_seqs']}"]
    return " ".join([{"does not fit": "no"}.get(found["answer"], found["answer"]), *kinds])


@pytest.mark.parametrize("case", CASES, ids=[case["type"] for case in CASES])
def test_table(case: dict[str, str]) -> None:
    machine = {"instance_type": case["type"], "disk_gib": 200}
    assert {profile: summary_of(fit(profile, machine)) for profile in PROFILES} == {p: case[p] for p in PROFILES}


def test_the_table_is_whole() -> None:
    assert sorted(case["type"] for case in CASES) == sorted(known_kinds())
    assert len(CASES) >= 25


REASONS = {
    ("full", "g5.xlarge"): (
        "Profile full does not fit on g5.xlarge: 16384 MiB of memory, 4493 less than the 20877 it requires (NVIDIA "
        "requires 32 GB for Isaac Sim, the guide counts 4 to 6). The cheapest known instance type that does is "
        "g6.2xlarge, 0.978 US dollars an hour in us-east-1."
    ),
    ("sim", "g5.xlarge"): (
        "Profile sim is tight on g5.xlarge: 14133 MiB of memory less than the 30517 it takes to run well (NVIDIA "
        "requires 32 GB for Isaac Sim, the guide counts 4 to 6)."
    ),
    ("voice", "g4dn.2xlarge"): (
        "Profile voice does not fit on g4dn.2xlarge: riva and nim need a GPU of compute capability 8.0 and T4 has 7.5. "
        "The cheapest known instance type that does is g6.xlarge, 0.805 US dollars an hour in us-east-1."
    ),
    ("sim", "p3.2xlarge"): (
        "Profile sim does not fit on p3.2xlarge: Isaac Sim renders on RT cores only and V100 has none. The cheapest "
        "known instance type that does is g4dn.2xlarge, 0.752 US dollars an hour in us-east-1."
    ),
    ("full", "g6.2xlarge"): "",
}


@pytest.mark.parametrize(("profile", "name"), REASONS, ids=[" on ".join(pair) for pair in REASONS])
def test_reasons(profile: str, name: str) -> None:
    found = fit(profile, {"instance_type": name})
    assert found["message"] == REASONS[profile, name]
    assert found["cheapest"] == (re.search(r"does is ([a-z0-9]+[.][a-z0-9]+)", found["message"]) or ["", ""])[1]


# What nvidia-smi prints for the GPUs of the known types.
PRINTED = {
    "T4": "Tesla T4, 15360",
    "A10G": "NVIDIA A10G, 23028",
    "L4": "NVIDIA L4, 23034",
    "L40S": "NVIDIA L40S, 46068",
}


@pytest.mark.parametrize("kind", [kind for kind in known_kinds().values() if kind.machine.gpu in PRINTED])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_host_gets_the_answer_of_its_type(profile: str, kind: Kind) -> None:
    """What is accepted before it is paid for is accepted on the host, with the same model."""
    planned = fit(profile, {"instance_type": kind.name})
    # Linux sees 15757 MiB of 16384.
    printed = "\n".join([PRINTED[kind.machine.gpu]] * kind.gpus)
    found = fit(profile, {"nvidia_smi": printed, "ram_mib": int(kind.machine.ram * 0.9617)})
    same = ("answer", "model", "nim_max_model_len", "gpu_devices")
    assert [found[name] for name in same] == [planned[name] for name in same]


# What is asked of NIM on a card of 24 GB with `full`, and then: model, context, and what the answer says.
WISHES: dict[str, tuple[dict[str, Any], str, int, str]] = {
    "a context that fits": ({"nim_max_model_len": 1500}, "llama-3.1-8b-instruct-awq", 1500, ""),
    "a context for which a smaller model fits": ({"nim_max_model_len": 8192}, "qwen2.5-7b-instruct-awq", 8192, ""),
    "a context that does not fit": (
        {"nim_max_model_len": 4096, "model": "llama-3.1-8b-instruct-awq"},
        "",
        0,
        "the language model llama-3.1-8b-instruct-awq does not fit with a context of 4096 tokens into the 7630 MiB of "
        "GPU memory that the other services leave. The cheapest known instance type that does is g6e.xlarge",
    ),
    "a fraction": (
        {"nim_gpu_fraction": 0.33, "model": "qwen2.5-7b-instruct-awq"},
        "qwen2.5-7b-instruct-awq",
        4096,
        "",
    ),
    "a fraction of more than the others leave": (
        {"nim_gpu_fraction": 0.9, "model": "llama-3.1-8b-instruct"},
        "llama-3.1-8b-instruct",
        8192,
        "",
    ),
    "a fraction that is too small": (
        {"nim_gpu_fraction": 0.3},
        "",
        0,
        "no known language model fits into the 6660 MiB of GPU memory that are 0.3 of the GPU.",
    ),
    "a fraction for a model that is not known": ({"nim_gpu_fraction": 0.3, "model": "own"}, "", 0, ""),
}


@pytest.mark.parametrize(("given", "model", "context", "message"), WISHES.values(), ids=WISHES)
def test_what_is_asked_of_nim(given: dict[str, Any], model: str, context: int, message: str) -> None:
    found = fit("full", {"instance_type": "g5.2xlarge"}, **given)
    assert (found["model"].get("name", ""), found["nim_max_model_len"]) == (model, context)
    assert message in found["message"]
    assert found["answer"] == ("does not fit" if message else "fits")
    assert found["nim_gpu_fraction"] == given.get("nim_gpu_fraction", 0.34)


def test_what_is_asked_of_nim_is_a_number() -> None:
    with pytest.raises(AnsibleFilterError, match="nim_max_model_len is 'much' and nim_gpu_fraction is None"):
        fit("full", {"instance_type": "g5.2xlarge"}, nim_max_model_len="much")


def test_a_known_type_has_no_more_memory_than_its_driver_leaves() -> None:
    told = {"instance_type": "g5.2xlarge", "vram_mib": 24 * 1024}
    assert fit("full", told)["arithmetic"] == fit("full", {"instance_type": "g5.2xlarge"})["arithmetic"]
    assert fit("full", {**told, "vram_mib": 15000})["answer"] == "does not fit"


def test_needs_are_the_guides_or_higher() -> None:
    found = fit("full", BIG)
    needs = found["needs"]
    # 16 and 24 GB of 10^9 bytes, each part rounded down.
    assert needs["vram_mib"] == [15258, 22887]
    assert needs["disk_gib"] == [100, 200]
    # Of the 100 the system takes 10.
    assert sum(found["services_disk_gib"].values()) == 90
    # NVIDIA's 32 GB for a machine that runs Isaac Sim.
    assert [fit(profile, BIG)["needs"]["ram_mib"][1] for profile in ("sim", "full")] == [30517, 30517]
    assert [fit(profile, BIG)["needs"]["compute_capability"] for profile in PROFILES] == [0, 0, 8.0, 8.0]


def test_arithmetic_of_the_default_profile_on_a_card_of_24_gb() -> None:
    found = fit("full", {"instance_type": "g6.2xlarge", "disk_gib": 200})
    assert (found["answer"], found["model"]["name"]) == ("fits", "llama-3.1-8b-instruct-awq")
    assert found["arithmetic"] == [
        "GPU memory: 7548 nim + 3585 riva + 10986 isaac_sim = 22119 of 22201 MiB that CUDA offers of 22888",
        "Language model: llama-3.1-8b-instruct-awq (int4): 5465 weights + 1200 runtime + 512 activations + 371 cache = "
        "7548 MiB; context 2048, 1 at once, fraction 0.34 of the GPU",
        "Memory: 256 redis + 256 cognitive + 1907 riva + 3814 nim + 2048 ros2 + 11444 to 19073 isaac_sim + "
        "128 foxglove + 1024 system = 20877 to 28506 of 32768 MiB; NVIDIA requires 30517 for the whole machine",
    ]


@pytest.mark.parametrize(
    ("profile", "driver"), [("nav", ""), ("sim", "580.95.05"), ("voice", "580"), ("full", "580.95.05")]
)
def test_driver_minimum_is_the_highest_of_the_services(profile: str, driver: str) -> None:
    assert fit(profile, BIG)["driver_minimum"] == driver


@pytest.mark.parametrize(("profile", "services"), PROFILES.items(), ids=PROFILES)
def test_services(profile: str, services: tuple[str, ...]) -> None:
    assert fit(profile, BIG)["services"] == list(services)


@pytest.mark.parametrize(
    ("profile", "vram", "fraction", "precision"),
    [
        ("full", 22888, 0.34, "int4"),
        # As nvidia-smi reports an L4.
        ("full", 23034, 0.34, "int4"),
        ("full", 46068, 0.42, "fp8"),
        ("voice", 22888, 0.82, "fp8"),
        # Never more than it can use.
        ("voice", 81559, 0.24, "fp8"),
        ("sim", 22888, 0.0, ""),
        ("full", 0, 0.0, ""),
    ],
)
def test_model_that_fits(profile: str, vram: int, fraction: float, precision: str) -> None:
    found = fit(profile, {**BIG, "gpu": "NVIDIA L4", "vram_mib": vram})
    assert (found["nim_gpu_fraction"], found["model"].get("precision", "")) == (fraction, precision)


def test_own_model_is_not_checked() -> None:
    there = {**BIG, "vram_mib": 17000}
    assert [fit("full", there, model=model)["answer"] for model in ("", "own")] == ["does not fit", "tight"]
    found = fit("full", {**BIG, "vram_mib": 22888}, model="own")
    assert (found["answer"], found["model"], found["nim_gpu_fraction"]) == ("fits", {}, 0.34)


def test_a_model_that_does_not_fit_is_refused() -> None:
    found = fit("full", {"instance_type": "g5.2xlarge"}, model="llama-3.1-8b-instruct")
    assert found["message"] == (
        "Profile full does not fit on g5.2xlarge: the language model llama-3.1-8b-instruct does not fit into the 7630 "
        "MiB of GPU memory that the other services leave. The cheapest known instance type that does is g6e.xlarge, "
        "1.861 US dollars an hour in us-east-1."
    )
    assert fit("voice", {"instance_type": "g5.xlarge"}, model="llama-3.1-8b-instruct")["answer"] == "fits"


LACKING: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "enough of everything": ("full", {}, "fits", "^$"),
    "exactly enough": ("full", {"vram_mib": 23595, "ram_mib": 30517, "disk_gib": 200}, "fits", "^$"),
    "one MiB of memory short": ("full", {"ram_mib": 30516}, "tight", "is tight on this machine: 1 MiB of memory less"),
    "as Linux sees 16 GiB": ("sim", {"ram_mib": 15757}, "tight", "14760 MiB of memory less than the 30517 it takes"),
    "exactly the least": ("full", {"vram_mib": 22888, "ram_mib": 20877, "disk_gib": 100}, "tight", "100 GiB of disk"),
    "less than the least": ("full", {"ram_mib": 20876}, "does not fit", "20876 MiB of memory, 1 less than the 20877"),
    "small disk": ("full", {"disk_gib": 99}, "does not fit", "99 GiB of disk, 1 less than the 100"),
    "less than CUDA offers": ("full", {"vram_mib": 15700}, "does not fit", "CUDA offers 15229 of its 15700 MiB"),
    "no model fits": ("full", {"vram_mib": 15800}, "does not fit", "no known language model fits into the 5790 MiB"),
    "an old GPU": ("voice", {"gpu": "Tesla V100"}, "does not fit", "compute capability 8.0 and Tesla V100 has 7.0"),
    "an unknown GPU": ("voice", {"gpu": "NVIDIA RTX 9999"}, "fits", "^$"),
    "what is only tight is left out": ("full", {"disk_gib": 99, "ram_mib": 30516}, "does not fit", "^(?!.*of memory)"),
    "no GPU": (
        "sim",
        {"gpu": "", "vram_mib": 0},
        "does not fit",
        "and there is no GPU; 0 MiB of GPU memory, 7629 less",
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
    "NIM's does not report": ("NVIDIA L40S, 46068\nNVIDIA GB10, [N/A]", "fits", "NVIDIA GB10"),
    "Isaac Sim's does not report, NIM's is too old": (
        "NVIDIA GB10, [N/A]\nTesla T4, 15360",
        "does not fit",
        "NVIDIA GB10",
    ),
    "Riva's is too old": ("Tesla T4, 15360\nNVIDIA GB10, [N/A]", "does not fit", "NVIDIA GB10"),
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
        assert found["model"] == {}


@pytest.mark.parametrize("value", [None, "", "[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", 0, "0"])
def test_a_gpu_that_does_not_report_its_memory_is_not_too_small(value: Any) -> None:
    found = fit("full", {"gpu": "NVIDIA GB10", "vram_mib": value, "ram_mib": 131072})
    assert found["answer"] == "fits"
    assert "does not report its memory" in found["vram_message"]
    assert fit("nav", {"gpu": "NVIDIA GB10", "vram_mib": value, "ram_mib": 131072})["vram_message"] == ""
    known = {"instance_type": "g5.xlarge", "vram_mib": value}
    assert fit("full", known)["message"] == fit("full", {"instance_type": "g5.xlarge"})["message"]
    assert fit("voice", known)["model"] == fit("voice", {"instance_type": "g5.xlarge"})["model"] != {}


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


ALONE = {
    "isaac_sim": "11444 isaac_sim = 11444",
    "riva": "3814 riva = 3814",
    "both": "3814 riva + 11444 isaac_sim = 15258",
}
L4_NIM, A10G_NIM = "18648 nim = 18648", "19758 nim = 19758"
L4_SHARED = "7548 nim + 3585 riva + 10986 isaac_sim = 22119"
# Model, number of GPUs and profile; then the GPU of each service, how the memory of each GPU is divided, and NIM's
# precision and fraction.
SEVERAL: list[tuple[tuple[str, int, str], dict[str, str], list[str], tuple[str, float]]] = [
    (("L4", 1, "sim"), {"isaac_sim": "all"}, [ALONE["isaac_sim"]], ("", 0)),
    (("L4", 1, "full"), dict.fromkeys(("isaac_sim", "nim", "riva"), "all"), [L4_SHARED], ("int4", 0.34)),
    (("L4", 2, "nav"), {}, [], ("", 0)),
    (("L4", 2, "sim"), {"isaac_sim": "0"}, [ALONE["isaac_sim"]], ("", 0)),
    (("L4", 2, "voice"), {"nim": "0", "riva": "1"}, [L4_NIM, ALONE["riva"]], ("fp8", 0.84)),
    (("L4", 2, "full"), {"isaac_sim": "0", "nim": "1", "riva": "0"}, [ALONE["both"], L4_NIM], ("fp8", 0.84)),
    (("L4", 4, "voice"), {"nim": "0", "riva": "1"}, [L4_NIM, ALONE["riva"]], ("fp8", 0.84)),
    (
        ("L4", 4, "full"),
        {"isaac_sim": "0", "nim": "1", "riva": "2"},
        [ALONE["isaac_sim"], L4_NIM, ALONE["riva"]],
        ("fp8", 0.84),
    ),
    (("A10G", 2, "full"), {"isaac_sim": "0", "nim": "1", "riva": "0"}, [ALONE["both"], A10G_NIM], ("bf16", 0.89)),
    (
        ("A10G", 8, "full"),
        {"isaac_sim": "0", "nim": "1", "riva": "2"},
        [ALONE["isaac_sim"], A10G_NIM, ALONE["riva"]],
        ("bf16", 0.89),
    ),
]


@pytest.mark.parametrize(
    ("machine", "gpus", "memory", "served"), SEVERAL, ids=["-".join(map(str, row[0])) for row in SEVERAL]
)
def test_each_gpu_is_divided_among_its_own_services(
    machine: tuple[str, int, str], gpus: dict[str, str], memory: list[str], served: tuple[str, float]
) -> None:
    gpu, count, profile = machine
    found = fit(profile, {"gpu": gpu, "vram_mib": 22888, "gpu_count": count, "ram_mib": 196608})
    assert (found["answer"], found["gpu_devices"]) == ("fits", gpus)
    lines = [
        line.partition(" of 22201 MiB that CUDA offers of 22888")[0] for line in found["arithmetic"] if "CUDA" in line
    ]
    names = ["GPU memory"] if count == 1 else [f"Memory of GPU {number}" for number in range(len(memory))]
    assert lines == [f"{name}: {parts}" for name, parts in zip(names, memory, strict=False)]
    assert (found["model"].get("precision", ""), found["nim_gpu_fraction"]) == served


@pytest.mark.parametrize(
    ("profile", "machine", "answer", "message"),
    [
        # Each GPU alone is too small for the whole profile.
        ("full", {"vram_mib": 15360, "gpu_count": 4}, "fits", "^$"),
        (
            "sim",
            {"vram_mib": 12288},
            "tight",
            "machine: 12288 MiB of GPU memory, and NVIDIA requires a GPU with 15258 for isaac_sim",
        ),
        (
            "full",
            {"vram_mib": 12288, "gpu_count": 4},
            "tight",
            "GPU 0 for isaac_sim: 12288 MiB .* a GPU with 15258 for isaac_sim; GPU 2 for riva: 12288 MiB .* for riva",
        ),
        (
            "full",
            {"vram_mib": 12288, "gpu_count": 2},
            "tight",
            "on this machine: GPU 0 for riva and isaac_sim: 2970 MiB of GPU memory less than the 15258 it takes",
        ),
        (
            "full",
            {"vram_mib": 9000, "gpu_count": 2},
            "does not fit",
            "on this machine: GPU 0 for riva and isaac_sim: 9000 MiB of GPU memory, 536 less than the 9536 it requires",
        ),
        (
            "voice",
            {"vram_mib": 7700, "gpu_count": 2},
            "does not fit",
            "no known language model fits into the [0-9]{4} MiB of GPU memory of GPU 0 that NIM may take",
        ),
        (
            "voice",
            {"gpu": "T4", "gpu_count": 4},
            "does not fit",
            "machine: riva and nim need a GPU of compute capability 8",
        ),
        (
            "full",
            {"nvidia_smi": "NVIDIA L4, 23034\nTesla T4, 15360\nNVIDIA L4, 23034"},
            "does not fit",
            "machine: nim needs a GPU of compute capability 8.0 and Tesla T4 has 7.5",
        ),
        ("full", {"nvidia_smi": "Tesla T4, 15360\nNVIDIA L4, 23034\nNVIDIA L4, 23034"}, "fits", "^$"),
        (
            "full",
            {"nvidia_smi": "NVIDIA A100-SXM4-40GB, 40960\nNVIDIA L4, 23034"},
            "does not fit",
            "RT cores only and NVIDIA A100-SXM4-40GB has none",
        ),
    ],
)
def test_each_gpu_is_compared_with_its_own_services(
    profile: str, machine: dict[str, Any], answer: str, message: str
) -> None:
    found = fit(profile, {"gpu": "L4", "vram_mib": 22888, "ram_mib": 196608, **machine})
    assert found["answer"] == answer
    assert re.search(message, found["message"]), found["message"]


def test_the_memory_of_one_of_several_gpus_that_is_not_known() -> None:
    found = fit("full", {"nvidia_smi": "NVIDIA L40S, 46068\nNVIDIA GB10, [N/A]", "ram_mib": 131072})
    assert found["vram_message"] == (
        "NVIDIA GB10 of this machine does not report its memory, so it is not known whether it has the 7629 MiB that "
        "nim takes to run well."
    )


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


def test_unknown_model_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^stack_fit: model is 'gpt'[.] Allowed: llama-3[.]1-8b-instruct, "):
        fit("full", BIG, model="gpt")


@pytest.mark.parametrize(("profile", "machine", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(profile: str, machine: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"^stack_fit: {re.escape(message)}"):
        fit(profile, machine)
