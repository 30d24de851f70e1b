# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of Ansible and its collections are tested, and what a user reads about others."""

from __future__ import annotations

import json

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.lookup.untested_versions import contains, judge

from tests.support.ansible_programs import run

CORE, AMAZON = ">=2.19.0,<2.22", ">=10.1.0,<12.0.0"


@pytest.mark.parametrize(
    ("tested", "version", "inside"),
    [
        (CORE, "2.19.0", True),
        (CORE, "2.21.5", True),
        (CORE, "2.21.0rc1", True),
        (CORE, "2.18.9", False),
        (CORE, "2.22.0", False),
        (CORE, "2.22.0.dev0", False),
        (AMAZON, "10.1.0", True),
        (AMAZON, "11.4.0", True),
        (AMAZON, "9.9.9", False),
        (AMAZON, "12.0.0", False),
        (AMAZON, "10.0.9", False),
    ],
)
def test_range(tested: str, version: str, inside: bool) -> None:
    assert contains(tested, version) is inside


def test_one_line_with_the_remedy() -> None:
    assert judge("amazon.aws", "11.4.0", AMAZON) is None
    outside, missing = judge("amazon.aws", "12.0.0", AMAZON), judge("amazon.aws", "", AMAZON)
    assert outside
    assert outside["message"].startswith("amazon.aws 12.0.0 is installed, and digital_twin.robotics_lab is tested with")
    assert "`ansible-galaxy collection install 'amazon.aws:>=10.1.0,<12.0.0'`" in outside["message"]
    assert missing
    assert missing["message"].startswith("amazon.aws is not installed")


def test_this_environment_is_tested() -> None:
    lookup = "{{ query('digital_twin.robotics_lab.untested_versions') }}"
    words = ["ansible", "localhost", "-i", "localhost,", "-c", "local", "-m", "ansible.builtin.debug", "-a"]
    shown = run([*words, f"msg={lookup}"])
    assert "[]" in shown, json.dumps(shown)
