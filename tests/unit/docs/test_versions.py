# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries are asked for newer versions, and it is reported where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from docs.versions import Answer, Entry, Fetch, UnansweredError, list_packages, list_tags, newest, read_entries, report
from tests.support.project import ROOT, load_yaml

TAGS = "https://nvcr.io/v2/nvidia/isaac-sim/tags/list?n=1000"
CHALLENGE = 'Bearer realm="https://nvcr.io/proxy_auth",scope="repository:nvidia/isaac-sim:pull"'
TOKEN = "https://nvcr.io/proxy_auth?scope=repository%3Anvidia%2Fisaac-sim%3Apull"
ISAAC_SIM = Entry("isaac_sim", "5.1.0", "6.2.0", "nvcr.io", "nvidia/isaac-sim", "", "")


def site(answers: Mapping[str, Answer]) -> Fetch:
    """Return a function that answers as a site does; a URL with a token is one of its own."""

    def ask(url: str, headers: Mapping[str, str]) -> Answer:
        key = f"{url} {headers['Authorization']}" if "Authorization" in headers else url
        if key not in answers:
            raise UnansweredError(f"{key} is not there")
        return answers[key]

    return ask


def tags(*names: str, link: str = "") -> Answer:
    """Return a registry's list of tags."""
    return Answer(200, {"link": link} if link else {}, json.dumps({"tags": names}).encode())


@pytest.mark.parametrize(
    ("version", "offered", "found"),
    [
        ("5.1.0", ["4.5.0", "5.1.0", "6.0.1", "6.2.0", "latest"], "6.2.0"),
        ("8.10.1-trixie", ["8.10.2", "8.10.2-trixie", "8.9.9-trixie", "8.11.0-alpine", "8.10-trixie"], "8.10.2-trixie"),
        ("1.9.0", ["1.10.0", "1.9.1"], "1.10.0"),
        ("2.0.9", ["2.0.9", "2.0.9.1", "3"], ""),
        ("2.0.9", ["2.1.5-pb7"], ""),
        ("trixie-slim", ["1.0"], ""),
    ],
)
def test_newest(version: str, offered: list[str], found: str) -> None:
    assert newest(version, offered) == found


def test_a_token_and_further_pages() -> None:
    ask = site(
        {
            TAGS: Answer(401, {"www-authenticate": CHALLENGE}, b""),
            TOKEN: Answer(200, {}, b'{"token": "t"}'),
            f"{TAGS} Bearer t": tags("5.1.0", link='</v2/nvidia/isaac-sim/tags/list?last=5.1.0&n=1000>; rel="next"'),
            "https://nvcr.io/v2/nvidia/isaac-sim/tags/list?last=5.1.0&n=1000 Bearer t": tags("6.2.0"),
        }
    )
    assert list_tags(ask, "nvcr.io", "nvidia/isaac-sim") == ["5.1.0", "6.2.0"]
    assert report(ISAAC_SIM, "2026-11-30", ask) == "asked: 6.2.0 is newer"


BY_HAND = "; 6.2.0 was found on 2026-11-30"


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ({}, f"NOT ASKED: {TAGS} is not there{BY_HAND}"),
        ({TAGS: Answer(503, {}, b"")}, f"NOT ASKED: nvcr.io answers with status 503{BY_HAND}"),
        ({TAGS: Answer(200, {}, b"<html>")}, f"NOT ASKED: the answer of nvcr.io is not JSON{BY_HAND}"),
        ({TAGS: Answer(401, {"www-authenticate": "Basic"}, b"")}, f"NOT ASKED: nvcr.io asks for a login{BY_HAND}"),
        (
            {TAGS: Answer(401, {"www-authenticate": CHALLENGE}, b""), TOKEN: Answer(403, {}, b"")},
            f"NOT ASKED: nvcr.io gives no token without a key (status 403){BY_HAND}",
        ),
        (
            {
                TAGS: Answer(401, {"www-authenticate": CHALLENGE}, b""),
                TOKEN: Answer(200, {}, b'{"token": "t"}'),
                f"{TAGS} Bearer t": Answer(403, {}, b""),
            },
            f"NOT ASKED: nvcr.io does not list the tags of nvidia/isaac-sim without a key{BY_HAND}",
        ),
        ({TAGS: tags("5.1.0")}, "asked: nothing is newer"),
        ({TAGS: tags("6.2.0")}, f"asked: 5.1.0 itself is not offered{BY_HAND}"),
    ],
)
def test_report(answers: dict[str, Answer], line: str) -> None:
    assert report(ISAAC_SIM, "2026-11-30", site(answers)) == line


def test_a_version_without_numbers_is_not_asked() -> None:
    entry = Entry("cognitive", "trixie-slim", "", "docker.io", "library/debian", "", "")
    assert report(entry, "2026-11-30", site({})) == "no number to compare; none was found on 2026-11-30"


def test_packages() -> None:
    index = (
        "Package: nvidia-container-toolkit-base\nVersion: 1.21.0-1\n\n"
        "Package: nvidia-container-toolkit\nArchitecture: amd64\nVersion: 1.18.2-1\n\n"
        "Package: nvidia-container-toolkit\nVersion: 1.20.0-1\n"
    )
    url = "https://nvidia.github.io/Packages"
    assert list_packages(site({url: Answer(200, {}, index.encode())}), url, "nvidia-container-toolkit") == [
        "1.18.2",
        "1.20.0",
    ]
    with pytest.raises(UnansweredError, match=r"^nvidia[.]github[.]io answers with status 404$"):
        list_packages(site({url: Answer(404, {}, b"")}), url, "nvidia-container-toolkit")


def test_every_entry_can_be_asked() -> None:
    for entry in read_entries(load_yaml(ROOT / "compose" / "versions.yml")):
        assert (entry.registry and entry.image) or (entry.index and entry.package)
        assert entry.found != entry.version
        assert not entry.found or entry.found == newest(entry.version, [entry.found]) or not entry.version[0].isdigit()
