# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places of a lab by default are those of Compose without the role."""

from __future__ import annotations

import json

from tests.support.project import ROOT, load_yaml


def test_default_places_are_those_of_compose() -> None:
    defaults = load_yaml(ROOT / "roles/digital_twin_stack/defaults/main.yml")["digital_twin_stack_places"]
    compose = json.loads((ROOT / "compose/places.json").read_text("utf-8"))
    assert [{"aliases": [], **place} for place in defaults] == compose
