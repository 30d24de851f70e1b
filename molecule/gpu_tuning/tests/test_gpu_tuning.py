"""The effects of role gpu_tuning, as nvidia-smi and systemd report them."""

from __future__ import annotations

import pytest
import testinfra
from testinfra.host import Host

UNIT = "gpu-tuning.service"
DAEMON = "nvidia-persistenced.service"
# Hosts, by the code names of their Debian releases.
PLAIN, TUNED = "bookworm", "trixie"


def the_host(request: pytest.FixtureRequest, codename: str) -> Host:
    """Return the one host with a release of Debian."""
    hosts = testinfra.get_hosts(str(request.config.getoption("hosts")).split(","))
    (only,) = (host for host in hosts if host.system_info.codename == codename)
    return only


@pytest.fixture
def plain(request: pytest.FixtureRequest) -> Host:
    """Return the host on which the role has its own defaults; in the end it has no nvidia-persistenced."""
    return the_host(request, PLAIN)


@pytest.fixture
def tuned(request: pytest.FixtureRequest) -> Host:
    """Return the host on which every setting is declared."""
    return the_host(request, TUNED)


def query(host: Host, *fields: str) -> list[list[str]]:
    """Return what nvidia-smi reports for each GPU."""
    answer = host.check_output(f"nvidia-smi --query-gpu={','.join(fields)} --format=csv,noheader,nounits")
    return [line.split(", ") for line in answer.splitlines()]


def test_persistence_mode_is_on(host: Host) -> None:
    assert {mode for (mode,) in query(host, "persistence_mode")} == {"Enabled"}


def test_one_default_fits_different_gpus(plain: Host) -> None:
    assert query(plain, "name", "power.limit") == [
        ["Tesla T4", "70.00"],
        ["NVIDIA A10G", "300.00"],
        ["Tesla V100-SXM2-16GB", "300.00"],
    ]


def test_what_is_not_declared_is_left_alone(plain: Host) -> None:
    assert (
        query(plain, "compute_mode", "ecc.mode.current", "ecc.mode.pending") == [["Default", "Enabled", "Enabled"]] * 3
    )
    clocks = query(plain, "clocks.applications.graphics", "clocks.default_applications.graphics")
    assert [now for now, _default in clocks] == [default for _now, default in clocks]


def test_what_is_declared_is_in_force(tuned: Host) -> None:
    rows = query(tuned, "power.limit", "compute_mode", "ecc.mode.current", "ecc.mode.pending")
    assert rows == [["240.00", "Exclusive_Process", "Disabled", "Disabled"]] * 2


def test_clocks_are_the_nearest_to_those_declared(tuned: Host) -> None:
    assert query(tuned, "clocks.gr", "clocks.mem") == [["1500", "6251"], ["1500", "877"]]


def test_the_daemon_holds_the_mode_as_the_user_of_its_package(tuned: Host) -> None:
    process = tuned.process.get(comm="nvidia-persiste")
    assert process.user == "nvpd"
    assert "--no-persistence-mode" not in process.args
    command = tuned.check_output(f"systemctl show --property ExecStart {DAEMON}")
    assert "argv[]=/usr/bin/nvidia-persistenced --user nvpd --persistence-mode ;" in command


def test_the_unit_sets_the_mode_without_the_daemon(plain: Host) -> None:
    assert not plain.package("nvidia-persistenced").is_installed
    journal = plain.check_output(f"journalctl --boot --unit={UNIT} --output=cat")
    assert "GPU 0 (Tesla T4): persistence_mode set to on, was off" in journal


def test_the_unit_does_not_depend_on_ansible(host: Host) -> None:
    assert host.service(UNIT).is_enabled
    assert host.run("/opt/digital-twin/gpu-tuning/bin/python -c 'import ansible'").rc != 0
    assert host.run(f"systemctl restart {UNIT}").rc == 0


def test_only_root_may_change_what_the_unit_runs(host: Host) -> None:
    others = host.check_output(
        "find /opt/digital-twin /etc/systemd/system/gpu-tuning.service ! -user root -o -perm /022 ! -type l"
    )
    assert others == ""
