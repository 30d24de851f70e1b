# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of a host is pending until its disks are copied, and they go with it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.cloud import image_api
from sandbox.cloud.reconciler import Reconciler
from sandbox.keys import Keys
from sandbox.settings import Sandbox
from sandbox.waiting import wait_until
from tests.unit.sandbox.conftest import AWS, KEY, code_of

SECONDS = 30


class Hosts:
    """Hosts without an engine: all are stopped, and their disks are copied when that is allowed.

    :param broken: whether the copy fails.
    """

    def __init__(self, broken: bool) -> None:
        self.images = self
        self.allowed = threading.Event()
        self.disks: dict[str, str] = {}
        self._broken = broken

    def find(self, _instance_id: str) -> SimpleNamespace:
        return SimpleNamespace(status="exited")

    def make(self, image_id: str, instance_id: str) -> None:
        assert self.allowed.wait(SECONDS)
        if self._broken:
            raise OSError("no space")
        self.disks[image_id] = instance_id

    def remove(self, image_id: str) -> None:
        self.disks.pop(image_id, None)


@pytest.mark.parametrize("broken", [False, True])
def test_an_image_follows_its_disks(aws: AWS, tmp_path: Path, broken: bool) -> None:
    image_api.install()
    identifier = aws.run()
    aws.ec2.stop_instances(InstanceIds=[identifier])
    fake: Any = Hosts(broken)
    sandbox = Sandbox.at(tmp_path)
    sandbox.guest.mkdir(parents=True)
    reconciler = Reconciler(sandbox, fake, Keys(KEY))
    image = aws.ec2.create_image(InstanceId=identifier, Name="disk")["ImageId"]

    def state() -> str:
        return str(aws.ec2.describe_images(ImageIds=[image])["Images"][0]["State"])

    reconciler.follow()
    assert (state(), fake.disks) == ("pending", {})
    fake.allowed.set()
    wanted = "failed" if broken else "available"
    wait_until(lambda: state() == wanted, what=f"the image to be {wanted}", seconds=SECONDS)
    assert fake.disks == ({} if broken else {image: identifier})
    # AWS has one image of a name.
    assert code_of(aws.ec2.create_image, InstanceId=identifier, Name="disk") == "InvalidAMIName.Duplicate"
    aws.ec2.deregister_image(ImageId=image)
    reconciler.follow()
    wait_until(lambda: not fake.disks, what="the disks to be removed", seconds=SECONDS)
    reconciler.close()
