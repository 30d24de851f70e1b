# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test of the name of a lab."""

from __future__ import annotations

from typing import Any

from ..module_utils._lab.names import is_lab_name


class TestModule:
    """The test of this file."""

    def tests(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_name": is_lab_name}
