# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How files of apt's sources are read, compared with the machine's own apt."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._apt.keys import AptKeyError, armored
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._apt.plan import plan, render
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._apt.request import WantedRepository
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._apt.sources import (
    conflicts,
    read_sources,
    repository_of,
)

from tests.support.apt import AptRoot, apt_root

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("sources.yml").read_text("utf-8"))
KEYS = Path(__file__).parents[2] / "modules/apt"
FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
DOCKER = "https://download.docker.com/linux/debian"


@pytest.fixture
def root() -> Iterator[AptRoot]:
    """Return an apt without sources."""
    with apt_root() as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_sources_are_read_as_apt_reads_them(root: AptRoot, case: dict[str, Any]) -> None:
    for name, text in case.items():
        if name not in ("name", "entries"):
            root.write(f"sources.list.d/{name}", text)
    entries = read_sources(str(root.main), str(root.parts), "amd64")
    for entry, wanted in zip(entries, case["entries"], strict=True):
        assert (entry.line, entry.kind, entry.release, list(entry.components)) == (
            wanted["at"],
            wanted["kind"],
            wanted["release"],
            wanted["components"],
        )
        assert entry.options == wanted.get("options", entry.options)
    assert {entry.release for entry in entries} == root.releases()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((DOCKER, "bookworm"), ("http://download.docker.com/linux/debian/", "bookworm"), True),
        ((DOCKER, "bookworm"), ("https://user:word@Download.Docker.com:443/linux//debian", "bookworm"), True),
        ((DOCKER, "bookworm"), (DOCKER, "trixie"), False),
        ((DOCKER, "bookworm"), ("https://download.docker.com/linux/ubuntu", "bookworm"), False),
        (("https://nvidia.io/stable/deb/amd64", "/"), ("https://nvidia.io/stable/deb/", "amd64/"), True),
        (("https://nvidia.io/stable/deb/amd64", "/"), ("https://nvidia.io/stable/deb/amd64/", "./"), True),
        (("https://nvidia.io/stable/deb/amd64", "/"), ("https://nvidia.io/stable/deb/arm64", "/"), False),
        ((DOCKER, "bookworm"), ("http://HTTPS///download.docker.com/linux/debian", "bookworm"), True),
        (("file:/srv/debian", "sid"), ("file:///srv/debian", "sid"), True),
    ],
)  # fmt: skip
def test_one_repository_has_many_spellings(first: tuple[str, str], second: tuple[str, str], same: bool) -> None:
    assert (repository_of(*first) == repository_of(*second)) is same


@pytest.mark.parametrize(
    ("lines", "option"),
    [
        (["[signed-by=/a.gpg]", "[signed-by=/b.gpg]"], "signed-by"),
        (["[signed-by=/a.gpg]", ""], "signed-by"),
        (["", "[signed-by=/a.gpg]"], ""),
        (["[signed-by=/a.gpg]", "[signed-by=/a.gpg arch=amd64]"], ""),
        ([f"[signed-by={FINGERPRINT}]", f"[signed-by={FINGERPRINT.lower()}]"], ""),
        (["[trusted=yes]", ""], "trusted"),
        (["", "[trusted=yes]"], "trusted"),
        (["[trusted=yes]", "[trusted=true]"], ""),
        (["[check-valid-until=no]", ""], "check-valid-until"),
        (["[valid-until-max=9]", "[valid-until-max=8]"], "valid-until-max"),
        (["[allow-insecure=yes]", ""], "allow-insecure"),
    ],
)  # fmt: skip
def test_conflicts_are_those_of_apt(root: AptRoot, lines: list[str], option: str) -> None:
    for number, options in enumerate(lines):
        scheme = ("http", "https")[number]
        root.write(
            f"sources.list.d/{number}.list", f"deb {options} {scheme}://download.docker.com/linux/debian sid stable\n"
        )
    found = conflicts(read_sources(str(root.main), str(root.parts), "amd64"))
    assert [conflict.option for conflict in found] == ([option] if option else [])
    assert bool(found) == bool(root.run("indextargets").returncode)


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("deb [arch=amd64] URI bookworm stable", None),
        ("deb URI bookworm test stable", None),
        ("deb [arch=arm64 signed-by=/k.asc] URI bookworm stable", ("stable",)),
        ("deb [arch-=amd64 signed-by=/k.asc] URI bookworm stable", ("stable",)),
        ("deb-src [signed-by=/k.asc] URI bookworm stable", ("stable",)),
        ("deb [signed-by=/k.asc trusted=yes] URI bookworm test", ("stable",)),
        ("deb [check-valid-until=no] URI bookworm edge", ("stable",)),
    ],
)
def test_what_is_added_does_not_contradict_what_is_there(
    root: AptRoot, line: str, lacks: tuple[str, ...] | None
) -> None:
    root.write("sources.list", line.replace("URI", DOCKER) + "\n")
    entries = read_sources(str(root.main), str(root.parts), "amd64")
    planned = plan(entries, WantedRepository(DOCKER, ("bookworm",), ("stable",)), "amd64")
    assert [stanza.components for stanza in planned.stanzas] == ([lacks] if lacks else [])
    if lacks:
        root.write("sources.list.d/ours.sources", render(planned.stanzas, DOCKER, "amd64", "/our/key.asc"))
        entries = read_sources(str(root.main), str(root.parts), "amd64")
        assert not plan(entries, WantedRepository(DOCKER, ("bookworm",), ("stable",)), "amd64").stanzas
    done = root.run("update", "--print-uris")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{DOCKER}/dists/bookworm/stable/binary-amd64/Packages") == 1


def test_a_distribution_has_many_mirrors() -> None:
    wanted = ("contrib", "non-free")

    def lacking(line: str, mirrors: bool) -> list[tuple[str, ...]]:
        with apt_root() as root:
            root.write("sources.list", line)
            entries = read_sources(str(root.main), "", "amd64")
            planned = plan(
                entries, WantedRepository("http://deb.debian.org/debian", ("sid",), wanted, mirrors), "amd64"
            )
            return [stanza.components for stanza in planned.stanzas]

    assert lacking("deb http://ftp.de.debian.org/debian sid main non-free", mirrors=True) == [("contrib",)]
    assert lacking("deb http://ftp.de.debian.org/debian sid main non-free contrib", mirrors=True) == []
    assert lacking("deb http://ftp.de.debian.org/debian sid main non-free contrib", mirrors=False) == [wanted]
    assert lacking("deb http://ftp.de.debian.org/debian stable non-free contrib", mirrors=True) == [wanted]
    assert lacking("deb http://ftp.de.debian.org/debian sid non-free-firmware", mirrors=True) == [wanted]


def test_a_key_is_a_key() -> None:
    text = (KEYS / "vendor.asc").read_text("utf-8")
    assert armored(text.encode()) == text
    binary = base64.b64decode("".join(text.splitlines()[2:-2]))
    assert armored(binary) == text
    assert armored(b"Our key:\r\n" + text.replace("\n", "\r\n").encode()) == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<!DOCTYPE html>\n<html>", "is not an OpenPGP public key: it begins with '<!DOCTYPE html>'"),
        (b"", "is empty"),
        (b"\0\0\0\x20\1\1\0\2KBXf\0\0", "is a keybox of GnuPG"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME", "its last lines are missing"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----", "is a damaged OpenPGP key"),
        (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\niHUE\n-----END PGP PUBLIC KEY BLOCK-----",
            "is not an OpenPGP public key",
        ),
    ],
)
def test_what_is_not_a_key_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(AptKeyError, match=why.replace("(", "[(]")):
        armored(data)
