# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options in the text of daemon.json."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.docker_daemon_file import FilterModule

parse = FilterModule().filters()["docker_daemon_file"]


@pytest.mark.parametrize(
    ("text", "options"), [("", {}), (" \n", {}), ("{}", {}), ('{"debug": true}\n', {"debug": True})]
)
def test_options_of_an_object(text: str, options: dict[str, Any]) -> None:
    assert parse(text) == {"options": options, "problem": ""}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[debug", "line 1 column 2"),
        ('{\n"debug": yes}', "line 2 column 10"),
        ('["debug"]', "its top level"),
        ("null", "its top level"),
    ],
)
def test_other_texts_are_a_problem(text: str, place: str) -> None:
    parsed = parse(text)
    assert parsed["options"] == {}
    assert parsed["problem"] == (
        f"/etc/docker/daemon.json is not a JSON object ({place}), so its options cannot be preserved. "
        "Correct it or move it away."
    )
