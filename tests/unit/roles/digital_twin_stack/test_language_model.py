# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language model of a host, its image and its settings follow from the profile and the GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import ROOT

ROLE = ROOT / "roles/digital_twin_stack"
OWN = "nvcr.io/nim/meta/llama-3.1-8b-instruct:"
MODEL_FREE = "nvcr.io/nim/nvidia/model-free-nim:"
QWEN = "hf://Qwen/Qwen2.5-7B-Instruct-AWQ"
AWQ = "hf://hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"

FULL = {"digital_twin_stack_profile": "full"}
A10G = {"commands": {"gpus": {"rc": 0, "stdout": "NVIDIA A10G, 23028"}}, "files": {}}
L4_TWICE = {"commands": {"gpus": {"rc": 0, "stdout": "NVIDIA L4, 23034\nNVIDIA L4, 23034"}}, "files": {}}
L40S = {"commands": {"gpus": {"rc": 0, "stdout": "NVIDIA L40S, 46068"}}, "files": {}}
# What was read before the driver is there: no GPU was asked.
PREFETCH: dict[str, Any] = {"commands": {"docker": {"rc": 0}}, "files": {}}

# What is given, and then: image, path of the weights, context, sequences, fraction, and whether the machine is refused.
ROWS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "full on a card of 24 GB": ({"__digital_twin_stack_host": A10G}, [MODEL_FREE, AWQ, 2048, 1, 0.34, "fits"]),
    "full on a card of 48 GB": ({"__digital_twin_stack_host": L40S}, [OWN, "", 8192, 8, 0.42, "fits"]),
    "full on two cards of 24 GB": ({"__digital_twin_stack_host": L4_TWICE}, [OWN, "", 8192, 8, 0.84, "fits"]),
    "voice on a card of 24 GB": (
        {"__digital_twin_stack_host": A10G, "digital_twin_stack_profile": "voice"},
        [OWN, "", 8192, 5, 0.82, "fits"],
    ),
    "sim has no model": (
        {"__digital_twin_stack_host": A10G, "digital_twin_stack_profile": "sim"},
        [OWN, "", "", "", "", "fits"],
    ),
    "a model that does not fit": (
        {"__digital_twin_stack_host": A10G, "digital_twin_stack_language_model": "llama-3.1-8b-instruct"},
        [OWN, "", "", "", 0.34, "does not fit"],
    ),
    "a model of one's own": (
        {"__digital_twin_stack_host": A10G, "digital_twin_stack_nim_image": "nim/mine/small:1.0"},
        ["nvcr.io/nim/mine/small:", "", "", "", 0.34, "fits"],
    ),
    # As from a command line: text.
    "settings of the user": (
        {
            "__digital_twin_stack_host": L40S,
            "digital_twin_stack_nim_max_model_len": "1024",
            "digital_twin_stack_nim_gpu_fraction": "0.3",
        },
        [OWN, "", "1024", 8, "0.3", "fits"],
    ),
    "a context for which the cache is too small": (
        {"__digital_twin_stack_host": A10G, "digital_twin_stack_nim_max_model_len": 16384},
        [OWN, "", 16384, "", 0.34, "does not fit"],
    ),
    "a fraction for which the context becomes smaller": (
        {
            "__digital_twin_stack_host": A10G,
            "digital_twin_stack_language_model": "qwen2.5-7b-instruct-awq",
            "digital_twin_stack_nim_gpu_fraction": 0.33,
        },
        [MODEL_FREE, QWEN, 4096, 3, 0.33, "fits"],
    ),
    # nvidia-smi reports a little more memory than EC2 does, with which this context would fit another model.
    "the model of the instance type": (
        {
            "__digital_twin_stack_host": A10G,
            "digital_twin_stack_instance_type": "g5.2xlarge",
            "digital_twin_stack_nim_max_model_len": 3200,
        },
        [MODEL_FREE, QWEN, 3200, 4, 0.34, "fits"],
    ),
    "a fraction that is too small for the weights": (
        {
            "__digital_twin_stack_host": A10G,
            "digital_twin_stack_nim_max_model_len": 1024,
            "digital_twin_stack_nim_gpu_fraction": 0.3,
        },
        [OWN, "", 1024, "", 0.3, "does not fit"],
    ),
}
# The image of NIM that is pulled before there is a driver: none where only the GPU will show which one is needed.
PULLED = {
    "g6.2xlarge": [MODEL_FREE],
    "g6e.xlarge": [OWN],
    "g6.12xlarge": [OWN],
    "g99.xlarge": [],
    "": [],
}


def test_model_follows_from_the_gpu(tmp_path: Path) -> None:
    expression = (
        "{{ [__digital_twin_stack_images.nim | regex_replace('[^:]*$', ''), "
        "__digital_twin_stack_served.path | default(''), "
        "__digital_twin_stack_nim_max_model_len, __digital_twin_stack_nim_max_sequences, "
        "__digital_twin_stack_nim_gpu_fraction, __digital_twin_stack_fit.answer] }}"
    )
    images = "{{ __digital_twin_stack_to_pull | map('regex_replace', '[^:]*$', '') }}"
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.set_fact": {f"row_{number}": expression}, "vars": {**FULL, **given}}
        for number, (given, _expected) in enumerate(ROWS.values())
    ]
    tasks += [
        {
            "ansible.builtin.set_fact": {f"pulled_{number}": images},
            "vars": {
                **FULL,
                "__digital_twin_stack_host": PREFETCH,
                "__digital_twin_stack_prefetches": True,
                "__digital_twin_stack_missing": ["nim"],
                "digital_twin_stack_instance_type": name,
            },
        }
        for number, name in enumerate(PULLED)
    ]
    tasks += [
        {"ansible.builtin.set_fact": {f"remedy_{number}": "{{ __digital_twin_stack_smaller_model }}"}, "vars": given}
        for number, given in enumerate([{}, {"digital_twin_stack_nim_gpu_fraction": 0.3}])
    ]
    names = [f"row_{number}" for number in range(len(ROWS))] + [f"pulled_{number}" for number in range(len(PULLED))]
    names += ["remedy_0", "remedy_1"]
    content = "{{ [" + ", ".join(names) + "] | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": content, "dest": str(tmp_path / "told.json"), "mode": "0600"}})
    files = [ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml"))]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"role_path": str(ROLE), "ansible_facts": {"memtotal_mb": 31700}},
        "vars_files": [str(file) for file in files],
        "tasks": tasks,
    }
    (tmp_path / "plays.json").write_text(json.dumps([play]), "utf-8")
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", str(tmp_path / "plays.json")])
    told = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert dict(zip(ROWS, told, strict=False)) == {name: expected for name, (_given, expected) in ROWS.items()}
    assert dict(zip(PULLED, told[len(ROWS) : -2], strict=True)) == PULLED
    nulls = "leave digital_twin_stack_nim_max_model_len and digital_twin_stack_nim_gpu_fraction at null, "
    assert told[-1] == told[-2].replace("nim_image, ", f"nim_image, {nulls}")
    assert told[-2].split() == told[-2].split(" ")


def test_the_image_that_serves_the_model_is_pinned(tmp_path: Path) -> None:
    """Also on a host whose type is not known. A registry that does not answer names what it was asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in (("nvidia-smi", "echo 'NVIDIA L4, 23034'"), ("docker", "exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        (programs / name).chmod(0o755)
    silent = "127.0.0.1:9"
    registries = {f"digital_twin_stack_{name}registry": silent for name in ("", "nvidia_", "foxglove_")}
    role = {"name": "digital_twin.robotics_lab.digital_twin_stack", "tasks_from": "pin"}
    told = {
        "content": "{{ digital_twin_stack_unpinned | to_json }}",
        "dest": str(tmp_path / "told.json"),
        "mode": "0600",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "environment": {"PATH": f"{programs}:/usr/bin:/bin"},
        "vars": {**FULL, **registries},
        "tasks": [{"ansible.builtin.include_role": role}, {"ansible.builtin.copy": told}],
    }
    (tmp_path / "plays.json").write_text(json.dumps([play]), "utf-8")
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", str(tmp_path / "plays.json")])
    unpinned = json.loads((tmp_path / "told.json").read_text("utf-8"))
    asked = [image.partition(":2.0")[0] for image in unpinned if "/nim/" in image and "parakeet" not in image]
    assert asked == [f"{silent}/nim/nvidia/model-free-nim"]
