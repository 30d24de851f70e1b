# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests of modules and utilities: a lab, a local AWS, and a host with simulated GPUs."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import pytest
import requests
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.description import Inputs
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from moto.utilities.utils import load_resource

from sandbox import nvml
from tests.support.gpus import Host

GOOD_DESCRIPTION: dict[str, Any] = {
    "name": "lab",
    "region": "us-east-1",
    "vpc_cidr": "10.0.0.0/16",
    "subnet_cidr": "10.0.1.0/24",
    "availability_zone": "",
    "instance_type": "g5.xlarge",
    "instance_count": 1,
    "market": "on_demand",
    "volume_size": 200,
    "volume_iops": 3000,
    "volume_throughput": 125,
    "data_volume_size": 0,
    "data_volume_iops": 3000,
    "data_volume_throughput": 125,
    "key_name": "",
    "public_key_file": "",
    "private_key_file": "",
    "admin_cidrs": ["203.0.113.7/32"],
    "viewer_cidrs": ["203.0.113.7/32"],
    "caller_audiences": [],
    "remove_sources": [],
    "ports": [
        {"from_port": 22, "to_port": 22, "protocol": "tcp", "audience": "admin"},
        {"from_port": 8765, "to_port": 8765, "protocol": "tcp", "audience": "viewer"},
    ],
    "internal_ports": [],
    "image": "ubuntu-24.04",
    "image_id": "",
    "driver_minimum": "",
    "driver_module": "auto",
    "open_module": "possible",
    "ros_domain_id": 0,
    "permissions_boundary": "",
    "tags": {"team": "robotics"},
    "remove_excess": False,
    "adopt": [],
    "instance_catalogue": [{"type": "g4dn.xlarge", "gpu": "T4"}, {"type": "g5.xlarge", "gpu": "A10G"}],
    "images": {
        "ubuntu-24.04": {"parameter": "/images/ubuntu-24.04", "user": "ubuntu"},
        "debian-13": {"parameter": "/images/debian-13", "user": "admin"},
    },
}

# One loader for all tests, as each new session would parse the service models again.
LOADER = botocore.loaders.create_loader()
# The image in every region of this AWS.
IMAGE_ID = "ami-1e749f67"
# Botocore's method for every call of every client.
MAKE_CALL = "_make_api_call"

# Answered here, as moto needs seconds to create the resources of every region.
REGIONS = [
    {"RegionName": "us-east-1", "OptInStatus": "opt-in-not-required"},
    {"RegionName": "eu-west-1", "OptInStatus": "opt-in-not-required"},
    {"RegionName": "af-south-1", "OptInStatus": "opted-in"},
    {"RegionName": "ap-east-1", "OptInStatus": "not-opted-in"},
]


@pytest.fixture
def good_description() -> dict[str, Any]:
    """Return the options of a valid lab."""
    return dict(GOOD_DESCRIPTION)


@pytest.fixture
def describe() -> Callable[[dict[str, Any]], Inputs]:
    """Return a function that changes options of a valid description."""
    return lambda given: Inputs(prefix="lab_", **{**GOOD_DESCRIPTION, **given})


def public_key(kind: str) -> str:
    """Return a line in the form of a public key of a kind."""
    name = kind.encode()
    blob = struct.pack(">I", len(name)) + name + struct.pack(">I", 32) + bytes(32)
    return f"{kind} {base64.b64encode(blob).decode()} user@example.com\n"


@pytest.fixture
def key_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the folder keys/ with a file for each case of the tables, and change to its parent folder."""
    keys = tmp_path / "keys"
    keys.mkdir()
    private = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nnothing\n"
    texts = {
        "ed25519.pub": public_key("ssh-ed25519"),
        "rsa.pub": "# made for a test\n" + public_key("ssh-rsa"),
        "two.pub": public_key("ssh-ed25519") * 2,
        "ecdsa.pub": public_key("ecdsa-sha2-nistp256"),
        "cut.pub": public_key("ssh-ed25519")[:30],
        "empty.pub": "\n",
        "text.pub": "hello\n",
        "private": private,
        "open": private,
    }
    for name, text in texts.items():
        (keys / name).write_text(text)
        (keys / name).chmod(0o644 if name == "open" else 0o600)
    monkeypatch.chdir(tmp_path)
    return keys


@dataclass
class Cloud:
    """A local AWS with the calls that it received, and prepared answers.

    Attributes:
        asked: Every call that was made, as "service:Operation in region".
        answers: What to answer instead, by operation: an answer, or an exception to raise.
    """

    endpoint: str
    asked: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """Return a client for the preparation of a test."""
        session: Any = boto3.session.Session()
        return session.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id="AKIATESTS",
            aws_secret_access_key="canary-aws-6f15",
        )

    def refuse(self, operation: str, code: str, message: str = "") -> None:
        """Make an operation fail with an error code of AWS."""
        answer: Any = {"Error": {"Code": code, "Message": message}}
        self.answers[operation] = ClientError(answer, operation)


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto's server in this process for the whole session."""
    # By default moto creates more than a thousand images for each region, and again after each reset.
    images = [image for image in load_resource("ec2/resources/amis.json") if image["ami_id"] == IMAGE_ID]
    assert images
    file = tmp_path_factory.mktemp("moto") / "images.json"
    file.write_text(json.dumps(images), "utf-8")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_AMIS_PATH", str(file))
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def cloud(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Return an empty local AWS that records its calls."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTING")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setattr("botocore.session.create_loader", lambda _path: LOADER)
    # moto does not implement the second.
    answers = {"DescribeRegions": {"Regions": REGIONS}, "GetEbsDefaultKmsKeyId": {"KmsKeyId": "alias/aws/ebs"}}
    local = Cloud(moto_endpoint, answers=answers)
    really_call = getattr(BaseClient, MAKE_CALL)

    def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        local.asked.append(f"{client.meta.service_model.service_name}:{operation} in {client.meta.region_name}")
        answer = local.answers.get(operation)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(parameters)
        return really_call(client, operation, parameters) if answer is None else answer

    monkeypatch.setattr(BaseClient, MAKE_CALL, call)
    # Remove what earlier tests created.
    requests.post(f"{moto_endpoint}/moto-api/reset", timeout=30).raise_for_status()
    return local


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the simulated NVML."""
    folder = tmp_path_factory.mktemp("nvml")
    nvml.build(folder)
    return folder


@pytest.fixture
def host(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host without GPUs, until they are set up."""
    return Host(nvml_library, tmp_path, monkeypatch)
