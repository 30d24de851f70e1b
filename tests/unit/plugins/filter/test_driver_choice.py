# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages of which archive make up the driver that is wanted.

The Debian lists are what apt-cache said in November 2026. The Ubuntu ones follow packages.ubuntu.com of that time in
names, summaries and the drivers' versions; their kernels' numbers are examples. Nothing here was run on Ubuntu.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter import nvidia_driver_choice as filter_file

HERE = Path(__file__).parent
CASES = yaml.safe_load((HERE / "driver_choice.yml").read_text(encoding="utf-8"))


class Today(datetime.datetime):
    """The day on which the lists were written down."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Today:
        return cls(2026, 11, 24, tzinfo=tz)


def recorded(archive: str, kind: str) -> str:
    """Return what apt-cache said of an archive; nothing of an empty one."""
    path = HERE / "archives" / f"{archive}.{kind}"
    return path.read_text(encoding="utf-8") if archive != "empty" else ""


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_choice(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_file.datetime, "datetime", Today)
    choose = filter_file.FilterModule().filters()["nvidia_driver_choice"]
    search, madison = (recorded(case["archive"], kind) for kind in ("search", "madison"))
    choice = choose({"distribution": "Debian", **case["wanted"]}, search, madison, case.get("installed", {}))
    if "refusal" in case:
        assert re.search(case["refusal"], choice["refusal"]), choice
        return
    assert choice["refusal"] == ""
    expected = dict(case["expect"])
    assert expected.pop("packages", {}).items() <= choice["packages"].items(), choice["packages"]
    assert expected.pop("exactly", choice["packages"]) == choice["packages"]
    assert {key: choice[key] for key in expected} == expected
