# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No file in the tree contains text that looks like a key."""

from __future__ import annotations

import re

import pytest

from tests.support.project import expect_none, project_files, text_files

# Keys in the documentation of AWS.
DOCUMENTED = {"AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}

SECRETS = {
    "a private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s+\S{16}",
    "an AWS access key": r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "an AWS secret key": (
        r"(?i:secret_?access_?key|aws_?secret_?key)[\"']?\s*[:=]\s*[\"']?"
        r"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"
    ),
    "an NVIDIA API key": r"\bnvapi-[A-Za-z0-9_-]{40,}",
    "an NGC key": r"(?i:ngc_(?:api_)?key)[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9+/=]{48,})",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})",
    "an Ansible vault": r"^\s*\$ANSIBLE_[V]AULT;",
}
# A secret in the tests, by the name of its variable or option; only YAML allows one without quotes.
NAMED_SECRET = r"(?i:secret_(?:access_)?key|password|api_key)[\"']?\s*[:=]\s*"
TEST_SECRETS = {
    ".py": re.compile(NAMED_SECRET + r"[\"']([\w-]+)[\"']"),
    ".yml": re.compile(NAMED_SECRET + r"[\"']?([\w-]+)"),
}
SECRET_FILES = re.compile(r"(?:^|/)(?:\.env|\.vault_pass.*|id_(?:rsa|ecdsa|ed25519)|.+\.(?:pem|p12|key|tfvars))$")


@pytest.mark.parametrize("what", SECRETS)
def test_no_secret_is_in_the_tree(what: str) -> None:
    pattern = re.compile(SECRETS[what], re.MULTILINE)
    found = [
        # Not the match itself, because logs contain this message.
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
        for path, text in text_files().items()
        for match in pattern.finditer(text)
        if not DOCUMENTED & {match.group(), *match.groups()}
    ]
    expect_none(found, f"{what} in")


def test_no_file_with_secrets_is_in_the_tree() -> None:
    found = [str(path) for path in project_files() if SECRET_FILES.search(str(path))]
    expect_none(found, "such files contain keys or passwords and must not be committed:")


def test_secrets_of_tests_contain_canary() -> None:
    """Ansible masks a secret in every message, paths included: `test` would be masked in the name of a checkout."""
    found = [
        f"{path}: {match[1]}"
        for path, text in text_files("tests", "molecule", "sandbox", "inventory").items()
        if path.suffix in TEST_SECRETS
        for match in TEST_SECRETS[path.suffix].finditer(text)
        if "canary" not in match[1]
    ]
    expect_none(found, "add the word canary, which occurs in no path and no message:")
