"""The effects of role docker, as users of the engine see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

COMPOSE = """
services:
  server:
    image: usr:links
    command: [/usr/bin/python3, -m, http.server, --directory, /usr/share, "8000"]
    ports: ["127.0.0.1:8000:8000"]
    volumes: ["/usr:/usr:ro"]
    healthcheck:
      test: [CMD, /usr/bin/curl, -sf, "http://localhost:8000/"]
      interval: 1s
      retries: 20
  client:
    image: usr:links
    command: [/usr/bin/curl, -sf, "http://server:8000/"]
    volumes: ["/usr:/usr:ro"]
    depends_on: {server: {condition: service_healthy}}
"""


def upstream(host: Host) -> bool:
    """Return whether this host gets its packages from the fake of Docker's repository."""
    return bool(host.system_info.codename == "bookworm")


def info(host: Host) -> dict[str, Any]:
    """Return what the engine reports on its socket."""
    answer = host.check_output("curl --silent --fail --unix-socket /run/docker.sock http://docker/info")
    return dict(json.loads(answer))


def daemon_options(host: Host) -> dict[str, Any]:
    """Return the options in daemon.json."""
    return dict(json.loads(host.file("/etc/docker/daemon.json").content_string))


def started_by_unit(host: Host, unit: str) -> str:
    """Return the time at which a unit's process started, as Docker writes times."""
    return str(host.check_output(f'date --utc --date="$(systemctl show {unit} -P ExecMainStartTimestamp)" +%FT%TZ'))


@pytest.fixture
def pinned(request: pytest.FixtureRequest) -> Host:
    """Return the one host whose engine is pinned to an older version than its archive offers."""
    hosts = testinfra.get_hosts(str(request.config.getoption("hosts")).split(","))
    (only,) = (host for host in hosts if upstream(host))
    return only


@pytest.fixture(scope="module")
def project(host: Host) -> Iterator[str]:
    """Start a Compose project and yield its command."""
    host.run_test("mkdir -p /srv/probe")
    host.run_test("echo %s > /srv/probe/compose.yaml", COMPOSE)
    compose = "docker compose --project-directory /srv/probe"
    up = host.run(f"{compose} up --detach --wait server")
    try:
        assert up.rc == 0, up.stderr + host.check_output(f"{compose} logs")
        yield compose
    finally:
        host.run(f"{compose} down --timeout 1")


def test_the_engine_answers_and_starts_at_boot(host: Host) -> None:
    assert info(host)["ServerVersion"].startswith("26.1.5")
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled


def test_packages_come_from_the_declared_source_and_no_other(host: Host) -> None:
    ours, theirs = ("docker-ce", "docker.io") if upstream(host) else ("docker.io", "docker-ce")
    assert host.package(ours).is_installed
    assert not host.package(theirs).is_installed


def test_the_engine_is_not_upgraded_by_apt(pinned: Host) -> None:
    offered = pinned.check_output("apt-cache madison docker-ce")
    assert "5:26.1.6-1~debian.12~bookworm" in offered, "without a newer version this test has no effect"
    assert "Candidate: 5:26.1.5-1~debian.12~bookworm" in pinned.check_output("apt-cache policy docker-ce")
    assert "docker-ce" not in pinned.check_output("apt-get --simulate dist-upgrade | grep ^Inst || true")


def test_earlier_pins_are_replaced_or_removed(host: Host) -> None:
    pins = host.file("/etc/apt/preferences.d").listdir()
    assert pins == (["digital-twin-docker-engine"] if upstream(host) else [])
    assert host.check_output("apt-mark showhold").split() == (["docker-ce", "docker-ce-cli"] if upstream(host) else [])


def test_compose_runs_services_that_find_one_another(host: Host, project: str) -> None:
    assert "<title>" in host.check_output(f"{project} run --rm client")


def test_compose_publishes_ports(host: Host, project: str) -> None:
    assert "<title>" in host.check_output("curl --silent --fail http://127.0.0.1:8000/")


def test_containers_have_the_mtu_of_the_link(host: Host, project: str) -> None:
    link = host.file("/sys/class/net/eth0/mtu").content_string
    assert host.check_output(f"{project} exec server cat /sys/class/net/eth0/mtu") == link.strip()
    assert host.check_output("docker exec survivor cat /sys/class/net/eth0/mtu") == link.strip()


def test_options_that_are_not_declared_survive(host: Host) -> None:
    options = daemon_options(host)
    assert options["debug"] is True
    assert options["features"]["containerd-snapshotter"] is False
    assert options["log-opts"]["tag"] == "{{.Name}}"
    assert options["labels"][0] == "planted=yes"
    assert info(host)["Debug"] is True


def test_another_role_has_added_its_options(host: Host) -> None:
    options = daemon_options(host)
    assert options["features"] == {"containerd-snapshotter": False, "cdi": True}
    assert options["labels"] == ["planted=yes", "added=yes"]
    # The engine lists them in no particular order.
    assert sorted(info(host)["Labels"]) == sorted(options["labels"])
    assert "hosts" not in options
    assert "no-such-option" not in options


def test_registries_are_known_to_the_engine(host: Host) -> None:
    registries = info(host)["RegistryConfig"]
    if upstream(host):
        assert registries["IndexConfigs"]["archive:5000"]["Secure"] is False
    else:
        assert registries["Mirrors"] == ["http://archive:5000/"]


def test_logs_rotate_unless_another_driver_keeps_them(host: Host) -> None:
    config = json.loads(host.check_output("docker inspect survivor"))[0]["HostConfig"]["LogConfig"]
    if upstream(host):
        assert config == {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "5", "tag": "{{.Name}}"}}
    else:
        assert config == {"Type": "journald", "Config": {"tag": "{{.Name}}"}}


def test_apt_reads_its_sources_without_a_warning(host: Host) -> None:
    assert host.file("/etc/apt/sources.list.d/docker.list").exists == upstream(host)
    assert not [name for name in host.file("/etc/apt/sources.list.d").listdir() if name.startswith("digital-twin")]
    update = host.run("apt-get update")
    assert (update.rc, update.stderr) == (0, "")


def test_a_user_of_a_directory_is_a_member_of_the_group(host: Host) -> None:
    assert "docker" in host.check_output("id -nG remote").split()
    assert host.run("grep -q ^remote: /etc/passwd").rc != 0, "a user of this host is not a valid test"


def test_a_container_survives_restarts_of_the_engine(host: Host) -> None:
    state = json.loads(host.check_output("docker inspect survivor"))[0]["State"]
    assert state["Running"]
    assert info(host)["LiveRestoreEnabled"] is True
    assert state["StartedAt"] < started_by_unit(host, "docker"), "the engine has not restarted since"


def test_members_of_the_group_reach_the_engine_and_others_do_not(host: Host) -> None:
    assert host.run("runuser --login operator --command 'docker ps'").rc == 0
    stranger = host.run("runuser --login stranger --command 'docker ps'")
    assert stranger.rc != 0
    assert "permission denied" in stranger.stderr


def test_verify_left_nothing_behind(host: Host) -> None:
    names = host.check_output("docker ps --all --format '{{.Names}}'").split()
    assert [name for name in names if not name.startswith("probe-")] == ["survivor"]
    assert host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'") == "usr:links"
