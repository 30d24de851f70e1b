# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.insecure_urls import insecure_urls


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.com/x",
        "HTTPS://example.com",
        "file:///srv/simple",
        "file:/srv/debian",
        "/etc/apt/keyrings/x.asc",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nhttp://x/\n",
        "git@example.com:lab/app.git",
        "ssh://git@example.com/lab/app.git",
        "omniverse://nucleus/lab.usd",
        "http://127.0.0.1:8000/v1",
        "http://127.4.5.6",
        "http://localhost/x",
        "http://[::1]:80/",
        "http://nim:8000",
        "mirror.example.com:5000",
    ],
)
def test_what_is_encrypted_or_near_is_accepted(url: str) -> None:
    assert insecure_urls({"x_url": url}, "x_allow_http", ("nim",)) == []


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://example.com/x", "http://example.com"),
        ("HTTP://example.com:81", "HTTP://example.com:81"),
        (" http://example.com", "http://example.com"),
        ("git://example.com/x", "git://example.com"),
        ("ftp://example.com", "ftp://example.com"),
        ("mirror+http://example.com/list", "mirror+http://example.com"),
        ("git+http://example.com/x", "git+http://example.com"),
        ("ext::/bin/sh", "ext://..."),
        ("http:/example.com", "http://..."),
        # Names that only look near.
        ("http://127.0.0.1.example.com/", "http://127.0.0.1.example.com"),
        ("http://localhost.example.com/", "http://localhost.example.com"),
        ("http://nim.example.com/", "http://nim.example.com"),
        ("http://nim2:8000", "http://nim2:8000"),
        ("http://0.0.0.0/", "http://0.0.0.0"),
        ("http://2130706433/", "http://2130706433"),
        ("http://169.254.169.254/", "http://169.254.169.254"),
        # Where programs disagree about the host; the login is not printed.
        ("http://127.0.0.1@example.com/", "http://..."),
        ("http://nim:secret@example.com/", "http://..."),
        ("http://127.0.0.1\\@example.com/", "http://..."),
        ("http://nim:8000@example.com/", "http://..."),
        ("http://[::ffff:8.8.8.8]/", "http://[::ffff:8.8.8.8]"),
    ],
)
def test_what_is_not_encrypted_is_found(url: str, place: str) -> None:
    assert insecure_urls({"x_url": ["https://a", url]}, "x_allow_http", ("nim",)) == [
        f"x_url is at {place}, which is not encrypted. Use https://, or set x_allow_http=true."
    ]
