"""The effects of role container_toolkit, as users of containers see them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

PACKAGES = [
    "libnvidia-container-tools",
    "libnvidia-container1",
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
]
COMPOSE = """
services:
  gpu:
    image: bare:bones
    command: [nvidia-smi, -L]
    network_mode: none
    deploy:
      resources:
        reservations:
          devices: [{driver: cdi, device_ids: [nvidia.com/gpu=all], capabilities: [gpu]}]
"""


def is_debian12(host: Host) -> bool:
    """Return whether this is the host whose GPUs changed."""
    return bool(host.system_info.codename == "bookworm")


def info(host: Host) -> dict[str, Any]:
    """Return what the engine reports on its socket."""
    answer = host.check_output("curl --silent --fail --unix-socket /run/docker.sock http://docker/info")
    return dict(json.loads(answer))


def specification(host: Host) -> dict[str, Any]:
    """Return the specification, from the path that this host has configured."""
    path = "/run/cdi/gpus.yaml" if is_debian12(host) else "/run/cdi/nvidia.yaml"
    return dict(json.loads(host.file(path).content_string.removeprefix("---\n")))


def started_by_unit(host: Host, unit: str) -> int:
    """Return when a unit's process last started, in microseconds since the boot."""
    return int(host.check_output(f"systemctl show {unit} -P ExecMainStartTimestampMonotonic"))


@pytest.fixture
def project(host: Host) -> Iterator[str]:
    """Write a Compose project and yield its command."""
    host.run_test("mkdir -p /srv/probe")
    host.run_test("echo %s > /srv/probe/compose.yaml", COMPOSE)
    compose = "docker compose --project-directory /srv/probe"
    yield compose
    host.run_test(f"{compose} down --timeout 1")


def test_the_hosts_have_the_gpus_that_were_added(host: Host) -> None:
    names = re.findall(r"GPU \d+: (?:NVIDIA )?(?:Tesla )?(\w+)", host.check_output("nvidia-smi -L"))
    assert names == (["T4", "V100", "T4"] if is_debian12(host) else ["A10G"])


def test_the_specification_names_them_since_the_boot(host: Host) -> None:
    uuids = re.findall(r"UUID: (GPU-[^)]+)", host.check_output("nvidia-smi -L"))
    names = [device["name"] for device in specification(host)["devices"]]
    assert set(names) == {"all", *uuids, *(str(index) for index in range(len(uuids)))}
    assert started_by_unit(host, "nvidia-cdi-refresh") > 0


def test_the_specification_has_the_nodes_of_cuda_and_vulkan_since_the_boot(host: Host) -> None:
    """The role has not run since, and no other program creates them."""
    nodes = [node["path"] for node in specification(host)["containerEdits"]["deviceNodes"]]
    assert {"/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidiactl"} <= set(nodes)
    assert host.run("docker exec survivor sh -c ': < /dev/nvidia-uvm'").rc == 0


def test_a_container_that_a_unit_starts_at_boot_has_them_through_cdi(host: Host) -> None:
    seen = host.file("/run/cdi-at-boot").content_string.split()
    indices = range(3 if is_debian12(host) else 1)
    control = [f"/dev/nvidia{name}" for name in ("-modeset", "-uvm", "-uvm-tools", "ctl")]
    assert sorted(seen) == sorted([*control, *(f"/dev/nvidia{index}" for index in indices)])


def test_docker_waited_for_a_driver_that_appeared_late(host: Host) -> None:
    """NVIDIA's unit by itself starts five times, a second apart, and Docker waits for the first of them only."""
    late = started_by_unit(host, "sandbox-late-gpus")
    assert (late > 0) == is_debian12(host), "without a late driver this test has no effect"
    if late > 0:
        assert started_by_unit(host, "docker") - late >= 20_000_000
    assert host.check_output("systemctl show nvidia-cdi-refresh -P Result") == "success"


def test_the_specification_is_made_of_the_driver_that_is_installed_now(host: Host) -> None:
    driver = host.check_output("nvidia-smi --query-gpu=driver_version --format=csv,noheader").splitlines()[0]
    paths = [mount["hostPath"] for mount in specification(host)["containerEdits"]["mounts"]]
    libraries = [path for path in paths if re.search(r"\.so\.\d+\.\d", path)]
    assert any("/libnvidia-ml.so." in path for path in libraries)
    assert all(path.endswith(f".so.{driver}") for path in libraries)
    if not is_debian12(host):
        assert driver.count(".") == 3, "without another driver than Debian's this test has no effect"


def test_nothing_else_was_written_where_engines_look(host: Host) -> None:
    assert len(host.file("/run/cdi").listdir()) == 1
    assert not host.file("/etc/cdi").exists


def test_a_container_has_its_gpus_again_after_a_reboot(host: Host) -> None:
    state = json.loads(host.check_output("docker inspect survivor"))[0]["State"]
    assert state["Running"], state
    assert host.check_output("docker exec survivor nvidia-smi -L") == host.check_output("nvidia-smi -L")


def test_a_container_keeps_its_gpus_when_systemd_reloads(host: Host) -> None:
    pid = json.loads(host.check_output("docker inspect survivor"))[0]["State"]["Pid"]
    host.check_output("systemctl daemon-reload")
    assert json.loads(host.check_output("docker inspect survivor"))[0]["State"]["Pid"] == pid
    assert host.check_output("docker exec survivor nvidia-smi -L") == host.check_output("nvidia-smi -L")
    host.check_output("docker exec survivor sh -c ': < /dev/nvidia0 && : < /dev/nvidiactl'")


@pytest.mark.parametrize(
    "arguments",
    ["--device nvidia.com/gpu=0", "--runtime nvidia --env NVIDIA_VISIBLE_DEVICES=0"],
    ids=["cdi", "runtime"],
)
def test_a_container_that_requests_one_gpu_gets_one(host: Host, arguments: str) -> None:
    command = f"docker run --rm --network none {arguments} bare:bones sh -c 'echo /dev/nvidia[0-9]*'"
    assert host.check_output(command) == "/dev/nvidia0"


def test_the_runtime_gives_no_gpu_without_a_request(host: Host) -> None:
    command = "docker run --rm --network none --runtime nvidia bare:bones sh -c 'echo /dev/nvidia*'"
    assert host.check_output(command) == "/dev/nvidia*"


def test_compose_gives_gpus_through_cdi(host: Host, project: str) -> None:
    assert host.check_output(f"{project} run --rm gpu") == host.check_output("nvidia-smi -L")


def test_options_that_are_not_declared_survive(host: Host) -> None:
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options["debug"] is True
    assert options["features"] == {"containerd-snapshotter": False, "cdi": True}
    assert options["labels"] == ["planted=yes"]
    assert options["runtimes"] == {
        "other": {"path": "/usr/sbin/runc"},
        "nvidia": {"path": "nvidia-container-runtime", "args": []},
    }
    assert {"nvidia", "other"} <= info(host)["Runtimes"].keys()
    assert info(host)["DefaultRuntime"] == "runc"
    assert info(host)["CDISpecDirs"]


def test_the_toolkit_is_not_upgraded_by_apt(host: Host) -> None:
    offered = host.check_output("apt-cache madison nvidia-container-toolkit")
    assert "1.20.1-1" in offered, "without a newer version this test has no effect"
    for package in PACKAGES:
        assert host.package(package).version == "1.20.0-1"
        assert "Candidate: 1.20.0-1" in host.check_output(f"apt-cache policy {package}")
    assert "nvidia" not in host.check_output("apt-get --simulate dist-upgrade | grep ^Inst || true")
    assert sorted(host.check_output("apt-mark showhold").split()) == PACKAGES


def test_apt_has_the_repository_once(host: Host) -> None:
    ours = host.file("/etc/apt/sources.list.d/digital-twin-container-toolkit.sources")
    assert ours.exists == is_debian12(host), "the other host has a source of its own"
    update = host.run("apt-get update")
    assert (update.rc, update.stderr) == (0, "")


def test_verify_left_nothing_behind(host: Host) -> None:
    assert host.check_output("docker ps --all --format '{{.Names}}'") == "survivor"
    assert host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'") == "bare:bones"
    assert host.check_output("find /tmp -name '*.tar'") == ""
