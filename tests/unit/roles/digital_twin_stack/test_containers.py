# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How role digital_twin_stack starts NVIDIA's containers: their GPUs, their key, their versions and their ports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import ROOT, load_yaml

ROLE = ROOT / "roles" / "digital_twin_stack"
FORMATS = "verification.yml"


def nvidia_smi(count: int) -> dict[str, Any]:
    """Return what is read of a host with so many GPUs."""
    lines = ["A10G, 22888"] * count
    return {"rc": 0 if count else 9, "stdout": "\n".join(lines), "stdout_lines": lines, "stderr": ""}


def devices(count: int, profile: str) -> tuple[str, dict[str, Any]]:
    """Return the question which GPU each service gets."""
    host = {"commands": {"gpus": nvidia_smi(count)}, "files": {}}
    return "__digital_twin_stack_gpu_devices", {
        "digital_twin_stack_profile": profile,
        "__digital_twin_stack_host": host,
    }


def key(image: str, **given: Any) -> tuple[str, dict[str, Any]]:
    """Return the question which files Compose reads with an image of NIM."""
    return "__digital_twin_stack_compose_files", {
        "digital_twin_stack_profile": "voice",
        "digital_twin_stack_nim_image": image,
        **given,
    }


def published(*lines: str, **given: Any) -> tuple[str, dict[str, Any]]:
    """Return the question which internal services other machines can reach."""
    ports = {"ports": {"stdout_lines": list(lines)}}
    return "__digital_twin_stack_published", {"__digital_twin_stack_verified": ports, **given}


def refused(**given: Any) -> tuple[str, dict[str, Any]]:
    """Return the question which variables are refused."""
    wanted = {"digital_twin_stack_accept_eula": True, "digital_twin_stack_ngc_api_key": "canary-key", **given}
    return (
        "__digital_twin_stack_checks | rejectattr('ok') | map(attribute='message') | map('split') | map('first')",
        wanted,
    )


def planned(profile: str, name: str, gpus: int = 1) -> tuple[str, dict[str, Any]]:
    """Return the question whether a machine is refused before it is paid for; aws_infrastructure describes it so."""
    machine = {"instance_type": name, "gpu_count": str(gpus), "disk_gib": "200"}
    return refused(digital_twin_stack_profile=profile, digital_twin_stack_machine=machine)


ALL = ["compose.yaml", "compose.nim-key.yaml"]
EDGE = "riva=digital-twin_edge"
CASES: dict[str, tuple[tuple[str, dict[str, Any]], Any]] = {
    "one GPU": (devices(1, "full"), {"isaac_sim": "all", "nim": "all", "riva": "all"}),
    "two GPUs": (devices(2, "full"), {"isaac_sim": "0", "nim": "1", "riva": "0"}),
    "two GPUs for voice": (devices(2, "voice"), {"nim": "0", "riva": "1"}),
    "two GPUs for Isaac Sim": (devices(2, "sim"), {"isaac_sim": "0"}),
    "four GPUs": (devices(4, "full"), {"isaac_sim": "0", "nim": "1", "riva": "2"}),
    "no GPU": (devices(0, "voice"), {"nim": "all", "riva": "all"}),
    "no service with a GPU": (devices(2, "nav"), {}),
    "a NIM without a key": (key("nim/meta/llama:2.0.13"), ALL[:1]),
    "the first NIM without a key": (key("nim/meta/llama:2.0.10@sha256:" + "0" * 64), ALL[:1]),
    "the last NIM with a key": (key("nim/meta/llama:2.0.9"), ALL),
    "a NIM of the first generation": (key("nim/meta/llama:1.8.3"), ALL),
    "a NIM of a production branch": (key("nim/meta/llama-pb6:2.0.14-pb6.0"), ALL),
    "a NIM of an unknown version": (key("lab/llama:ours"), ALL),
    "a NIM that is declared to need a key": (key("lab/llama:2.1.0", digital_twin_stack_nim_needs_key="true"), ALL),
    "a NIM that is declared to need none": (key("lab/llama:ours", digital_twin_stack_nim_needs_key="false"), ALL[:1]),
    "no NIM": (key("nim/meta/llama:2.0.9", digital_twin_stack_profile="nav"), ALL[:1]),
    "Riva on its address": (published(f"{EDGE} 127.0.0.1:50051->50051/tcp, 127.0.0.1:9000->9000/tcp", "nim=a,b "), []),
    "Riva on another address": (published(f"{EDGE} 0.0.0.0:9000->9000/tcp"), [f"{EDGE} 0.0.0.0:9000->9000/tcp"]),
    "Riva on a declared address": (
        published(f"{EDGE} 10.0.0.5:50051->50051/tcp", digital_twin_stack_riva_address="10.0.0.5"),
        [],
    ),
    "another port of Riva": (published(f"{EDGE} 127.0.0.1:8000->8000/tcp"), [f"{EDGE} 127.0.0.1:8000->8000/tcp"]),
    "Riva on the host's network": (published("riva=host "), ["riva=host "]),
    "a published NIM": (published("nim=a 127.0.0.1:9000->9000/tcp"), ["nim=a 127.0.0.1:9000->9000/tcp"]),
    "a published Redis": (published("redis=host "), ["redis=host "]),
    "the default of full": (refused(digital_twin_stack_profile="full"), []),
    "full on a machine that holds it": (planned("full", "g6.2xlarge"), []),
    "full on a machine with half of the memory": (planned("full", "g5.xlarge"), ["Profile"]),
    "voice on a T4": (planned("voice", "g4dn.2xlarge"), ["Profile"]),
    "voice on a V100": (planned("voice", "p3.2xlarge"), ["Profile"]),
    "full on four T4": (planned("full", "g4dn.12xlarge", 4), ["Profile"]),
    "full on four A10G": (planned("full", "g5.12xlarge", 4), []),
    "Isaac Sim 5": (
        refused(digital_twin_stack_profile="sim", digital_twin_stack_isaac_sim_image="nvidia/isaac-sim:5.1.0"),
        ["digital_twin_stack_isaac_sim_image"],
    ),
    "Isaac Sim 5 without Isaac Sim": (
        refused(digital_twin_stack_profile="nav", digital_twin_stack_isaac_sim_image="nvidia/isaac-sim:5.1.0"),
        [],
    ),
    "Isaac Sim of a mirror": (
        refused(digital_twin_stack_profile="sim", digital_twin_stack_isaac_sim_image="lab/sim:6.2.0-1"),
        [],
    ),
    "Carter": (
        refused(
            digital_twin_stack_profile="sim",
            digital_twin_stack_nav2_file="/opt/robot/carter.yaml",
            digital_twin_stack_odom_topic="/chassis/odom",
            digital_twin_stack_cloud_topic="/front_3d_lidar/lidar_points",
        ),
        [],
    ),
    "a topic with a blank": (
        refused(digital_twin_stack_odom_topic="/a b"),
        ["digital_twin_stack_odom_topic"],
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the answer to each question."""
    folder = tmp_path_factory.mktemp("containers")
    tasks = [
        {"ansible.builtin.set_fact": {"rows": "{{ rows | default([]) + [" + expression + "] }}"}, "vars": given}
        for (expression, given), _expected in CASES.values()
    ]
    told = {"content": "{{ rows | to_json }}\n", "dest": str(folder / "told.json"), "mode": "0600"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(file) for file in (ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml")))],
        "vars": {"role_path": str(ROLE), "ansible_facts": {"memtotal_mb": 31700}},
        "tasks": [*tasks, {"ansible.builtin.copy": told}],
    }
    (folder / "play.json").write_text(json.dumps([play]))
    extra = json.dumps({"ansible_python_interpreter": sys.executable})
    words = ["--inventory=localhost,", "--connection=local", "--extra-vars", extra]
    run(["ansible-playbook", *words, str(folder / "play.json")])
    return dict(zip(CASES, json.loads((folder / "told.json").read_text()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_each_case_has_its_answer(answers: dict[str, Any], case: str) -> None:
    assert answers[case] == CASES[case][1]


VERIFICATION = load_yaml(PurePosixPath("roles/digital_twin_stack/vars/main/verification.yml"))
# A host with two GPUs and a container on each: the container sees one, and counts it as its first.
DOCKER = r"""#!/bin/bash
case $1 in
  ps) printf 'isaac_sim one\nnim two\nredis three\n' ;;
  inspect) case ${!#} in one) echo nvidia.com/gpu=0 ;; two) echo nvidia.com/gpu=$SECOND ;; esac ;;
  exec)
    shift
    export SEEN=$1
    shift
    exec "$@" ;;
esac
"""
NVIDIA_SMI = r"""#!/bin/bash
first='A10G (UUID: GPU-1)' second='A10G (UUID: GPU-2)'
case ${SEEN:-host} in
  host) printf 'GPU 0: %s\nGPU 1: %s\n' "$first" "$second" ;;
  one) echo "GPU 0: $first" ;;
  two) if [ "$SECOND" = all ]; then SEEN=host "$0"; else echo "GPU 0: $second"; fi ;;
esac
"""


@pytest.mark.parametrize(
    ("second", "problems"),
    [("1", ""), ("all", ""), ("0", "nim does not see the GPUs that it requests.\n")],
    ids=["each its own", "one sees all", "not the requested one"],
)
def test_each_service_sees_the_gpus_that_it_requests(tmp_path: Path, second: str, problems: str) -> None:
    for name, text in (("docker", DOCKER), ("nvidia-smi", NVIDIA_SMI)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    script = VERIFICATION["__digital_twin_stack_gpus_script"]
    words = ["bash", "-c", script, "digital-twin", "format", "isaac_sim nim", "devices"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECOND": second}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, problems, "")


def test_the_role_installs_what_isaac_sim_needs_for_the_hall() -> None:
    """All of compose/isaac_sim, and of compose/world what it imports and reads."""
    settings = load_yaml(PurePosixPath("roles/digital_twin_stack/vars/main/settings.yml"))
    names = settings["__digital_twin_stack_scene_names"]
    folder = ROOT / "compose"
    wanted = {f"isaac_sim/{file.name}" for file in (folder / "isaac_sim").iterdir() if file.is_file()}
    imported = subprocess.run(
        [
            sys.executable,
            "-c",
            "import compose.isaac_sim.graph, sys; print(*(m for m in sys.modules if 'compose.world' in m))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    modules = {PurePosixPath(*name.split(".")[1:]) for name in imported}
    wanted |= {f"{module}.py" if (folder / f"{module}.py").is_file() else f"{module}/__init__.py" for module in modules}
    assert set(names) == wanted | {"world/hall.json"}
