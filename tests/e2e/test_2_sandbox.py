# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of another user of this machine, and of a host, in the sandbox of the lab."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from sandbox.lifecycle import PORT_LABEL
from sandbox.settings import AWS_HOST, PUSH_PORT, REGISTRY_PORT
from tests.support.lab import Cloud, on_host

NOBODY = 65534
RUN = "Action=RunInstances&ImageId=ami-1&MinCount=1&MaxCount=1&UserData=aWQ%3D&Version=2016-11-15"
# Sends one request and prints the status of the answer. Every user of a machine can run bash.
ASK = r"""
exec 3<>"/dev/tcp/$1/$2"
printf '%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %s\r\n' "$4" "$5" "$3" "${#6}" >&3
scope=Credential=AKIASANDBOX/20260101/us-east-1/ec2/aws4_request
printf 'Authorization: AWS4-HMAC-SHA256 %s, SignedHeaders=host, Signature=%064d\r\n\r\n%s' "$scope" 0 "$6" >&3
read -r _ status _ <&3
echo "$status"
"""


def ask(place: str, method: str, path: str, body: str = "", *, host: str = "") -> int:
    """Send a request as another user of this machine, and return the status of the answer.

    Args:
        place: address and port.
        host: the Host header, if it is not the address.
    """
    other = NOBODY if os.geteuid() == 0 else None
    done = subprocess.run(
        ["bash", "-c", ASK, "ask", *place.split(":"), host or place, method, path, body],
        user=other,
        group=other,
        extra_groups=None if other is None else [],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return int(done.stdout)


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    """Return a client of this machine's engine."""
    client = docker.from_env()
    yield client
    client.close()


def addresses(container: Container) -> list[str]:
    """Return a container's addresses on the bridges, which every user of this machine reaches."""
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    return [str(network["IPAddress"]) for network in networks if network["IPAddress"]]


def test_another_user_cannot_start_an_instance(lab: Cloud, engine: docker.DockerClient) -> None:
    """Neither by the port, nor by the address of the hosts' AWS endpoint on the bridge of their VPC."""
    before = lab.hosts()
    place = lab.url.removeprefix("http://")
    for path, body in (("/", RUN), ("/_sandbox/quotas", "{}"), ("/moto-api/reset", "")):
        assert ask(place, "POST", path, body) == 403
    mine = engine.containers.list(filters={"label": lab.sandbox.label_filter})
    endpoints = [container for container in mine if "-imds-" in str(container.name)]
    assert endpoints
    for address in [address for container in endpoints for address in addresses(container)]:
        assert ask(f"{address}:80", "POST", "/", RUN, host=AWS_HOST) == 403
    assert lab.hosts() == before


def test_another_user_cannot_replace_an_image(lab: Cloud, engine: docker.DockerClient) -> None:
    registry = engine.containers.get(lab.sandbox.name("registry"))
    ways = [(f"127.0.0.1:{registry.labels[PORT_LABEL]}", 401)]
    for address in addresses(registry):
        ways += [(f"{address}:{REGISTRY_PORT}", 405), (f"{address}:{PUSH_PORT}", 401)]
    assert len(ways) >= 3
    for place, status in ways:
        for method, path in (("POST", "/v2/lab/blobs/uploads/"), ("PUT", "/v2/lab/manifests/latest")):
            assert ask(place, method, path, "{}") == status
    # Hosts pull without a login.
    assert ask(f"{addresses(registry)[0]}:{REGISTRY_PORT}", "GET", "/v2/") == 200


def test_a_host_has_only_the_rights_over_the_machine_that_it_needs(lab: Cloud) -> None:
    """It writes its own network's settings. Each write uses the present value."""
    write = 'for file in {}; do if value=$(cat $file) && echo "$value" >$file; then echo $file; fi; done 2>/dev/null'
    folder = "/proc/sys"
    closed = [f"{folder}/{name}" for name in ("kernel/core_pattern", "kernel/pid_max", "vm/swappiness", "fs/file-max")]
    network = f"{folder}/net/ipv4/ip_forward"
    assert on_host(lab, write.format(" ".join([*closed, network]))).split() == [network]
    assert on_host(lab, "test -w /proc/sysrq-trigger && echo open || echo closed") == "closed"
    held = int(on_host(lab, "sed -n 's/^CapBnd:\\t//p' /proc/1/status"), 16)
    numbers = {"SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_BOOT": 22, "SYS_TIME": 25, "SYS_RESOURCE": 24}
    numbers |= {"DAC_READ_SEARCH": 2, "SYS_PACCT": 20, "MAC_OVERRIDE": 32, "MAC_ADMIN": 33}
    assert [name for name, bit in numbers.items() if held >> bit & 1] == []


def test_an_instances_key_is_its_roles_own(lab: Cloud) -> None:
    answer = on_host(
        lab,
        "token=$(curl -s -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token);"
        ' curl -s -m 5 -H "X-aws-ec2-metadata-token: $token" '
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/robotics-lab-instance",
    )
    assert '"AccessKeyId": "ASIA' in answer
    assert lab.key.id not in answer
    assert lab.key.secret not in answer
