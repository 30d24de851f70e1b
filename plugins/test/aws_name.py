# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of names that AWS accepts. Each is documented in the YAML file of its name."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..module_utils._aws.names import DIMENSION_NAME, DIMENSION_VALUE, NAMESPACE, REGION


def whole(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    """Return the test that the whole of a text matches a pattern."""
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


class TestModule:
    """The tests of this file."""

    def tests(self) -> dict[str, Callable[[object], bool]]:
        """Return them by name."""
        return {
            "aws_region": whole(REGION),
            "aws_namespace": whole(NAMESPACE),
            "aws_dimension_name": whole(DIMENSION_NAME),
            "aws_dimension_value": whole(DIMENSION_VALUE),
        }
