# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it: what it refuses, and what a check tells. Nothing is written here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import sysctl_settings

Run = Callable[..., dict[str, Any]]

PATH = "/etc/sysctl.d/99-zz-no-such-file.conf"
SETTING = "net.ipv4.ipfrag_time"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module in check mode and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({"path": PATH, "_ansible_check_mode": True, **given}), pytest.raises(SystemExit):
            sysctl_settings.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.mark.parametrize("side", ["at_least", "exactly"])
@pytest.mark.parametrize(
    "name",
    [
        "",
        "rmem_max",
        "net..core",
        ".net.core",
        "net.core.",
        "net.ipv4.conf.*.rp_filter",
        "net.core.a = 1\nnet.core.b",
        "-net.core.rmem_max",
        "../../etc/passwd",
        "net.core.../..",
        "/net/core/rmem_max",
        "net/core/rmem_max",
    ],
)
def test_what_is_no_setting_is_refused(run: Run, side: str, name: str) -> None:
    told = run(**{side: {name: 1}})
    assert told["msg"] == f"{side}: {name!r} is not the name of a setting. Allowed: names such as net.core.rmem_max"


@pytest.mark.parametrize("value", [-1, 1.5, "many", "", True, None, [3]])
def test_what_is_no_whole_number_is_refused(run: Run, value: object) -> None:
    told = run(exactly={SETTING: value})
    assert told["msg"] == f"exactly: {SETTING} is {value!r}. Allowed: a whole number from 0 on"


def test_a_setting_that_is_wanted_twice_is_refused(run: Run) -> None:
    told = run(at_least={SETTING: 3}, exactly={SETTING: 30})
    assert told["msg"] == f"exactly: {SETTING} is also in at_least. Leave it out of one of them"


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize(
    "path",
    [
        "/etc/sysctl.conf",
        "/etc/sysctl.d/robots",
        "/etc/sysctl.d/more/99-robots.conf",
        "/etc/sysctl.d/../99-robots.conf",
        "/etc/sysctl.d/.conf",
        "/run/sysctl.d/99-robots.conf",
        "99-robots.conf",
    ],
)
def test_a_file_that_is_not_read_at_boot_is_refused(run: Run, path: str, state: str) -> None:
    told = run(path=path, state=state, exactly={SETTING: 3})
    assert told["msg"] == f"path: {path} is not read at boot. Allowed: /etc/sysctl.d/<name>.conf"


def test_a_check_tells_what_it_documents_and_writes_nothing(run: Run) -> None:
    documented = yaml.safe_load(sysctl_settings.RETURN)
    told = run(exactly={SETTING: 7, "net.ipv4.no_such_setting": 1}, at_least={"net.core.somaxconn": 1})
    assert told["changed"]
    assert set(told) - {"changed", "diff", "invocation"} == set(documented)
    assert {row["name"]: row["persisted"] for row in told["settings"]}[SETTING] == 7
    assert not Path(PATH).exists()


def test_strict_refuses_what_this_kernel_does_not_have(run: Run) -> None:
    told = run(exactly={"net.ipv4.no_such_setting": 1}, strict=True)
    assert told["msg"].startswith("net.ipv4.no_such_setting is None: this kernel")
