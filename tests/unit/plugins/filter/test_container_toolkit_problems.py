# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of NVIDIA's Container Toolkit with which containers get no GPU."""

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.container_toolkit_problems import FilterModule

find = FilterModule().filters()["container_toolkit_problems"]

# An excerpt of the packaged file.
SHIPPED = """
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
environment = []
#no-cgroups = false
#root = "/run/nvidia/driver"
ldconfig = "@/sbin/ldconfig"

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
mode = "auto"
runtimes = ["runc", "crun"]
"""


@pytest.mark.parametrize(
    "text", ["", SHIPPED, SHIPPED.replace("#no-", "no-").replace("cgroups = false", "cgroups = true")]
)
def test_working_settings_are_accepted(text: str) -> None:
    assert find(text, "1.18.0") == []
    assert find(text, "1.18.2-1") == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"auto"', '"cdi"', "mode in [nvidia-container-runtime] is 'cdi'. Allowed with version 1.20.0 is 'auto' or"),
        ('"auto"', '"csv"', "mode in [nvidia-container-runtime] is 'csv'"),
        ('#root = "/run', 'root = "/run', "root in [nvidia-container-cli] is '/run/nvidia/driver', but the"),
        ("#accept-nvidia-visible-devices-envvar-when-unprivileged = true",
         "accept-nvidia-visible-devices-envvar-when-unprivileged = false",
         "accept-nvidia-visible-devices-envvar-when-unprivileged is false"),
        ("#swarm", "swarm", "swarm-resource is 'DOCKER_RESOURCE_GPU'"),
        ('"auto"', '"auto', "it is not valid TOML (Illegal character"),
    ],
)  # fmt: skip
def test_problems_name_the_setting_and_the_remedy(before: str, after: str, message: str) -> None:
    (problem,) = find(SHIPPED.replace(before, after), "1.20.0")
    assert problem.startswith(message)
    assert re.search(r"(Set|Remove|Correct) it", problem)


def test_some_settings_only_break_together_or_with_a_version() -> None:
    legacy = SHIPPED.replace('"auto"', '"legacy"')
    assert find(legacy, "1.18.1") == []
    assert find(legacy, "1.18.0-1") == [problem for problem in find(legacy, "1.18.0") if "Allowed with" in problem]
    both = legacy.replace("#no-cgroups = false", "no-cgroups = true")
    assert ["no-cgroups in" in problem for problem in find(both, "1.19.0")] == [True]


def test_version_must_be_valid() -> None:
    with pytest.raises(AnsibleFilterError, match="'newest' is not a version"):
        find("", "newest")
