# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test which host keys a console output proves, and how long the module waits for them."""

from __future__ import annotations

import base64
from typing import Any

import boto3
import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws import console_keys
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.errors import ReadError
from botocore.stub import Stubber
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGH5fGgBdTgC1nD8E/TekwJAet/K4f1f8DiBiQ4NYry/"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPpr+er3f3udgTXl6EPI+7KGx6TXD6uSDR2iwH"
    "ifbA/rgJqMHVg8Ziq+0dQ1jn6Upu1OgReLw+OG91rLAB+lHNY="
)
RSA = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCpCdv92wqd3FA503SQRIyr3vPAV2jBzlulqfdMFh8KMlLcJ5Myk5SLPZqxM9BVsCpNttEIFW"
    "AArKalPLg4Od6JuBQEI0EzhxWELE7kH/92urWy1VA1lWquWQnNNC0JXqqsZlUZ1PWcbCqRVBwQntKL30KY2GD3J4AfvcVljxCOJcBOej5YIAsa"
    "pMqJVb95ouIbrVCLV1DUjkTy60XoUtmGmkLGoGea798Ux9MWSk6J+nyCB0jSOYVYjeaajv4ioyrkXumO4/7JoQCxfcAKk9vtMN+jNU6tnrfP+K"
    "mcrPJBxf3tAuycPrkVVMJW2fxXgsmAWgOTJpgRnkg4SNm025nR"
)
# A key of another instance, as an attacker would forge it.
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJIdoMOxHQZwxnthOnUpd0Wl7TPRsJdj5KvW9YdE3Pbk"
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
FINISHED = "Cloud-init v. 25.1.4 finished at Sun, 29 Nov 2026 12:00:00 +0000. Datasource DataSourceEc2Local.  Up 21 s"
PRINTS = {
    "ECDSA": "SHA256:8KKnft4X6/5ANZjy4c9Pf8nLPghM25r2h7KQCcmMWJQ",
    "ED25519": "SHA256:BOyEUuM4iXqSIlaoCcp+wOsLB3w+ZBZLPxxNdEY7WkQ",
    "RSA": "SHA256:GYvOtfpGNz7ILw0XZPkKOVZZZ/rRmafsDE1vcq5vptA",
}


def fingerprints(prefix: str) -> list[str]:
    """Return the lines with fingerprints, which cloud-init writes through syslog."""
    rows = [f"256 {value} root@ip-10-0-1-10 ({kind})" for kind, value in PRINTS.items()]
    marks = [f"-----{word} SSH HOST KEY FINGERPRINTS-----" for word in ("BEGIN", "END")]
    hashes = "#" * 61
    return [prefix + line for line in (hashes, marks[0], *rows, marks[1], hashes)]


def block(*keys: str, prefix: str = "", comment: str = " root@ip-10-0-1-10") -> list[str]:
    return [prefix + line for line in (BEGIN, *(f"{key}{comment}" for key in keys), END)]


ALL = [ECDSA, ED25519, RSA]
BOOT = [
    "[    0.000000] Linux version 6.8.0-1018-aws (buildd@lcy02-amd64-062)",
    "\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mssh.service\x1b[0m - OpenBSD Secure Shell server.",
    "ci-info: +++++++++++++++++++++++++++++++++++++++Net device info+++++++++++++++++++++++++++++++++++++++",
    "ci-info: | Keytype |                Fingerprint (sha256)                | Options |       Comment      |",
]
SYSLOG = "<14>Nov 29 11:59:58 cloud-init: "
NOISE = "[   18.113399] nvidia: loading out-of-tree module taints kernel."
CASES: dict[str, tuple[list[str], list[str]]] = {
    # cloud-init 22.4 and newer: fingerprints by syslog, keys as they are.
    "ubuntu 22.04, 24.04, debian 12, 13": ([*BOOT, *fingerprints(SYSLOG), *block(*ALL), FINISHED], ALL),
    "ubuntu before 2021": ([*BOOT, *fingerprints("ec2: "), *block(*ALL), FINISHED], ALL),
    "all by syslog": ([*fingerprints("<14>ec2: "), *block(*ALL, prefix="<14>Nov  9 11:59:58 ec2: "), FINISHED], ALL),
    "by the journal": (block(*ALL, prefix="[   20.123456] cloud-init[608]: "), ALL),
    "without comments": (block(ED25519, comment=""), [ED25519]),
    "written twice": (
        [BEGIN, *block(ED25519, prefix="ci-info: ")[:2], f"{ED25519} x", END, f"ci-info: {END}"],
        [ED25519],
    ),
    "a kernel message between": ([BEGIN, f"{ED25519} x", NOISE, f"{RSA} x", END], [ED25519, RSA]),
    "a kernel message within a key": ([BEGIN, ED25519[:40] + NOISE, ED25519[40:], f"{RSA} x", END], [RSA]),
    "a key that is cut": ([BEGIN, ED25519[:-4], f"{RSA} x", END], [RSA]),
    "two boots": ([*block(OTHER), FINISHED, *BOOT, *block(*ALL), FINISHED], ALL),
    "a later boot without keys": ([*block(*ALL), FINISHED, *BOOT, FINISHED], ALL),
    "a forged block earlier": ([*block(OTHER), *fingerprints(SYSLOG), *block(ED25519), FINISHED], [ED25519]),
    "only the end is left": ([f"{RSA} x", END, FINISHED], []),
    "the end is not there yet": ([*BOOT, BEGIN, f"{RSA} x"], []),
    "a newer block that has no end": ([*block(OTHER), FINISHED, BEGIN, f"{RSA} x"], []),
    "a newer block in which all keys are damaged": ([*block(OTHER), BEGIN, "ssh-ed25519 AAAA", END], []),
    "empty": ([], []),
    "no block": ([*BOOT, FINISHED], []),
    "fingerprints only": ([*fingerprints(SYSLOG), FINISHED], []),
    "keys outside": ([f"{ED25519} x", *block(RSA), f"{OTHER} x"], [RSA]),
    "a program of another name": (block(OTHER, prefix="[   20.123456] app[99]: "), []),
    "a kernel message alone": (block(OTHER, prefix="[   20.123456] "), []),
    "in the middle of a line": ([f"hello {line}" for line in block(OTHER)], []),
    # Valid in known_hosts, and never to be added from a console.
    "an authority": ([BEGIN, f"@cert-authority * {OTHER}", f"* {OTHER}", f"{ED25519} x", END], [ED25519]),
    "another type within": ([BEGIN, f"ssh-rsa {OTHER.split()[1]}", f"{ED25519} x", END], [ED25519]),
    "types that ssh does not use": ([BEGIN, "ssh-dss AAAAB3NzaC1kc3MAAAAA", f"{ED25519} x", END], [ED25519]),
    "a certificate": (
        [BEGIN, f"ssh-ed25519-cert-v01@openssh.com {OTHER.split()[1]}", f"{ED25519} x", END],
        [ED25519],
    ),
    "a comment with commands": ([BEGIN, f"{ED25519} $(id) `id` ; * ssh-rsa", END], [ED25519]),
}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r\r\n"], ids=["lf", "crlf", "crcrlf"])
@pytest.mark.parametrize("case", CASES)
def test_the_last_complete_block_counts(case: str, ends: str) -> None:
    lines, expected = CASES[case]
    text = ends.join([*lines, ""])
    assert console_keys.parse(text).keys == expected
    assert console_keys.parse(base64.encodebytes(text.encode()).decode()).keys == expected


def test_keys_in_the_newest_64_kb() -> None:
    text = "\r\n".join([*block(RSA), NOISE * 900, *block(ED25519), FINISHED])
    assert console_keys.parse(text[-65536:]).keys == [ED25519]
    assert console_keys.parse(text[-65536:][:-150]).keys == []


def test_fingerprints_are_reported() -> None:
    console = console_keys.parse("\n".join([*fingerprints(SYSLOG), FINISHED]))
    assert console.fingerprints == list(PRINTS.values())
    assert console.booted


@pytest.mark.parametrize("bits", ["nistp384", "nistp521"])
def test_keys_of_other_curves(bits: str) -> None:
    curve = {"nistp384": ec.SECP384R1(), "nistp521": ec.SECP521R1()}[bits]
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    key = ec.generate_private_key(curve).public_key().public_bytes(*form).decode()
    assert console_keys.parse("\n".join(block(key))).keys == [key]


class Instance:
    """EC2 with one instance whose console output changes with each call, and a clock that advances by waiting."""

    def __init__(self, *outputs: str, nitro: bool = True) -> None:
        client: Any = boto3.client
        self.client = client("ec2", "us-east-1", aws_access_key_id="test", aws_secret_access_key="canary-aws-3d91")
        self.stub = Stubber(self.client)
        for output in outputs:
            if nitro:
                self.answer(output, Latest=True)
            else:
                self.refuse("UnsupportedOperation", Latest=True)
            if not nitro or not console_keys.parse(output).keys:
                self.answer(output)
        self.now = 0.0

    def answer(self, output: str, **options: bool) -> None:
        encoded = {"Output": base64.b64encode(output.encode()).decode()} if output else {}
        row = {"InstanceId": "i-1", **encoded}
        self.stub.add_response("get_console_output", row, {"InstanceId": "i-1", **options})

    def refuse(self, code: str, **options: bool) -> None:
        self.stub.add_client_error("get_console_output", code, expected_params={"InstanceId": "i-1", **options})

    def wait(self, seconds: float) -> console_keys.Answer:
        """Return the final answer about the instance; all prepared outputs must have been read."""

        def sleep(duration: float) -> None:
            self.now += duration

        with self.stub:
            found = console_keys.wait(self.client, ["i-1"], "us-east-1", seconds, clock=lambda: self.now, sleep=sleep)
            self.stub.assert_no_pending_responses()
        return found["i-1"]


KEYS = "\n".join([*block(*ALL), FINISHED])


@pytest.mark.parametrize("nitro", [True, False])
def test_keys_are_waited_for(nitro: bool) -> None:
    instance = Instance("", "\n".join(BOOT), KEYS, nitro=nitro)
    assert instance.wait(600) == console_keys.Answer(ALL)
    assert instance.now == 2 * console_keys.POLL_SECONDS


def test_the_buffered_output_has_the_first_boot_when_the_latest_has_lost_it() -> None:
    instance = Instance()
    instance.answer(NOISE, Latest=True)
    instance.answer(KEYS)
    assert instance.wait(0).keys == ALL


def test_an_older_block_does_not_replace_an_incomplete_one() -> None:
    instance = Instance()
    instance.answer(BEGIN, Latest=True)
    answer = instance.wait(0)
    assert (answer.keys, "incomplete" in answer.reason) == ([], True)


def test_waiting_has_a_limit() -> None:
    instance = Instance(*["\n".join(BOOT)] * 4)
    answer = instance.wait(12)
    assert (answer.keys, instance.now) == ([], 12)
    assert answer.reason == "its console output has no host keys yet"


def test_it_does_not_wait_for_keys_that_cannot_appear() -> None:
    """It reads once more, as the last line of cloud-init may arrive before others."""
    instance = Instance(*["\n".join([*BOOT, FINISHED])] * 2)
    answer = instance.wait(600)
    assert answer.reason == "its console output no longer has the keys of the first boot"
    assert instance.now == console_keys.POLL_SECONDS
    late = Instance(FINISHED, KEYS)
    assert late.wait(600).keys == ALL


def test_a_caller_without_permission_gets_a_reason() -> None:
    instance = Instance()
    instance.refuse("UnauthorizedOperation", Latest=True)
    assert instance.wait(600) == console_keys.Answer([], "ec2:GetConsoleOutput is denied in us-east-1")
    assert instance.now == 0


def test_other_failures_are_errors() -> None:
    instance = Instance()
    instance.refuse("InvalidInstanceID.NotFound", Latest=True)
    with pytest.raises(ReadError, match=r"InvalidInstanceID\.NotFound"):
        instance.wait(600)
