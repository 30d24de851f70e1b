# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The no_proxy of containers, from the config.json of the Docker client."""

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.docker_no_proxy import FilterModule

no_proxy = FilterModule().filters()["docker_no_proxy"]


LOCAL = "unix:///var/run/docker.sock"
OTHER = "tcp://build.lab:2376"


@pytest.mark.parametrize(
    ("proxies", "names"),
    [
        # As Docker's guide writes it.
        (
            {"default": {"httpProxy": "http://p:3128", "httpsProxy": "https://p:3129", "noProxy": ".lab,127.0.0.0/8"}},
            [".lab", "127.0.0.0/8"],
        ),
        ({"default": {"noProxy": " a.lab,\tb.lab ,,"}}, ["a.lab", "b.lab"]),
        ({OTHER: {"noProxy": "far.lab"}}, []),
        ({OTHER: {"noProxy": "far.lab"}, "default": {"noProxy": "near.lab"}}, ["near.lab"]),
        ({LOCAL: {"noProxy": "own.lab"}, "default": {"noProxy": "near.lab"}}, ["own.lab"]),
        ({LOCAL: {"httpProxy": "http://p:1"}, "default": {"noProxy": "near.lab"}}, []),
        # The client's own field names may be in any case.
        ({"default": {"noproxy": "a.lab"}}, ["a.lab"]),
        ({"default": {"noProxy": ["a.lab"]}}, []),
        ({"default": "a.lab"}, []),
        ([], []),
        (None, []),
    ],
)
def test_no_proxy_of_the_local_daemon(proxies: object, names: list[str]) -> None:
    config = {"auths": {"nvcr.io": {"auth": "eDp5"}}, "proxies": proxies, "plugins": {"x": {"noProxy": "b.lab"}}}
    assert no_proxy(json.dumps(config)) == no_proxy(json.dumps(config, indent="\t")) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ('["proxies"]', []),
        ('{"proxies": {"default": {"noProxy": "a.lab"}', []),
        ('{"HttpHeaders": {"X": "\\"noProxy\\": \\"a.lab\\""}}', []),
        ('{"Proxies": {"default": {"noProxy": "\\u0061.lab,10.0.0.0\\/8"}}}', ["a.lab", "10.0.0.0/8"]),
    ],
)
def test_texts_are_read_as_by_the_client(text: str, names: list[str]) -> None:
    assert no_proxy(text) == names


def test_input_must_be_text() -> None:
    with pytest.raises(AnsibleFilterError, match=r"the input is of type dict\. Pass the text") as refused:
        no_proxy({"auths": {"nvcr.io": {"auth": "eDp5"}}})
    assert "eDp5" not in str(refused.value)
