# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of verbs, for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter import lab_result

result = lab_result.lab_result
CONTEXT = {"lab": "warehouse", "region": "eu-central-1", "check": False}
HOST = {
    "name": "warehouse-1",
    "instance_id": "i-1",
    "state": "running",
    "ssh_command": "ssh -i ~/.ssh/key",
    "private_key_file": "~/.ssh/key",
    "urls": {"Foxglove": "http://203.0.113.7"},
}
COST = {"per_hour": 1.03, "per_month": 754.03, "per_month_stopped": 19.65, "prices": "list prices", "estimated": False}


@pytest.mark.parametrize(
    ("given", "ok", "changed"),
    [
        ({"verb": "stop", "changed": True}, True, True),
        ({"verb": "stop", "changed": 0}, True, False),
        ({"verb": "configure"}, True, None),
        ({"verb": "configure", "failed": ["a"]}, False, None),
        ({"verb": "", "finished": False}, False, None),
    ],
)
def test_whether_it_succeeded(given: dict[str, Any], ok: bool, changed: bool | None) -> None:
    found = result(given, CONTEXT)
    assert (found["ok"], found["changed"], found["verb"]) == (ok, changed, given["verb"])
    assert json.loads(json.dumps(found)) == found


def test_hosts_and_cost() -> None:
    found = result({"verb": "status"}, {**CONTEXT, "summary": {"hosts": [HOST], "cost": COST}})
    assert found["hosts"] == [{"name": "warehouse-1", "instance_id": "i-1", "state": "running"}]
    assert found["cost"] == {"per_hour": 1.03, "per_month": 754.03, "per_month_stopped": 19.65}
    more = {**COST, "month": {"total": 3}, "lines": ["text"]}
    found = result({"verb": "status"}, {**CONTEXT, "summary": {"hosts": [HOST], "cost": COST}, "cost": more})
    assert found["cost"]["month"] == {"total": 3}
    assert "lines" not in found["cost"]
    assert result({"verb": "stack", "hosts": ["a"]}, CONTEXT)["hosts"] == [{"name": "a"}]


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="password is not known"):
        result({"verb": "rotate", "password": "canary-9d"}, CONTEXT)


def test_the_documented_sample_is_true() -> None:
    given = yaml.safe_load(lab_result.EXAMPLES)[0]["vars"]["context"]
    documented = yaml.safe_load(lab_result.RETURN)["_value"]
    assert result({"verb": "stop", "changed": True}, given) == documented["sample"]
    assert documented["contains"].keys() == documented["sample"].keys()
    assert list(lab_result.FilterModule().filters()) == ["lab_result"]
