# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health checks of compose.yaml and of our images: run unchanged, with a proxy that does not exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import ROOT, expect_none, load_yaml, text_files

SERVICES = load_yaml(PurePosixPath("compose/compose.yaml"))["services"]
# No process listens there. It includes the variables that tools use for all protocols.
DEAD_PROXY = {
    name: "http://127.0.0.1:9"
    for lower in ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
    for name in (lower, lower.upper())
}
LOCAL_HTTP = re.compile(r"127\.0\.0\.1:(\d+)")


class Ready(BaseHTTPRequestHandler):
    """A service that answers every request as ready."""

    def do_GET(self) -> None:
        body = json.dumps({"status": "ready"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def ready() -> Iterator[int]:
    """Run a service that is ready, and yield its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def checks() -> dict[str, list[str]]:
    """Return the commands of the health checks that use a local port, by service."""
    found = {}
    for name, service in SERVICES.items():
        kind, *command = service.get("healthcheck", {}).get("test", [""])
        text = " ".join(command).replace("$$", "$")
        if LOCAL_HTTP.search(text):
            found[name] = command if kind == "CMD" else ["sh", "-c", text]
    return found


def test_every_service_with_a_port_is_checked_there() -> None:
    """Except Isaac Sim, whose stream serves only one client."""
    assert set(checks()) == {"riva", "nim", "foxglove"}


@pytest.mark.parametrize(("age", "healthy"), [(0, True), (20, True), (40, False), (None, False)])
def test_isaac_sim_is_healthy_while_its_heartbeat_is_recent(tmp_path: Path, age: int | None, healthy: bool) -> None:
    """The file is touched once a second while the simulation advances."""
    heartbeat = tmp_path / "heartbeat"
    if age is not None:
        heartbeat.touch()
        os.utime(heartbeat, (time.time() - age,) * 2)
    kind, *command = SERVICES["isaac_sim"]["healthcheck"]["test"]
    words = [word.replace("$$", "$") for word in command]
    environment = {"PATH": os.environ["PATH"], "HEARTBEAT_FILE": str(heartbeat)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (kind, done.returncode == 0) == ("CMD", healthy), done.stderr


# The command of each service that gets NVIDIA's key, and of NIM where its image needs one.
KEYED = {
    "riva": SERVICES["riva"]["entrypoint"],
    "nim": load_yaml(PurePosixPath("compose/compose.nim-key.yaml"))["services"]["nim"]["entrypoint"],
}


@pytest.mark.parametrize("service", KEYED)
@pytest.mark.parametrize("key", ["canary-key", "", None], ids=["a key", "an empty key", "no key"])
def test_a_key_is_passed_on_and_one_that_cannot_be_read_ends_the_container(
    tmp_path: Path, service: str, key: str | None
) -> None:
    secret, program = tmp_path / "ngc_api_key", tmp_path / "nim-serve"
    if key is not None:
        secret.write_text(f"{key}\n")
    program.write_text('#!/bin/sh\necho "started with $NGC_API_KEY"\n')
    program.chmod(0o755)
    moved = {"$$": "$", "/run/secrets": str(tmp_path), "/opt/nim/start_server.sh": str(program)}
    words = list(KEYED[service])
    for here, there in moved.items():
        words = [word.replace(here, there) for word in words]
    environment = {"PATH": f"{os.environ['PATH']}:{tmp_path}"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if key is None:
        assert (done.returncode, done.stdout) == (1, "")
        assert "ngc_api_key: No such file" in done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, f"started with {key}\n"), done.stderr


def test_the_language_model_gets_no_key_by_default() -> None:
    """Its image needs none, and starts by its own entry point."""
    assert {"entrypoint", "command", "secrets"}.isdisjoint(SERVICES["nim"])


def test_every_service_with_a_gpu_can_get_one_of_its_own() -> None:
    gpus = {
        name: service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in SERVICES.items()
        if "deploy" in service
    }
    assert gpus == {name: [f"nvidia.com/gpu=${{{name.upper()}_GPU:-all}}"] for name in ("isaac_sim", "riva", "nim")}


def test_every_service_may_open_many_files() -> None:
    for name, service in SERVICES.items():
        assert service["ulimits"]["nofile"] == "${OPEN_FILES:-65536}", name


@pytest.mark.parametrize("service", checks())
@pytest.mark.parametrize("no_proxy", ["", "example.com"])
def test_health_checks_use_no_proxy(service: str, no_proxy: str) -> None:
    with ready() as port:
        command = [LOCAL_HTTP.sub(f"127.0.0.1:{port}", word) for word in checks()[service]]
        environment = {"PATH": os.environ["PATH"], **DEAD_PROXY, "no_proxy": no_proxy, "NO_PROXY": no_proxy}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    # It detects a service that has stopped.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0


def test_the_cognitive_service_is_checked_without_a_proxy() -> None:
    with ready() as port:
        command = ["python3", "-m", "compose.cognitive.health"]
        environment = {"PATH": os.environ["PATH"], **DEAD_PROXY, "LISTEN_PORT": str(port)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stdout) == (0, "healthy\n")


@pytest.mark.parametrize("service", SERVICES)
def test_no_container_uses_a_proxy_for_local_addresses(service: str) -> None:
    environment = SERVICES[service]["environment"]
    assert environment["NO_PROXY"] == environment["no_proxy"]
    near = environment["NO_PROXY"].partition(":-")[2].rstrip("}").split(",")
    assert set(near) == {"localhost", "127.0.0.1", "::1", *SERVICES}


def test_only_redis_and_the_language_model_share_a_network_with_the_cognitive_service() -> None:
    compose = load_yaml(PurePosixPath("compose/compose.yaml"))
    members: dict[str, set[str]] = {name: set() for name in compose["networks"]}
    for service, settings in SERVICES.items():
        if settings.get("network_mode") == "host":
            assert "networks" not in settings
            continue
        for network in settings["networks"]:
            members[network].add(service)
    internal = {name for name, settings in compose["networks"].items() if settings.get("internal")}
    assert {name: members[name] for name in internal} == {"bus": {"redis", "cognitive"}, "model": {"cognitive", "nim"}}
    # Ports and internet access need a network that is not internal; the cognitive service has its own.
    assert [found for name, found in members.items() if name not in internal and "cognitive" in found] == [
        {"cognitive"}
    ]
    assert [name for name in members if name not in internal and "nim" in members[name]], "it fetches its model"


def test_tasks_that_check_a_port_use_no_proxy() -> None:
    found = []
    for path, text in text_files("roles", "playbooks").items():
        tasks = re.split(r"\n(?= *- name: )", text) if path.suffix == ".yml" else []
        local = [task for task in tasks if "ansible.builtin.uri:" in task and re.search(r"url: .?http:", task)]
        found += [f"{path}: {task}" for task in local if "use_proxy: false" not in task]
    expect_none(found)


# An installation's settings: proxies of the engine and of builds, and the hosts that containers reach without a proxy.
PROXIES: dict[str, tuple[dict[str, object], str, dict[str, str], list[str]]] = {
    "none": ({}, "", {}, []),
    "Docker's own": (
        {},
        '{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "a.lab, 10.0.0.0/8"}}}',
        {},
        ["a.lab", "10.0.0.0/8"],
    ),
    "Docker's own, of another daemon": ({}, '{"proxies": {"tcp://build.lab:2376": {"noProxy": "far.lab"}}}', {}, []),
    "Docker's own, broken": ({}, '{"noProxy": "a.lab', {}, []),
    "Docker's own, with a quote": ({}, """{"proxies": {"default": {"noProxy": "a'lab,b.lab"}}}""", {}, ["b.lab"]),
    "one": ({"http": "http://p:1"}, "", {"http_proxy": "http://p:1", "https_proxy": "http://p:1"}, []),
    "only the other": ({"https": "http://p:1"}, "", {"http_proxy": "http://p:1", "https_proxy": "http://p:1"}, []),
    "both": (
        {"http": "http://p:1", "https": "http://me:pw@q:2", "no_proxy": [".lab"]},
        "",
        {"http_proxy": "http://p:1", "https_proxy": "http://me:pw@q:2"},
        [".lab"],
    ),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return the role's results for each row: environment and arguments of builds, NO_PROXY, and the file proxy.env."""
    folder = tmp_path_factory.mktemp("proxies")
    role = ROOT / "roles" / "digital_twin_stack"
    files = [
        role / "defaults/main.yml",
        *(role / "vars/main" / f"{name}.yml" for name in ("proxy", "profile", "settings", "images")),
    ]
    names = [
        "__digital_twin_stack_proxy_environment",
        "__digital_twin_stack_build_proxies",
        "__digital_twin_stack_no_proxy",
        "lookup('template', role_path ~ '/templates/proxy.env.j2')",
    ]
    plays: list[dict[str, Any]] = []
    for number, (given, config, *_expected) in enumerate(PROXIES.values()):
        (folder / f"given_{number}.json").write_text(
            json.dumps({"digital_twin_stack_proxy": given, "__digital_twin_stack_docker_config": config})
        )
        plays.append(
            {
                "hosts": "localhost",
                "gather_facts": False,
                "vars_files": [*(str(file) for file in files), str(folder / f"given_{number}.json")],
                "vars": {"role_path": str(role)},
                "tasks": [{"ansible.builtin.set_fact": {f"row_{number}": "{{ [" + ", ".join(names) + "] }}"}}],
            }
        )
    rows = ", ".join(f"row_{number}" for number in range(len(plays)))
    told = {"content": "{{ [" + rows + "] | to_json }}\n", "dest": str(folder / "told.json"), "mode": "0600"}
    plays[-1]["tasks"].append({"ansible.builtin.copy": told})
    (folder / "plays.json").write_text(json.dumps(plays))
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", str(folder / "plays.json")])
    return dict(zip(PROXIES, json.loads((folder / "told.json").read_text()), strict=True))


@pytest.mark.parametrize("row", PROXIES)
def test_one_variable_sets_the_proxies_of_builds_and_services(installed: dict[str, list[Any]], row: str) -> None:
    _given, _config, proxies, near = PROXIES[row]
    environment, arguments, no_proxy, written = installed[row]
    everything = ["localhost", "127.0.0.1", "::1", *SERVICES, *near]
    assert no_proxy.split(",") == everything
    expected = {name: value for lower, value in proxies.items() for name in (lower, lower.upper())}
    assert [line for line in written.splitlines() if not line.startswith("#")] == [
        f"{name}='{expected[name]}'" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY") if expected
    ]
    if expected:
        expected |= {"no_proxy": no_proxy, "NO_PROXY": no_proxy}
    assert environment == expected
    # The names only: every user of the host can read values on a command line.
    assert sorted(arguments) == sorted(f"--build-arg={name}" for name in expected)
