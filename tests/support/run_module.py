# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module for AWS in this process against a local AWS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.support.local_aws import LocalAws


def runner(
    aws: LocalAws,
    main: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    **defaults: object,
) -> Callable[..., dict[str, Any]]:
    """Return a function that runs a module with some options and returns its result."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)

    def run(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        check = {"_ansible_check_mode": given.pop("check", False)}
        with patch_module_args({"region": "us-east-1", **defaults, **given, **check}), pytest.raises(SystemExit):
            main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run
