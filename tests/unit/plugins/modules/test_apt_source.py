# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module with the machine's own apt, on hosts with earlier sources. Each test checks how apt reads the result.

The repositories below apt/ are signed by vendor.asc and laid out like Docker's and like NVIDIA's.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._apt.apply import SourceFiles
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._apt.keys import (
    armored,
    binary,
    fingerprints,
    packets,
    parts,
)
from ansible_collections.digital_twin.robotics_lab.plugins.modules import apt_source

from tests.support.apt import AptRoot, apt_root

HERE = Path(__file__).with_name("apt")
VENDOR, STRANGER = ((HERE / f"{name}.asc").read_text("utf-8") for name in ("vendor", "stranger"))
# The same key as `gpg --dearmor` and `apt-key add` store it.
BINARY = packets(VENDOR.split("-----END")[0]).decode("utf-8", "surrogateescape")
FINGERPRINT = "CAB527E9B8B2D18F013517345BDF24B91101655E"
OURS = "sources.list.d/ours.sources"
KEY = "keyrings/ours.asc"

Run = Callable[..., dict[str, Any]]


class Server(ThreadingHTTPServer):
    """Serves the repositories and their keys, and records the requests."""

    asked: list[str]
    folder: Path

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(SimpleHTTPRequestHandler):
    """Answers like a server, and like a proxy for any host."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("http://"):
            self.path = "/" + self.path.split("/", 3)[3]
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the repositories."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    shutil.copytree(HERE / "flat", folder / "stable/ubuntu18.04")
    # A mirror, and a vendor with the same names of suites and components, such as VirtualBox's.
    shutil.copytree(HERE / "debian", folder / "mirror/debian")
    shutil.copytree(HERE / "debian", folder / "oracle/debian")
    signed = folder / "oracle/debian/dists/bookworm/InRelease"
    body = signed.read_text("utf-8").split("\n\n", 1)[1].split("-----BEGIN")[0]
    signed.with_name("Release").write_text("Origin: Oracle Corporation\n" + body, "utf-8")
    signed.unlink()
    (folder / "page").write_text("<!DOCTYPE html>\n<title>Log in to the guest network</title>\n")
    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as made:
        made.asked, made.folder = [], folder
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[AptRoot]:
    """Return an apt without sources that the module uses."""
    with apt_root() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path) -> Run:
    """Run the module for a repository like Docker's, and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        params: dict[str, object] = {
            "name": "ours",
            "uri": f"{server.url}/debian",
            "suites": ["bookworm"],
            "components": ["stable"],
            "signed_by": f"{server.url}/vendor.asc",
            "_ansible_remote_tmp": str(tmp_path),
            **given,
        }
        with patch_module_args(params), pytest.raises(SystemExit):
            apt_source.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def packages(root: AptRoot) -> list[str]:
    """Return the packages that apt gets from all its sources."""
    done = root.run("update", "--error-on=any")
    assert done.returncode == 0, done.stderr
    assert "configured multiple times" not in done.stderr
    done = root.run("indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
    files = [Path(line) for line in done.stdout.splitlines()]
    return sorted(
        line.split()[1] for file in files for line in file.read_text().splitlines() if line.startswith("Package:")
    )


FLAT: dict[str, object] = {"suites": ["/"], "components": []}


@pytest.mark.parametrize("form", ["url", "path", "text"])
def test_a_repository_is_added_once(run: Run, root: AptRoot, server: Server, form: str) -> None:
    signed_by = {
        "url": f"{server.url}/vendor.asc",
        "path": str(root.write("vendor.asc", VENDOR)),
        "text": VENDOR,
    }[form]
    before = root.files()
    check = run(signed_by=signed_by, _ansible_check_mode=True, _ansible_diff=True)
    assert check["changed"]
    assert root.files() == before
    result = run(signed_by=signed_by)
    assert (result["changed"], result["file"], result["used"]) == (True, str(root.folder / "etc/apt" / OURS), [])
    assert result["diff"]["after"] == check["diff"]["after"] == root.files()[OURS]
    assert (KEY in root.files()) == (form != "path")
    assert packages(root) == ["engine"]
    assert not run(signed_by=signed_by)["changed"]
    assert not run(signed_by=signed_by, _ansible_check_mode=True)["changed"]
    assert run(state="absent")["changed"]
    assert root.files() == before
    assert not run(state="absent")["changed"]


def test_the_architecture_is_inserted(run: Run, root: AptRoot, server: Server) -> None:
    flat = {**FLAT, "uri": f"{server.url}/flat/$(ARCH)"}
    assert run(**flat)["changed"]
    assert packages(root) == ["toolkit"]
    assert not run(**flat)["changed"]


# Layouts as vendors' guides, older guides, other tools and people write them. ETC is apt's folder, KEYS a folder of
# keys and URL the server.
LAYOUTS = {
    "docs.docker.com in 2019, by apt-key and add-apt-repository": {
        "sources.list": "deb [arch=amd64] URL/debian bookworm stable\n"
        "# deb-src [arch=amd64] URL/debian bookworm stable\n",
        "trusted.gpg": BINARY,
    },
    "docs.docker.com in 2021, by gpg --dearmor": {
        "sources.list.d/docker.list": "deb [arch=amd64 signed-by=KEYS/docker-archive-keyring.gpg] "
        "URL/debian   bookworm stable\n",
        "keys/docker-archive-keyring.gpg": BINARY,
    },
    "geerlingguy.docker, by deb822_repository": {
        "sources.list.d/docker.sources": "X-Repolib-Name: docker\nArchitectures: amd64\nComponents: stable\n"
        "Signed-By: KEYS/vendor.asc\nSuites: bookworm\nTypes: deb\nURIs: URL/debian\n",
    },
    "extrepo enable docker-ce": {
        "sources.list.d/extrepo_docker-ce.sources": "Suites: bookworm\nTypes: deb\nUris: URL/debian\n"
        "Components: stable\nArchitectures: amd64 arm64 armhf s390x ppc64el\nSigned-By: KEYS/vendor.asc\n",
    },
    "Puppet": {
        "sources.list.d/docker.list": "# This file is managed by Puppet. DO NOT EDIT.\n# docker\n"
        "deb  URL/debian bookworm stable\n",
        "trusted.gpg.d/docker.gpg": BINARY,
    },
    "apt modernize-sources": {
        "sources.list.d/docker.sources": "# Modernized from ETC/sources.list.d/docker.list\nTypes: deb\n"
        "URIs: URL/debian/\nSuites: bookworm\nComponents: stable\nSigned-By: \n",
        "sources.list.d/docker.list.bak": "deb URL/debian bookworm stable\n",
        "trusted.gpg.d/docker.gpg": BINARY,
    },
    "a mirror and the vendor in one stanza": {
        "sources.list.d/docker.sources": "Types: deb\nURIs: URL/mirror/debian URL/debian\nSuites: bookworm\n"
        "Components: test stable\nSigned-By: KEYS/vendor.asc\n",
    },
    "a fingerprint": {
        "sources.list.d/docker.list": f"deb [signed-by={FINGERPRINT}] URL/debian bookworm stable\n",
        "trusted.gpg.d/docker.gpg": BINARY,
    },
    "get.docker.com, and docs.docker.com in 2024": {
        "sources.list.d/docker.list": "deb [arch=amd64 signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n",
    },
    "docs.docker.com in 2025": {
        "sources.list.d/docker.sources": "Types: deb\nURIs: URL/debian\nSuites: bookworm\nComponents: stable\n"
        "Architectures: amd64\nSigned-By: KEYS/vendor.asc\n",
    },
    "apt-key and add-apt-repository": {
        "sources.list": "# deb URL/debian bookworm stable\ndeb [arch=amd64] URL/debian/ bookworm test stable\n"
        "# deb-src URL/debian bookworm stable\n",
        "trusted.gpg.d/vendor.asc": VENDOR,
    },
    "an embedded key": {
        "sources.list.d/docker.sources": "Enabled: yes\nTypes: deb\nURIs: URL/debian\nSuites: bookworm\n"
        "Components: stable\nSigned-By:\n" + "".join(f" {line or '.'}\n" for line in VENDOR.splitlines()),
    },
    "the same entry twice": {
        "sources.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm test\n",
        "sources.list.d/docker.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n"
        "deb-src [signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n",
    },
    "trusted without a key": {
        "sources.list.d/docker.list": "deb [trusted=yes] URL/debian bookworm stable # lab only\n",
    },
    "files that apt does not read contradict it": {
        "sources.list.d/docker.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n",
        "sources.list.d/docker.list.save": "deb [signed-by=KEYS/other.asc] URL/debian bookworm stable\n",
        "sources.list.d/docker.list.distUpgrade": "deb [signed-by=KEYS/other.asc] URL/debian bookworm stable\n",
    },
}


def plant(root: AptRoot, server: Server, files: dict[str, str]) -> dict[str, str]:
    """Write files below /etc/apt and return all files there."""
    for name, text in {"keys/vendor.asc": VENDOR, "keys/stranger.asc": STRANGER, **files}.items():
        root.write(
            name, text.replace("KEYS", "ETC/keys").replace("ETC", f"{root.folder}/etc/apt").replace("URL", server.url)
        )
    return root.files()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("downloaded", [False, True], ids=["never downloaded", "downloaded"])
def test_an_entry_of_the_host_is_used_as_it_is(
    run: Run, root: AptRoot, server: Server, layout: str, downloaded: bool
) -> None:
    before = plant(root, server, LAYOUTS[layout])
    if downloaded:
        root.run("update")
    result = run(signed_by=f"{server.url}/never-requested")
    assert (result["changed"], result["file"]) == (False, "")
    assert result["used"]
    assert root.files() == before
    assert root.run("update").returncode == 0


FLAT_LAYOUTS = {
    "NVIDIA's guide": {"sources.list.d/nv.list": "deb [signed-by=KEYS/vendor.asc] URL/flat/$(ARCH) /\n"},
    "the architecture as the suite": {"sources.list.d/nv.list": "deb [signed-by=KEYS/vendor.asc] URL/flat/ $(ARCH)/\n"},
    "deb822 with a dot as the suite": {
        "sources.list.d/nv.sources": "Types: deb\nURIs: URL/flat/amd64/\nSuites: ./\nSigned-By: KEYS/vendor.asc\n"
    },
    "apt-key and the architecture by hand": {
        "sources.list.d/a.list": "deb [arch=amd64] URL/flat/amd64 /\n",
        "trusted.gpg.d/vendor.asc": VENDOR,
    },
    "NVIDIA's guide, by gpg --dearmor, without experimental": {
        "sources.list.d/nvidia-container-toolkit.list": "deb [signed-by=KEYS/nv.gpg] URL/flat/$(ARCH) /\n"
        "#deb [signed-by=KEYS/nv.gpg] URL/experimental/deb/$(ARCH) /\n",
        "keys/nv.gpg": BINARY,
    },
    "NVIDIA's list without a key, by apt-key": {
        "sources.list.d/libnvidia-container.list": "deb URL/flat/$(ARCH) /\n",
        "trusted.gpg": BINARY,
    },
    "deb822_repository": {
        "sources.list.d/nvidia-container-toolkit.sources": "X-Repolib-Name: nvidia-container-toolkit\nSigned-By:\n"
        + "".join(f" {line or '.'}\n" for line in VENDOR.splitlines())
        + "Suites: /\nTypes: deb\nURIs: URL/flat/$(ARCH)\n",
    },
}


@pytest.mark.parametrize("files", FLAT_LAYOUTS.values(), ids=FLAT_LAYOUTS)
def test_a_flat_repository_of_the_host_is_used(run: Run, root: AptRoot, server: Server, files: dict[str, str]) -> None:
    before = plant(root, server, files)
    result = run(**FLAT, uri=f"{server.url}/flat/$(ARCH)")
    assert not result["changed"]
    assert root.files() == before
    assert packages(root) == ["toolkit"]


# What NVIDIA's older guides add: other places of the same packages.
OTHER_FLAT = {
    "nvidia-docker2's guide, by apt-key": {
        "sources.list.d/nvidia-docker.list": "deb URL/stable/ubuntu18.04/$(ARCH) /\n"
        "#deb URL/experimental/ubuntu18.04/$(ARCH) /\n",
        "trusted.gpg": BINARY,
    },
    "experimental alone": {
        "sources.list.d/nvidia-container-toolkit.list": "#deb [signed-by=KEYS/vendor.asc] URL/flat/$(ARCH) /\n"
        "deb [signed-by=KEYS/vendor.asc] URL/stable/ubuntu18.04/$(ARCH) /\n",
    },
    "a disabled stanza with a key that is gone": {
        "sources.list.d/nvidia-container-toolkit.sources": "Enabled: no\nTypes: deb\nURIs: URL/flat/$(ARCH)\n"
        "Suites: /\nSigned-By: KEYS/gone.gpg\n",
    },
}


@pytest.mark.parametrize("files", OTHER_FLAT.values(), ids=OTHER_FLAT)
def test_another_flat_repository_of_the_host_is_left_alone(
    run: Run, root: AptRoot, server: Server, files: dict[str, str]
) -> None:
    before = plant(root, server, files)
    assert run(**FLAT, uri=f"{server.url}/flat/$(ARCH)")["changed"]
    assert {name: text for name, text in root.files().items() if name not in (OURS, KEY)} == before
    assert set(packages(root)) == {"toolkit"}
    assert not run(**FLAT, uri=f"{server.url}/flat/$(ARCH)")["changed"]


# A distribution's archive, which has many mirrors, and both components.
ARCHIVE: dict[str, object] = {"components": ["stable", "test"], "mirrors": True}
ARCHIVE_LAYOUTS = {
    "Debian's image for clouds": {
        "mirrors/debian.list": "URL/mirror/debian\n",
        "sources.list.d/debian.sources": "Types: deb deb-src\nURIs: mirror+file://ETC/mirrors/debian.list\n"
        "Suites: bookworm\nComponents: main stable test\nSigned-By: KEYS/debian-archive-keyring.gpg\n",
        "keys/debian-archive-keyring.gpg": BINARY,
    },
    "Debian's installer, with the disc commented out": {
        "sources.list": "#deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_ - Official amd64 NETINST]/ bookworm stable\n\n"
        "deb URL/mirror/debian/ bookworm main stable test\ndeb-src URL/mirror/debian/ bookworm main\n",
        "trusted.gpg.d/debian-archive-bookworm-stable.asc": VENDOR,
    },
    "one file for each component": {
        "sources.list.d/non-free.list": "deb [signed-by=KEYS/vendor.asc] URL/mirror/debian bookworm test\n",
        "sources.list.d/contrib.sources": "Types: deb\nURIs: URL/debian\nSuites: bookworm\nComponents: stable\n"
        "Signed-By: KEYS/vendor.asc\n",
    },
}


@pytest.mark.parametrize("files", ARCHIVE_LAYOUTS.values(), ids=ARCHIVE_LAYOUTS)
@pytest.mark.parametrize("downloaded", [False, True], ids=["never downloaded", "downloaded"])
def test_any_mirror_of_an_archive_is_used(
    run: Run, root: AptRoot, server: Server, files: dict[str, str], downloaded: bool
) -> None:
    before = plant(root, server, files)
    if downloaded:
        root.run("update")
    result = run(**ARCHIVE, signed_by=f"{server.url}/never-requested")
    assert (result["changed"], result["file"]) == (False, "")
    assert result["used"]
    assert root.files() == before


# Sources of a host that only look like the archive, and the components that the module adds for each.
ARCHIVE_LACKS = {
    "a DVD": (
        {
            "sources.list": "deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_ - Official amd64 DVD Binary-1]/ "
            "bookworm stable test\n"
        },
        "stable test",
    ),
    "VirtualBox": (
        {"sources.list.d/virtualbox.list": "deb [arch=amd64 trusted=yes] URL/oracle/debian bookworm stable\n"},
        "stable test",
    ),
    "VirtualBox and the distribution": (
        {
            "sources.list.d/virtualbox.list": "deb [arch=amd64 trusted=yes] URL/oracle/debian bookworm stable\n",
            "sources.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm test\n",
        },
        "stable",
    ),
    "only sources": (
        {"sources.list": "deb-src [signed-by=KEYS/vendor.asc] URL/debian bookworm stable test\n"},
        "stable test",
    ),
    "backports": (
        {"sources.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm-backports stable test\n"},
        "stable test",
    ),
    "a disabled stanza": (
        {
            "sources.list.d/debian.sources": "Types: deb\nURIs: URL/debian\nSuites: bookworm\nComponents: test\n"
            "Signed-By: KEYS/vendor.asc\n\nEnabled: no\nTypes: deb\nURIs: URL/debian\nSuites: bookworm\n"
            "Components: stable\nSigned-By: KEYS/gone.asc\n"
        },
        "stable",
    ),
}


@pytest.mark.parametrize("name", ARCHIVE_LACKS)
@pytest.mark.parametrize("downloaded", [False, True], ids=["never downloaded", "downloaded"])
def test_another_origin_is_not_used(run: Run, root: AptRoot, server: Server, name: str, downloaded: bool) -> None:
    files, added = ARCHIVE_LACKS[name]
    before = plant(root, server, files)
    if downloaded:
        root.run("update")
    result = run(**ARCHIVE, origin="Debian")
    assert result["changed"]
    assert f"Components: {added}\n" in root.files()[OURS]
    assert {name: text for name, text in root.files().items() if name not in (OURS, KEY)} == before
    assert root.run("indextargets").returncode == 0
    assert not run(**ARCHIVE, origin="Debian")["changed"]


@pytest.mark.parametrize(
    "files",
    [
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm test\n"},
        {"sources.list.d/docker.list": "deb-src [signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n"},
        {"sources.list": "deb [arch=arm64] URL/debian bookworm test\n", "trusted.gpg.d/vendor.asc": VENDOR},
        {
            "sources.list.d/zz.sources": "Types: deb\nURIs: URL/debian\nSuites: bookworm\n"
            "Components: test\nSigned-By:\n" + "".join(f" {line or '.'}\n" for line in VENDOR.splitlines())
        },
    ],
)
def test_missing_components_are_added_with_the_key_of_the_entry(
    run: Run, root: AptRoot, server: Server, files: dict[str, str]
) -> None:
    before = plant(root, server, files)
    result = run(signed_by=f"{server.url}/never-requested")
    assert result["changed"]
    assert {name: text for name, text in root.files().items() if name != OURS} == before
    done = root.run("update")
    assert done.returncode == 0
    assert "configured multiple times" not in done.stderr
    assert "/debian/dists/bookworm/stable/binary-amd64/Packages" in root.run("update", "--print-uris").stdout
    assert not run(signed_by=f"{server.url}/never-requested")["changed"]


@pytest.mark.parametrize(
    "disabled",
    [
        {"sources.list.d/docker.list": "# deb [signed-by=KEYS/gone.asc] URL/debian bookworm stable # disabled\n"},
        {
            "sources.list.d/docker.sources": "Enabled: no\nTypes: deb\nURIs: URL/debian\nSuites: bookworm\n"
            "Components: stable\nSigned-By: KEYS/gone.asc\n"
        },
        {"sources.list.d/docker.list.disabled": "deb [signed-by=KEYS/gone.asc] URL/debian bookworm stable\n"},
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/vendor.asc] URL/debian jammy stable\n"},
        # get.docker.com with --mirror Aliyun.
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/vendor.asc] URL/mirror/debian bookworm stable\n"},
    ],
)
def test_what_apt_does_not_use_is_not_used(run: Run, root: AptRoot, server: Server, disabled: dict[str, str]) -> None:
    before = plant(root, server, disabled)
    assert run()["changed"]
    assert {name: text for name, text in root.files().items() if name not in (OURS, KEY)} == before
    assert "/debian/dists/bookworm/stable/binary-amd64/Packages" in root.run("update", "--print-uris").stdout


def test_a_mirror_of_the_same_origin_is_used(run: Run, root: AptRoot, server: Server) -> None:
    files, _added = ARCHIVE_LACKS["VirtualBox"]
    before = plant(root, server, files)
    given: dict[str, object] = {"mirrors": True, "origin": "Oracle Corporation"}
    assert not run(**given)["changed"]
    assert run(**given, components=["stable", "test"])["changed"]
    assert {name: text for name, text in root.files().items() if name not in (OURS, KEY)} == before
    assert "Components: test\n" in root.files()[OURS]


# Sources that cannot work, and the message.
BROKEN = {
    "two entries with different keys": (
        {
            "sources.list.d/docker.list": "\ndeb [signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n",
            "sources.list.d/docker.sources": "# a\n\nTypes: deb\nURIs: URL/debian\nSuites: bookworm\n"
            "Components: stable\nSigned-By: KEYS/stranger.asc\n",
        },
        "docker.sources:3 and /.*/docker.list:2 name the same repository with different values of Signed-By",
    ),
    "two entries of another repository with different keys": (
        {"sources.list": "deb [trusted=yes] URL/x sid main\ndeb URL/x sid contrib\n"},
        "sources.list:2 and /.*/sources.list:1 name the same repository with different values of Trusted",
    ),
    "cuda-keyring, and the list file of NVIDIA's earlier guide": (
        {
            "sources.list.d/cuda-debian12-x86_64.list": "deb [signed-by=KEYS/vendor.asc] URL/flat/amd64/ /\n",
            "sources.list.d/cuda.list": "deb URL/flat/amd64 /\n",
            "trusted.gpg.d/cuda.gpg": BINARY,
        },
        "cuda.list:1 and /.*/cuda-debian12-x86_64.list:1 name the same repository with different values of Signed-By",
    ),
    "a line that is cut off": (
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/vendor.asc] URL/debian bookworm\n"},
        "Malformed entry 1 in list file /.*/docker.list [(]Component[)]. Nothing was changed",
    ),
    "docs.docker.com, copied without the shell's help": (
        {
            "sources.list.d/docker.list": "deb [arch=$(dpkg --print-architecture) signed-by=KEYS/vendor.asc] "
            "URL/debian $(lsb_release -cs) stable\n"
        },
        "Malformed entry 1 in list file /.*/docker.list .*Nothing was changed. Correct that entry",
    ),
    "a key file that is gone": (
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/gone.gpg] URL/debian bookworm stable\n"},
        "docker.list:1 has the repository .*, but its key /.*/gone.gpg does not exist. Nothing was changed",
    ),
    "a key file that is a page": (
        {
            "sources.list.d/docker.list": "deb [signed-by=KEYS/page.asc] URL/debian bookworm stable\n",
            "keys/page.asc": "<html>",
        },
        "page.asc is not an OpenPGP public key: it begins with '<html>'",
    ),
    "the key of a stranger": (
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/stranger.asc] URL/debian bookworm stable\n"},
        "docker.list:1 has the repository .*, but apt cannot use it: .*(NO_PUBKEY|Missing key).*Correct or remove",
    ),
    "no key at all": (
        {"sources.list.d/docker.list": "deb URL/debian bookworm stable\n"},
        "docker.list:1 has the repository .*, but apt cannot use it: ",
    ),
    "a stranger's key where only a component is missing": (
        {"sources.list.d/docker.list": "deb [signed-by=KEYS/stranger.asc] URL/debian bookworm test\n"},
        "apt cannot use the repository: .*Correct or remove /.*/docker.list:1, then run again",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_host_that_is_broken_is_refused_and_left_alone(run: Run, root: AptRoot, server: Server, name: str) -> None:
    files, message = BROKEN[name]
    before = plant(root, server, files)
    refusal = run()
    assert refusal["failed"]
    assert_matches(refusal["msg"], message)
    assert root.files() == before


def assert_matches(text: str, pattern: str) -> None:
    """Check that a pattern is in a text, in one line."""
    assert re.search(pattern, text), text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"signed_by": "URL/gone.asc"}, "The key .*/gone.asc could not be downloaded: .*404"),
        ({"signed_by": "http://127.0.0.1:9/key"}, "The key http://127.0.0.1:9/key could not be downloaded: "),
        ({"signed_by": "URL/page"}, "What .*/page returned is not an OpenPGP public key: it begins with '<!DOCTYPE"),
        ({"signed_by": "URL/stranger.asc"}, "apt cannot use the repository: .*(NO_PUBKEY|Missing key)"),
        ({"signed_by": "/no/such/key.asc"}, "signed_by is /no/such/key.asc, which does not exist. Nothing was changed"),
        ({"signed_by": "vendor.asc"}, "signed_by is 'vendor.asc'. Set it to a URL, an absolute path or an armored key"),
        ({"signed_by": ""}, "signed_by is empty"),
        ({"uri": "http://127.0.0.1:9/debian"}, "apt cannot use the repository: .*127.0.0.1:9"),
        ({"uri": "URL/nowhere"}, "apt cannot use the repository: .*does not have a Release file"),
        ({"suites": ["sid"]}, "apt cannot use the repository: .*does not have a Release file"),
        ({"components": ["edge"]}, "apt cannot use the repository: .*doesn't have the component 'edge'"),
        ({"components": []}, "suites has 'bookworm' and components has .*. Set components, or end the suite"),
        ({"suites": ["/"]}, "suites has '/' and components has .'stable'.. Remove the components"),
        ({"uri": "download.docker.com"}, "uri is 'download.docker.com'. Set it to a URI such as"),
        ({"name": "our docker"}, "name is 'our docker'. Use letters"),
    ],
)
def test_what_cannot_work_leaves_apt_as_it_was(
    run: Run, root: AptRoot, server: Server, given: dict[str, Any], message: str
) -> None:
    given = {
        name: value.replace("URL", server.url) if isinstance(value, str) else value for name, value in given.items()
    }
    before = root.files()
    assert_matches(run(**given)["msg"], message)
    assert root.files() == before
    run(signed_by=VENDOR)
    before = root.files()
    refusal = run(**given)
    if "could not be downloaded" in message:
        assert not refusal["changed"], "the key of the run before serves on"
    else:
        assert_matches(refusal["msg"], message)
    assert root.files() == before
    assert root.run("indextargets").returncode == 0


def test_a_new_key_replaces_the_old_one(run: Run, root: AptRoot) -> None:
    run()
    root.write(KEY, STRANGER)
    assert run()["changed"]
    assert packages(root) == ["engine"]


# Of vendor.asc and stranger.asc, as `gpg --show-keys` prints them.
VENDOR_PRINT, STRANGER_PRINT = FINGERPRINT, "1FEEAF6913EB55D0BE1326C8EF0F35F9168283D3"
VENDOR_BYTES, STRANGER_BYTES = (binary(text.encode()) for text in (VENDOR, STRANGER))


@pytest.mark.parametrize("form", ["url", "path", "text"])
@pytest.mark.parametrize(
    "written", [VENDOR_PRINT, " ".join(re.findall("....", VENDOR_PRINT)), "0x" + FINGERPRINT.lower()]
)
def test_an_expected_key_is_accepted(run: Run, root: AptRoot, server: Server, form: str, written: str) -> None:
    signed_by = {"url": f"{server.url}/vendor.asc", "path": str(root.write("vendor.asc", VENDOR)), "text": VENDOR}[form]
    given: dict[str, object] = {"signed_by": signed_by, "fingerprints": [STRANGER_PRINT, written]}
    result = run(**given)
    assert (result["changed"], result["unexpected"], "warnings" in result) == (True, [], False)
    assert packages(root) == ["engine"]
    assert not run(**given)["changed"]


# A repository and its key exchanged together, and every way to put a second key into the file of the expected one.
UNEXPECTED = {
    "another key": VENDOR,
    "another key, binary": BINARY,
    "two blocks": STRANGER + VENDOR,
    "two blocks, the expected one last": VENDOR + STRANGER,
    "one block of two keys": armored(STRANGER_BYTES + VENDOR_BYTES),
    "two keys, binary": (STRANGER_BYTES + VENDOR_BYTES).decode("utf-8", "surrogateescape"),
    "the expected key as the comment of a binary one": (
        VENDOR_BYTES + b"\xcd\xff" + len(STRANGER).to_bytes(4, "big") + STRANGER.encode()
    ).decode("utf-8", "surrogateescape"),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (name, form)
        for name, text in UNEXPECTED.items()
        for form in ("url", "path", "text")
        if form != "text" or text.isascii()
    ],
)
def test_an_unexpected_key_is_refused(run: Run, root: AptRoot, server: Server, name: str, form: str) -> None:
    text = UNEXPECTED[name]
    served = Path(server.folder, "unexpected")
    served.write_text(text, "utf-8", "surrogateescape")
    path = str(root.write("unexpected.asc" if text.isascii() else "unexpected.gpg", text))
    given = {"signed_by": {"url": f"{server.url}/unexpected", "path": path, "text": text}[form]}
    before = root.files()
    assert_matches(
        run(**given, fingerprints=[STRANGER_PRINT])["msg"],
        f"has the key {VENDOR_PRINT}, but expected is {STRANGER_PRINT}. Nothing was changed. Correct signed_by, or ",
    )
    assert root.files() == before
    # Without the list, or with both in it, the same file is accepted.
    assert run(**given, _ansible_check_mode=True)["changed"]
    assert run(**given, fingerprints=[STRANGER_PRINT, VENDOR_PRINT])["changed"]


def test_a_foreign_subkey_in_the_expected_key_signs_nothing(run: Run, root: AptRoot) -> None:
    subkey = next(body for kind, body in parts(VENDOR_BYTES) if kind == 6)
    mixed = armored(STRANGER_BYTES + b"\xce\xff" + len(subkey).to_bytes(4, "big") + subkey)
    assert fingerprints(mixed.encode()) == [STRANGER_PRINT]
    before = root.files()
    assert_matches(run(signed_by=mixed, fingerprints=[STRANGER_PRINT])["msg"], "apt cannot use the repository: ")
    assert root.files() == before


@pytest.mark.parametrize("written", [FINGERPRINT[-8:], FINGERPRINT[-16:], FINGERPRINT[1:], "x" * 40, "", "1e40"])
def test_a_fingerprint_that_others_can_forge_is_refused(run: Run, root: AptRoot, written: str) -> None:
    before = root.files()
    refusal = run(fingerprints=[FINGERPRINT, written], _ansible_check_mode=True)
    assert_matches(
        refusal["msg"], f"fingerprints has '{written.upper()}'. Use a whole fingerprint of 40 or 64 hexadecimal"
    )
    assert root.files() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (VENDOR_BYTES + b"\xc8\x01\x00", "packet of type 8"),  # compressed, in which keys can be hidden
        (VENDOR_BYTES + b"\xce\xe1\x00", "damaged"),  # in pieces, whose end readers find differently
        (VENDOR_BYTES + b"\xbb\x00", "damaged"),  # of no given length
        (VENDOR_BYTES + b"\xce\x05\x00", "damaged"),
        (VENDOR_BYTES + b"\x00", "damaged"),
        (VENDOR_BYTES + b"\xc6\x02\x03\x00", "version 3"),
        (VENDOR_BYTES + b"\xc6\x00", "version 0"),
    ],
)
def test_a_key_that_readers_could_take_for_another_is_refused(
    run: Run, root: AptRoot, data: bytes, message: str
) -> None:
    assert_matches(run(signed_by=armored(data), fingerprints=[FINGERPRINT])["msg"], message)
    assert root.files() == {}


def test_a_key_of_version_6_has_its_fingerprint() -> None:
    # RFC 9580, A.3.
    body = bytes.fromhex("0663877fe31b00000020f94da7bb48d60a61e567706a6587d0331999bb9d891a08242ead84543df895a3")
    key = armored(b"\xc6" + bytes([len(body)]) + body)
    assert fingerprints(key.encode()) == ["CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"]


def test_the_key_of_an_earlier_run_is_checked_while_its_server_does_not_answer(run: Run, root: AptRoot) -> None:
    assert run(signed_by=VENDOR)["changed"]
    before = root.files()
    silent: dict[str, object] = {"signed_by": "http://127.0.0.1:9/key"}
    assert not run(**silent, fingerprints=[VENDOR_PRINT])["changed"]
    assert_matches(
        run(**silent, fingerprints=[STRANGER_PRINT])["msg"], f"{KEY} has the key {VENDOR_PRINT}, but expected"
    )
    assert root.files() == before


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("deb [signed-by=KEYS/vendor.asc] URL/debian bookworm stable\n", f"has the key {FINGERPRINT}, but expected is"),
        (f"deb [signed-by={FINGERPRINT}] URL/debian bookworm stable\n", f"has the key {FINGERPRINT}, but expected is"),
        ("deb URL/debian bookworm stable\n", "has no Signed-By, so that every key in apt's trusted.gpg.d is accepted"),
        ("deb [trusted=yes] URL/debian bookworm stable\n", "has trusted=yes, with which apt accepts unsigned packages"),
        ("deb [trusted=yes] URL/debian bookworm test\n", "has trusted=yes, with which apt accepts unsigned packages"),
        *(
            (
                f"deb [signed-by=KEYS/vendor.asc {option}=yes] URL/debian bookworm stable\n",
                f"has {option}=yes, with which",
            )
            for option in ("allow-insecure", "allow-weak", "allow-downgrade-to-insecure")
        ),
    ],
)
def test_an_unexpected_key_of_the_host_is_reported(
    run: Run, root: AptRoot, server: Server, entry: str, message: str
) -> None:
    before = plant(root, server, {"sources.list.d/docker.list": entry, "trusted.gpg.d/vendor.asc": VENDOR})
    for check in (True, False):
        result = run(fingerprints=[STRANGER_PRINT], _ansible_check_mode=check)
        assert_matches(" ".join(result["unexpected"]), f"docker.list:1 {message}")
        assert_matches(json.dumps(result["warnings"]), f"docker.list:1 {message}.*The entry is used as it is")
    assert {name: text for name, text in root.files().items() if name != OURS} == before
    # Without fingerprints there is nothing to compare.
    assert run()["unexpected"] == []
    if "=yes" not in entry and "signed-by" in entry:
        assert run(fingerprints=[VENDOR_PRINT])["unexpected"] == []


def test_our_file_is_removed_for_a_later_entry(run: Run, root: AptRoot, server: Server) -> None:
    run()
    before = plant(root, server, LAYOUTS["get.docker.com, and docs.docker.com in 2024"])
    assert root.run("update").returncode, "without a conflict this test proves nothing"
    assert run(_ansible_check_mode=True)["changed"]
    assert run()["changed"]
    assert root.files() == {name: text for name, text in before.items() if name not in (OURS, KEY)}
    assert packages(root) == ["engine"]


def test_a_file_of_that_name_is_not_overwritten(run: Run, root: AptRoot, server: Server) -> None:
    text = f"Types: deb\nURIs: {server.url}/debian\nSuites: bookworm\nComponents: COMPONENT\nTrusted: yes\n"
    before = plant(root, server, {OURS: text.replace("COMPONENT", "stable")})
    assert not run()["changed"]
    assert not run(state="absent")["changed"]
    assert root.files() == before
    before = plant(root, server, {OURS: text.replace("COMPONENT", "test")})
    assert_matches(run()["msg"], "ours.sources was not written by this module, and lacks the repository")
    assert root.files() == before


def test_the_key_comes_through_the_proxy_of_apt(run: Run, root: AptRoot, server: Server) -> None:
    root.configure(f'Acquire::http::Proxy "{server.url}";')
    assert run(uri="http://vendor.invalid/debian", signed_by="http://vendor.invalid/vendor.asc")["changed"]
    assert "http://vendor.invalid/vendor.asc" in server.asked
    assert packages(root) == ["engine"]


def test_other_folders_of_apt_are_read(run: Run, root: AptRoot, server: Server) -> None:
    root.configure('Dir::Etc::sourceparts "elsewhere"; Dir::Etc::sourcelist "all.list";')
    root.write("elsewhere/x", "")
    plant(root, server, {"all.list": "deb [trusted=yes] URL/debian bookworm stable\n"})
    assert run()["used"] == [f"{root.folder}/etc/apt/all.list:1"]
    assert run(components=["stable", "test"])["file"] == f"{root.folder}/etc/apt/elsewhere/ours.sources"
    assert packages(root) == ["engine", "next-engine"]


def test_what_the_host_has_does_not_change_when_the_disk_is_full(
    run: Run, root: AptRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    before = root.files()
    write = SourceFiles.write

    def full(files: SourceFiles, path: Path, text: str | None) -> None:
        if path == files.source and text != files.before[path]:
            raise OSError(28, "No space left on device")
        write(files, path, text)

    monkeypatch.setattr(SourceFiles, "write", full)
    assert_matches(run(components=["stable", "test"])["msg"], "No space left on device")
    assert root.files() == before
