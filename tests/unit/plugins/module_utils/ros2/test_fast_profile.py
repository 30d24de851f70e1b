# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The output of Fast DDS's discovery server about a profile, as in Debian 12 and 13."""

from __future__ import annotations

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.fast_profile import profile_errors

TAKEN = "Invalid listening locator address specified:\n"
REFUSED = (
    "\x1b[37;1m2026-11-25 22:46:11.946 \x1b[31;1m[\x1b[37;1mXMLPARSER\x1b[31;1m Error] \x1b[37mInvalid transport type: "
    "'UDPv9'\x1b[34;1m -> Function \x1b[36mparseXMLTransportData\x1b[m\n"
    "\x1b[37;1m2026-11-25 22:46:11.946 \x1b[31;1m[\x1b[37;1mXMLPARSER\x1b[31;1m Error] \x1b[37mError parsing transports"
    "\x1b[34;1m -> Function \x1b[36mparseXMLTransportsProf\x1b[m\n"
)
UNREADABLE = "Cannot open XML file /none.xml. Please, check the path of this XML file.\n"
# Two threads write to one terminal.
MIXED = "\x1b[31;1m[\x1b[37;1mXMLPARSER\x1b[31;1mCannot open XML file /none.xml.\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (TAKEN, []),
        (REFUSED + UNREADABLE, ["Invalid transport type: 'UDPv9'", "Error parsing transports"]),
        (REFUSED + TAKEN, ["Invalid transport type: 'UDPv9'", "Error parsing transports"]),
        (UNREADABLE, [UNREADABLE.strip()]),
        (MIXED + TAKEN, ["[XMLPARSERCannot open XML file /none.xml.", TAKEN.strip()]),
        (
            "error while loading shared libraries: libfastrtps.so\n",
            ["error while loading shared libraries: libfastrtps.so"],
        ),
        ("", ["fast-discovery-server printed nothing"]),
    ],
    ids=["taken", "refused", "refused in part", "unreadable", "mixed", "broken", "silent"],
)
def test_only_a_profile_without_errors_is_accepted(said: str, expected: list[str]) -> None:
    assert profile_errors(said) == expected
