# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts the roles support."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.unsupported_host import RELEASES, unsupported_host

from tests.support.project import ROOT, parse_yaml, role_names

DEBIAN = {
    "distribution": "Debian",
    "distribution_version": "13.2",
    "distribution_release": "trixie",
    "service_mgr": "systemd",
}
SUPPORTS = "Role docker supports Debian 12 and 13, Ubuntu 22.04 and 24.04."


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        ({}, []),
        ({"distribution": "Ubuntu", "distribution_release": "noble"}, []),
        (
            {"distribution": "Debian", "distribution_version": "11", "distribution_release": "bullseye"},
            [f"This host runs Debian 11. {SUPPORTS}"],
        ),
        ({"service_mgr": "runit"}, ["The first process of this host is runit. Role docker needs systemd."]),
        (
            {"distribution": "Fedora", "distribution_version": "43", "distribution_release": "", "service_mgr": "sh"},
            [
                f"This host runs Fedora 43. {SUPPORTS}",
                "The first process of this host is sh. Role docker needs systemd.",
            ],
        ),
    ],
)
def test_reasons(facts: dict[str, Any], reasons: list[str]) -> None:
    assert unsupported_host({**DEBIAN, **facts}, "docker") == reasons


def test_a_role_may_do_without_systemd() -> None:
    assert unsupported_host({**DEBIAN, "service_mgr": "sh"}, "nvidia_driver", systemd=False) == []


def test_facts_that_are_missing_are_reported() -> None:
    assert unsupported_host({}, "docker") == [
        f"This host runs an unknown distribution. {SUPPORTS}",
        "The first process of this host is unknown. Role docker needs systemd.",
    ]


def test_galaxy_lists_the_same_releases() -> None:
    for role in role_names():
        meta = parse_yaml((ROOT / "roles" / role / "meta/main.yml").read_text("utf-8"))["galaxy_info"]
        listed = [version for platform in meta.get("platforms", []) for version in platform["versions"]]
        assert listed in (list(RELEASES), ["all", "all"]), role
