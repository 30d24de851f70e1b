# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's AWS without its hosts, as a process of its own, for tests of playbooks that only call AWS.

moto reads its settings at import, so another process has them as the sandbox has.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from sandbox.cloud.machine_images import machine_image_rows
from sandbox.cloud.process import control
from sandbox.keys import Key
from tests.support.project import ROOT


@dataclass(frozen=True)
class LocalAws:
    """The address of a local AWS and its only key."""

    url: str
    key: Key

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which programs use it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key.id,
            "AWS_SECRET_ACCESS_KEY": self.key.secret,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        make: Any = boto3.client
        keys = {"aws_access_key_id": self.key.id, "aws_secret_access_key": self.key.secret}
        return make(service, endpoint_url=self.url, region_name="us-east-1", **keys)

    def inject(self, **rule: Any) -> None:
        """Make calls fail."""
        control(self.url, self.key, "POST", "faults", {"service": "ec2", **rule})

    def control(self, method: str, path: str, data: Any = None) -> Any:
        """Send a request to the control interface, and return the answer."""
        return control(self.url, self.key, method, path, data)

    def mend(self) -> None:
        """Remove all faults."""
        control(self.url, self.key, "DELETE", "faults")

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls since the last time."""
        found: list[dict[str, Any]] = control(self.url, self.key, "GET", "calls")
        control(self.url, self.key, "DELETE", "calls")
        return found


@contextlib.contextmanager
def running(folder: Path) -> Iterator[LocalAws]:
    """Run a local AWS.

    Args:
        folder: Where its files are.
    """
    key = Key.new()
    images = folder / "images.json"
    images.write_text(json.dumps(machine_image_rows()), encoding="utf-8")
    environment = {
        **os.environ,
        "MOTO_AMIS_PATH": str(images),
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_CALL_RESET_API": "false",
        "TEST_AWS_KEY": json.dumps([key.id, key.secret]),
    }
    command = [sys.executable, "-m", "tests.support.local_aws_server"]
    log = (folder / "aws.log").open("w")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port, (folder / "aws.log").read_text()
        try:
            yield LocalAws(f"http://127.0.0.1:{port}", key)
        finally:
            process.terminate()
            process.wait(timeout=20)
            log.close()
