"""The effects of role nvidia_driver, as users of the GPU see them."""

from __future__ import annotations

import pytest
import testinfra
from testinfra.host import Host

NVML = """
import ctypes
nvml = ctypes.CDLL("libnvidia-ml.so.1")
count = ctypes.c_uint()
assert nvml.nvmlInit_v2() == 0
assert nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
print(count.value)
"""


def older(host: Host) -> bool:
    """Return whether this is the host that is pinned to an older version than its archive offers."""
    return bool(host.system_info.codename == "bookworm")


@pytest.fixture
def pinned(request: pytest.FixtureRequest) -> Host:
    """Return the host with the older version."""
    hosts = testinfra.get_hosts(str(request.config.getoption("hosts")).split(","))
    (only,) = (host for host in hosts if older(host))
    return only


def test_programs_see_every_gpu(host: Host) -> None:
    host.run_test("echo %s > /tmp/nvml.py", NVML)
    assert host.check_output("python3 /tmp/nvml.py") == ("2" if older(host) else "1")


def test_the_loaded_driver_is_the_declared_one(host: Host) -> None:
    loaded = host.check_output("nvidia-smi --query-gpu=driver_version --format=csv,noheader").splitlines()
    assert set(loaded) == {"535.261.03" if older(host) else "550.163.01"}


def test_no_other_driver_is_installed(host: Host) -> None:
    listed = host.check_output("dpkg-query --show --showformat '${db:Status-Status} ${Package}\n'").splitlines()
    installed = [line.split()[1] for line in listed if line.startswith("installed ")]
    assert "libnvidia-ml1" in installed
    assert not [name for name in installed if "tesla" in name]


def test_an_upgrade_does_not_move_the_driver(pinned: Host) -> None:
    assert "535.309" in pinned.check_output("apt-cache madison libcuda1"), (
        "without a newer version, this test has no effect"
    )
    assert "nvidia" not in pinned.check_output("apt-get --simulate dist-upgrade | grep ^Inst || true")


def test_neither_does_an_upgrade_that_ignores_pins(pinned: Host) -> None:
    ignoring = "apt-get --simulate -o Dir::Etc::PreferencesParts=/nonexistent dist-upgrade"
    assert "Inst libcuda1" not in pinned.check_output(ignoring)
    assert "libcuda1" in pinned.check_output("apt-mark showhold").split()


def test_neither_does_unattended_upgrades(pinned: Host) -> None:
    """Without the pin and the holds, which it would respect as well."""
    pinned.check_output("apt-mark showhold > /tmp/held && mv /etc/apt/preferences.d /tmp/preferences")
    try:
        pinned.check_output("xargs apt-mark unhold < /tmp/held")
        done = pinned.run("unattended-upgrade --dry-run --debug")
    finally:
        pinned.check_output("mv /tmp/preferences /etc/apt/preferences.d && xargs apt-mark hold < /tmp/held")
    text = done.stdout + done.stderr
    assert "libcuda1" in text, text[-2000:]
    upgraded = [line for line in text.splitlines() if line.startswith("Packages that will be upgraded:")]
    assert not any("nvidia" in line or "libcuda" in line for line in upgraded), upgraded


def test_apt_reports_no_problem(host: Host) -> None:
    update = host.run("apt-get update")
    assert update.rc == 0
    assert "configured multiple times" not in update.stdout + update.stderr
