# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effects of role digital_twin_stack, as users of the services and unauthorized users see them."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

PROJECT = Path(__file__).parents[3]
DIRECTORY = "/opt/digital-twin"
COMPOSE = f"docker compose --project-directory {DIRECTORY}"
# As one of the users of Redis; root can read their passwords on the host.
REDIS_CLI = (
    f'REDISCLI_AUTH="$(cat {DIRECTORY}/secrets/redis_$0_password)" '
    'docker exec -i -e REDISCLI_AUTH digital-twin-redis-1 redis-cli --no-auth-warning --user "$0" "$@"'
)
ZONE_B = {
    "action": "navigate",
    "target": "zone_b",
    "coordinates": [10.0, 0.0],
    "speed": "normal",
    # Set by the fake model.
    "confidence": 0.9,
    "raw_text": "would you move to zone b",
}
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: digital_twin.robotics_lab.digital_twin_stack
"""


PROFILES = {
    "": {"redis", "cognitive"},
    "nav": {"redis", "cognitive", "ros2", "foxglove"},
    "sim": {"redis", "cognitive", "ros2", "foxglove", "isaac_sim"},
    "voice": {"redis", "cognitive", "riva", "nim"},
    "full": {"redis", "cognitive", "ros2", "foxglove", "isaac_sim", "riva", "nim"},
}


# It reads NVIDIA's key only from its own environment.
KEY_INSIDE = ("riva",)
SECRETS = (
    *("cognitive_token", "redis_acl", "redis_cognitive_password", "redis_health_password", "redis_robot_password"),
    "ngc_api_key",
)
# What the scenario describes.
DECLARED: dict[str, Any] = yaml.safe_load((PROJECT / "molecule/digital_twin_stack/molecule.yml").read_text("utf-8"))[
    "provisioner"
]["inventory"]["hosts"]["scenario"]["vars"]
SERVICES = sorted(PROFILES["full"])
# The user of each service, and whether its root filesystem is read-only.
OURS = {
    "redis": ("999:10003", True),
    "cognitive": ("10001:10003", True),
    "ros2": ("10002:10003", True),
    "foxglove": ("", False),
    "isaac_sim": ("1234:1234", False),
    "riva": ("1000:10003", False),
    "nim": ("1000:10003", False),
}


def container_of(host: Host, service: str) -> dict[str, Any]:
    """Return what `docker inspect` reports of a service's container."""
    identifier = host.check_output(f"{COMPOSE} ps --all --quiet {service}")
    return dict(json.loads(host.check_output(f"docker inspect {identifier}"))[0])


def post(host: Host, text: str) -> dict[str, Any]:
    """Send a command from the host, as a user does."""
    return dict(json.loads(host.check_output("digital-twin say %s", text)))


def redis_cli(user: str, command: str) -> str:
    """Return a shell command that sends a command to Redis as a user."""
    return f"sh -c {shlex.quote(REDIS_CLI)} {user} {command}"


def outcomes(host: Host, identifier: str) -> list[str]:
    """Return how a command ended, according to the robot's log."""
    log = host.check_output("docker logs digital-twin-ros2-1 2>&1")
    return re.findall(rf'"id": "{identifier}".*"outcome": "(?!started)(\w+)"', log)


def score(host: Host, identifier: str) -> str:
    """Return what Redis has stored about a command that has ended."""
    return str(host.check_output(redis_cli("robot", f"zscore robot_commands:finished {identifier}")))


def finish(host: Host) -> str:
    """Send a command, wait until the robot has finished it, and return its id."""
    identifier = str(post(host, "go home")["id"])
    deadline = time.monotonic() + 60
    while not score(host, identifier):
        assert time.monotonic() < deadline, "the robot did not follow the command"
        time.sleep(0.5)
    return identifier


def wait_until_healthy(host: Host, service: str, seconds: float = 40.0) -> None:
    """Wait until a service is healthy again."""
    deadline = time.monotonic() + seconds
    while container_of(host, service)["State"].get("Health", {}).get("Status") != "healthy":
        assert time.monotonic() < deadline, f"{service} was not healthy again after {seconds:g} s"
        time.sleep(0.5)


def kill(host: Host, service: str) -> dict[str, Any]:
    """Kill a service's process the way a crash would, and wait until another one runs; return the container before."""
    before = container_of(host, service)
    host.check_output(f"kill -9 {before['State']['Pid']}")
    deadline = time.monotonic() + 20
    while (state := container_of(host, service)["State"])["Pid"] in (0, before["State"]["Pid"]):
        assert time.monotonic() < deadline, f"{service} was not started again: {state}"
        time.sleep(0.2)
    return before


@contextmanager
def listening(host: Host, channel: str, file: str) -> Iterator[None]:
    """Write what is published on a channel to a file of the host, and remove the listener at the end."""
    # Compose reports on stderr that it was ended.
    listen = redis_cli("cognitive", f"--csv subscribe {channel}")
    host.check_output("sh -c %s", f"{listen} > {file} 2> {file}.errors &")
    deadline = time.monotonic() + 20
    while "subscribe" not in host.run(f"cat {file}").stdout:
        assert time.monotonic() < deadline, f"there is no listener on {channel}"
        time.sleep(0.2)
    try:
        yield
    finally:
        # Also the client in the container, which outlives the one that started it.
        host.run(f"pkill --full 'subscribe {channel}$'")


def address_of(host: Host) -> str:
    """Return the address at which other machines reach the host."""
    return str(json.loads(host.check_output("ip --json route get 192.0.2.1"))[0]["prefsrc"])


def is_open(address: str, port: int) -> bool:
    """Return whether a TCP port answers from this machine, which is not the host."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def test_a_command_arrives_exactly_as_listeners_expect_it(host: Host) -> None:
    host.run(redis_cli("robot", "xgroup create robot_commands:stream test '$'"))
    with listening(host, "robot_commands", "/run/heard"):
        answer = post(host, "would you move to zone b")
    # The robot listens as well.
    assert (answer["published"], answer["receivers"], answer["source"]) == (True, 2, "nim")
    heard = host.check_output("cat /run/heard").splitlines()[1:]
    assert len(heard) == 1
    message = heard[0].removeprefix('"message","robot_commands",')
    sent = json.loads(json.loads(message))
    assert sent == {**ZONE_B, "id": answer["id"]}
    kept = redis_cli("robot", "--raw xreadgroup group test test streams robot_commands:stream '>'")
    assert json.loads(message) in host.check_output(kept)


@pytest.mark.parametrize(("profile", "wanted"), PROFILES.items(), ids=PROFILES)
def test_compose_accepts_every_profile(host: Host, profile: str, wanted: set[str]) -> None:
    project = json.loads(host.check_output(f"COMPOSE_PROFILES={profile} {COMPOSE} config --format json"))
    assert set(project["services"]) == wanted
    published = {name: service["ports"] for name, service in project["services"].items() if "ports" in service}
    assert set(published) <= {"cognitive", "foxglove", "riva"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_redis_and_cognitive_are_out_of_reach_for_other_machines(host: Host) -> None:
    address = address_of(host)
    host.run_test("systemd-run --collect --unit=reachable python3 -m http.server 8099")
    deadline = time.monotonic() + 20
    while not is_open(address, 8099):
        assert time.monotonic() < deadline, "without a port that answers, this test has no effect"
        time.sleep(0.2)
    host.run_test("systemctl stop reachable")
    assert not is_open(address, 6379)
    assert not is_open(address, 8001)


def test_redis_requires_a_login_in_its_container(host: Host) -> None:
    for credentials in ("", "--user default --pass wrong"):
        answer = host.run(f"docker exec digital-twin-redis-1 redis-cli {credentials} ping")
        assert "NOAUTH" in answer.stdout + answer.stderr
        assert "PONG" not in answer.stdout


def test_redis_has_no_route_to_the_internet(host: Host) -> None:
    networks = container_of(host, "redis")["NetworkSettings"]["Networks"]
    assert list(networks) == ["digital-twin_bus"]
    assert host.check_output("docker network inspect digital-twin_bus --format '{{.Internal}}'") == "true"


def test_the_rules_for_the_metadata_service_match_the_bridges(host: Host) -> None:
    rules = host.check_output("nft list table inet metadata-digital-twin")
    for network in ("bus", "edge"):
        bridge = '{{index .Options "com.docker.network.bridge.name"}}'
        name = host.check_output(f"docker network inspect digital-twin_{network} --format '{bridge}'")
        assert host.file(f"/sys/class/net/{name}/bridge").exists
        assert f'iifname "{name.removesuffix(network)}*" ip daddr' in rules
    assert host.check_output("systemctl is-active digital-twin-metadata") == "active"


@pytest.mark.parametrize("service", SERVICES)
def test_services_have_no_privileges(host: Host, service: str) -> None:
    container = container_of(host, service)
    settings = container["HostConfig"]
    user, read_only = OURS[service]
    assert user in ("", container["Config"]["User"])
    assert settings["ReadonlyRootfs"] is read_only
    assert settings["CapDrop"] == ["ALL"]
    assert settings["SecurityOpt"] == ["no-new-privileges:true"]
    assert settings["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    status = host.check_output(f"cat /proc/{container['State']['Pid']}/status")
    # The viewer's server has the right to use ports below 1024, and no other.
    effective = re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
    assert effective
    assert int(effective[1], 16) in ({0, 1 << 10} if service == "foxglove" else {0})
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


def test_services_can_open_many_files(host: Host) -> None:
    for service in SERVICES:
        limits = host.check_output(f"cat /proc/{container_of(host, service)['State']['Pid']}/limits")
        most = DECLARED["digital_twin_stack_open_files"]
        assert re.search(rf"^Max open files\s+{most}\s+{most}\s", limits, re.MULTILINE), service


def test_isaac_sim_can_write_to_its_volumes(host: Host) -> None:
    mounts = [mount for mount in container_of(host, "isaac_sim")["Mounts"] if mount["Type"] == "volume"]
    assert len(mounts) == 7
    for mount in mounts:
        inside = f"{COMPOSE} exec -T --user 1234:1234 isaac_sim sh -c"
        host.run_expect([0], f"""{inside} 'touch "$1/probe" && rm "$1/probe"' sh %s""", mount["Destination"])


def test_compose_accepts_the_volumes_of_isaac_sim(host: Host) -> None:
    before = container_of(host, "isaac_sim")["Id"]
    done = host.run(f"{COMPOSE} up --detach --no-build --pull never isaac_sim")
    assert (done.rc, container_of(host, "isaac_sim")["Id"]) == (0, before)
    assert "already exists" not in done.stderr


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "redis"])
def test_a_killed_service_comes_back(host: Host, service: str) -> None:
    before = kill(host, service)
    wait_until_healthy(host, service)
    assert container_of(host, service)["Id"] == before["Id"]


def test_a_command_given_while_the_robot_is_away_is_followed_once(host: Host) -> None:
    host.check_output(f"{COMPOSE} kill ros2")
    answer = post(host, "go home")
    assert (answer["published"], answer["receivers"]) == (True, 0)
    # Docker does not restart a service that was killed by hand.
    host.check_output(f"{COMPOSE} up --detach --no-build --pull never ros2")
    # Commands run in order, so the end of the next one shows that the first is finished.
    last = finish(host)
    assert (outcomes(host, answer["id"]), outcomes(host, last)) == (["done"], ["done"])


def test_a_killed_redis_comes_back_with_its_data(host: Host) -> None:
    kept = finish(host)
    time.sleep(1.5)
    kill(host, "redis")
    wait_until_healthy(host, "redis")
    assert score(host, kept)
    wait_until_healthy(host, "cognitive")
    assert post(host, "stop")["published"] is True


def test_secrets_are_for_root_only(host: Host) -> None:
    for name in (".env", *(f"secrets/{secret}" for secret in SECRETS)):
        assert host.file(f"{DIRECTORY}/{name}").exists
        assert host.run(f"setpriv --reuid nobody --regid nogroup --clear-groups cat {DIRECTORY}/{name}").rc != 0


@pytest.mark.parametrize("service", ["redis", "cognitive", "ros2", "riva"])
def test_a_user_of_the_host_with_the_uid_of_a_service_cannot_read_its_secrets(host: Host, service: str) -> None:
    process = container_of(host, service)["State"]["Pid"]
    uid = OURS[service][0].split(":")[0]
    assert host.check_output(f"stat --format=%u:%g /proc/{process}") == OURS[service][0]
    for read in ("cat environ", "ls root/run/secrets/", "cat maps", "readlink exe"):
        program, file = read.rsplit(" ", 1)
        command = f"{program} /proc/{process}/{file}"
        assert host.run(command).rc == 0, "root can, so the test reads what exists"
        assert host.run(f"setpriv --reuid {uid} --regid {uid} --clear-groups {command}").rc != 0, command


def test_setup_is_marked_as_complete(host: Host) -> None:
    assert "verified" in host.file("/root/.setup-complete").content_string


@pytest.fixture(scope="module")
def canaries(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Apply the role twice with known secrets and the highest verbosity, and return secrets and outputs."""
    folder = tmp_path_factory.mktemp("play")
    secrets = {
        "digital_twin_stack_redis_password": "canary-redis-4d1f-password",
        "digital_twin_stack_redis_robot_password": "canary-redis-86e0-password",
        "digital_twin_stack_cognitive_token": "canary-token-31c7-0123456789abcdef",
        "digital_twin_stack_nim_api_key": "nvapi-canary-77ac",
        "digital_twin_stack_ngc_api_key": "nvapi-canary-5b02",
    }
    others = {name: value for name, value in DECLARED.items() if name.startswith("digital_twin_stack_")}
    others["digital_twin_stack_application_revision"] = "v1.1.0"
    (folder / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    (folder / "vars.json").write_text(json.dumps({**others, **secrets}), encoding="utf-8")
    outputs = {"kept": finish(host)}
    for turn in ("first", "second"):
        before = {service: container_of(host, service)["Id"] for service in SERVICES}
        done = subprocess.run(
            [
                "ansible-playbook",
                f"--inventory={host.backend.name},",
                "--connection=community.docker.docker",
                f"--extra-vars=@{folder}/vars.json",
                "--diff",
                "-vvv",
                str(folder / "play.yml"),
            ],
            cwd=PROJECT,
            env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_PIPELINING": "true"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        outputs[turn] = done.stdout + done.stderr
        after = {service: container_of(host, service)["Id"] for service in SERVICES}
        outputs[f"{turn}_recreated"] = ",".join(service for service in after if after[service] != before[service])
    return {**secrets, **outputs}


def test_a_new_password_is_in_force_and_earlier_data_exists(host: Host, canaries: dict[str, str]) -> None:
    # The services that read a changed password or NVIDIA's key.
    assert canaries["first_recreated"] == "cognitive,nim,redis,riva,ros2"
    assert score(host, canaries["kept"])
    assert post(host, "stop")["published"] is True


def test_a_second_run_changes_nothing(canaries: dict[str, str]) -> None:
    assert canaries["second_recreated"] == ""
    assert re.search(r"changed=0\s+unreachable=0\s+failed=0", canaries["second"])


@pytest.mark.parametrize(
    "name",
    [
        *(
            "digital_twin_stack_redis_password",
            "digital_twin_stack_redis_robot_password",
            "digital_twin_stack_cognitive_token",
        ),
        *("digital_twin_stack_nim_api_key", "digital_twin_stack_ngc_api_key"),
    ],
)
def test_secrets_show_nowhere(host: Host, canaries: dict[str, str], name: str) -> None:
    secret = canaries[name]
    places = {
        "ansible's output": canaries["first"] + canaries["second"],
        "docker inspect": json.dumps([container_of(host, service) for service in SERVICES]),
        "the processes": host.check_output("ps -eww -o args"),
        "the journal": host.check_output("journalctl --no-pager"),
        "the services' logs": host.check_output(f"{COMPOSE} logs --no-color"),
        "docker compose config": host.check_output(f"{COMPOSE} config"),
        "the environment of docker and its children": host.check_output(
            "cat /proc/$(pidof dockerd)/environ "
            + " ".join(
                f"/proc/{container_of(host, service)['State']['Pid']}/environ"
                for service in SERVICES
                if service not in KEY_INSIDE or name != "digital_twin_stack_ngc_api_key"
            )
            + " | tr '\\0' '\\n'"
        ),
        "files that others can read": host.check_output(
            f"grep -rl {secret} /etc /opt /var/log /tmp /root /home || true"
        ),
    }
    readable = {f"{DIRECTORY}/secrets/{secret}" for secret in (*SECRETS, "nim_api_key")}
    assert secret in host.check_output(f"cat {DIRECTORY}/secrets/*"), "without the secret, this test has no effect"
    places["files that others can read"] = "\n".join(set(places["files that others can read"].split()) - readable)
    if places["files that others can read"]:
        places["files that others can read"] += secret
    assert [place for place, text in places.items() if secret in text] == []


# Must be last: after it, Docker 26 leaves interfaces of recreated containers behind for about a minute.
def test_a_killed_engine_comes_back_with_all_services(host: Host) -> None:
    host.check_output("systemctl kill --signal=KILL docker")
    deadline = time.monotonic() + 60
    while host.run("docker info").rc != 0:
        assert time.monotonic() < deadline, "Docker did not come back"
        time.sleep(1)
    for service in SERVICES:
        wait_until_healthy(host, service, 60)
    assert post(host, "stop")["published"] is True
