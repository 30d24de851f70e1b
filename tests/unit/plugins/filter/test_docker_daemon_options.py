# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options merged into those of a Docker daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.docker_daemon_options import FilterModule

merge = FilterModule().filters()["docker_daemon_options"]

TABLE = Path(__file__).with_name("docker_daemon_options.yml")
CASES: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_options_are_merged(case: dict[str, Any]) -> None:
    before = json.dumps(case)
    result = merge(case["now"], case["wanted"])
    assert json.dumps(result) == json.dumps(case["merged"])
    assert merge(result, case["wanted"]) == result, "a second run would write again"
    assert json.dumps(case) == before, "the caller's options were changed"


def test_options_must_be_a_dictionary() -> None:
    with pytest.raises(AnsibleFilterError, match=r"\['debug'\] is not a dictionary"):
        merge({}, ["debug"])
