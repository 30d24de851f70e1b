# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volume of each host, after a boot with it, a boot without it, and its growth or removal."""

from __future__ import annotations

import pytest
from testinfra.host import Host

PATHS = {"bookworm": "/data", "trixie": "/srv/lab-data"}


@pytest.fixture
def path(host: Host) -> str:
    """Return where the volume is mounted."""
    return PATHS[str(host.system_info.codename)]


def test_the_file_has_survived(host: Host, path: str) -> None:
    assert host.file(f"{path}/kept").content_string == "months of work"
    assert not host.file(f"{path}/stray").exists
    assert host.mount_point(path).filesystem == ("ext4" if path == "/data" else "xfs")


def test_the_volume_has_grown(host: Host, path: str) -> None:
    size = int(host.check_output(f"findmnt --noheadings --bytes --output SIZE {path}"))
    assert (size > 600 * 1024**2) is (path != "/data")


def test_folders_are_on_the_volume(host: Host, path: str) -> None:
    if path != "/data":
        return
    host.run_expect([0], "echo x > /srv/my-models/weights")
    assert host.file("/data/models/weights").exists
    models, maps = host.file("/data/models"), host.file("/data/maps")
    assert (models.uid, models.gid, models.mode) == (1000, 1000, 0o750)
    # As the folder that it covers.
    assert (maps.uid, maps.gid, maps.mode) == (1234, 1234, 0o700)


def test_docker_stops_with_the_volume(host: Host, path: str) -> None:
    unit = host.check_output(f"systemd-escape --path --suffix=mount {path}")
    host.run_expect([0], f"systemctl stop '{unit}'")
    assert not host.service("docker").is_running
    host.run_expect([0], "systemctl start docker.service")
    assert host.mount_point(path).exists
