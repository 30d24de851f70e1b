# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table in docs/reach.md matches the connections on the running lab."""

from __future__ import annotations

import os

from tests.support.lab import FIRST_HOST, Cloud
from tests.support.project import ROOT
from tests.support.reach import markdown, reach, split

PAGE = ROOT / "docs" / "reach.md"
SECOND_HOST = "robotics-lab-2"


def test_connections_match_the_documentation(lab: Cloud) -> None:
    """With REACH_WRITE=1 in the environment the test updates the table."""
    hosts = lab.hosts()
    found = markdown(reach(lab, hosts[FIRST_HOST], hosts[SECOND_HOST]))
    before, documented, after = split(PAGE.read_text("utf-8"))
    if os.environ.get("REACH_WRITE"):
        PAGE.write_text(f"{before}{found}{after}", "utf-8")
        return
    assert found == documented, (
        f"docs/reach.md differs. Check the change, then set REACH_WRITE=1 to write it. The table is now:\n{found}"
    )
