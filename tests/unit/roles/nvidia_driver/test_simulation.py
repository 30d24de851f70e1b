# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role nvidia_driver asks the real apt, with an archive of made packages, and dpkg then installs what was chosen.

The packages depend on one another as Ubuntu's do: the libraries on the virtual package
nvidia-kernel-common-580-server-VERSION, the prebuilt modules on nvidia-kernel-common-580-server between VERSION and
VERSION-1.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.nvidia_driver_choice import nvidia_driver_choice
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._nvidia_driver.simulation import parse_results

from tests.support.apt import AptRoot, apt_root
from tests.support.project import ROOT, load_yaml

SCRIPT = (ROOT / "roles/nvidia_driver/files/simulate.sh").read_text(encoding="utf-8")
NAMES = load_yaml(PurePosixPath("roles/nvidia_driver/vars/main.yml"))["__nvidia_driver_names"]
PIN = "/etc/apt/preferences.d/digital-twin-nvidia-driver"
OLD, NEW = "580.126.20", "580.173.02"
RUNNING = "6.17.0-1009-aws"
WANTED: dict[str, Any] = {"distribution": "Ubuntu", "kernel": RUNNING, "capabilities": ["compute"], "gpus": [0x2237]}


def full(version: str) -> str:
    """Return a driver's version with the packaging's part."""
    return f"{version}-0ubuntu0.24.04.1"


def package(name: str, version: str, depends: str = "", **fields: str) -> dict[str, str]:
    """Return the fields of a package."""
    return {"Package": name, "Version": version, **({"Depends": depends} if depends else {}), **fields}


def driver(version: str) -> list[dict[str, str]]:
    """Return the packages of one version of a driver, with those for DKMS."""
    number, source = full(version), {"Source": "nvidia-graphics-drivers-580-server"}
    within = f"nvidia-kernel-common-580-server (>= {version}), nvidia-kernel-common-580-server (<= {version}-1)"
    library = f"libnvidia-compute-580-server (= {number})"
    virtual = f"nvidia-kernel-common-580-server-{version}"
    return [
        package("nvidia-kernel-common-580-server", number, Provides=virtual, **source),
        package("libnvidia-compute-580-server", number, virtual, **source),
        package("nvidia-utils-580-server", number, library, **source),
        *(
            package(f"nvidia-headless-no-dkms-580-server{kind}", number, f"{library}, {within}", **source)
            for kind in KINDS
        ),
        *(package(f"nvidia-dkms-580-server{kind}", number, f"dkms, {within}", **source) for kind in KINDS),
    ]


KINDS = ("", "-open")
DKMS = [package("dkms", "3.0.11"), package(f"linux-headers-{RUNNING}", "6.17.0-1009.9")]


def modules(kernel: str, version: str, number: str, kinds: tuple[str, ...] = KINDS) -> list[dict[str, str]]:
    """Return the prebuilt modules of a kernel for one version of a driver, and the kernel."""
    within = f"nvidia-kernel-common-580-server (<= {version}-1), nvidia-kernel-common-580-server (>= {version})"
    depends = f"linux-image-{kernel}, {within}"
    return [
        *(package(f"linux-modules-nvidia-580-server{kind}-{kernel}", number, depends) for kind in kinds),
        package(f"linux-image-{kernel}", number.partition("+")[0]),
    ]


def flavour(kernel: str, number: str, name: str = "aws") -> list[dict[str, str]]:
    """Return the metapackages of a flavour."""
    return [
        package(
            f"linux-modules-nvidia-580-server{kind}-{name}",
            number,
            f"linux-modules-nvidia-580-server{kind}-{kernel} (= {number})",
        )
        for kind in KINDS
    ]


class Host:
    """A host with an archive of made packages."""

    def __init__(self, root: AptRoot) -> None:
        """Create a host without packages."""
        self.root = root
        self.state = root.folder / "state"
        for name in ("info", "updates", "parts", "triggers"):
            (self.state / name).mkdir(parents=True)
        (self.state / "status").touch()
        (root.folder / "log").mkdir()
        root.configure(
            f'Dir::State::status "{self.state}/status"; Acquire::Languages "none"; APT::Get::AllowUnauthenticated 1;'
        )

    @property
    def pin(self) -> Path:
        """The pin file of the role."""
        return self.root.folder / PIN.lstrip("/")

    def offer(self, *packages: dict[str, str]) -> None:
        """Build packages, and publish them."""
        archive = self.root.folder / "archive"
        archive.mkdir(exist_ok=True)
        rows = []
        for number, fields in enumerate(packages):
            tree = archive / f"tree-{number}"
            (tree / "DEBIAN").mkdir(parents=True)
            text = "".join(f"{key}: {value}\n" for key, value in fields.items())
            text += "Architecture: amd64\nMaintainer: Nobody <nobody@example.com>\nDescription: made\n"
            (tree / "DEBIAN/control").write_text(text, encoding="utf-8")
            file = archive / f"{number}.deb"
            build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(file)]
            subprocess.run(build, check=True, capture_output=True)
            checksum = sha256(file.read_bytes()).hexdigest()
            rows.append(f"{text}Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {checksum}\n")
        (archive / "Packages").write_text("\n".join(rows), encoding="utf-8")
        self.root.main.write_text(f"deb [trusted=yes] file:{archive} ./\n", encoding="utf-8")
        done = self.root.run("update")
        assert done.returncode == 0, done.stderr

    def cache(self, *arguments: str) -> str:
        """Return the output of apt-cache."""
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **self.root.environment}
        done = subprocess.run(["apt-cache", *arguments], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def installed(self) -> dict[str, str]:
        """Return version by name of the installed packages."""
        rows = [block.splitlines() for block in (self.state / "status").read_text(encoding="utf-8").split("\n\n")]
        fields = [dict(line.split(": ", 1) for line in lines if ": " in line) for lines in rows if lines]
        return {row["Package"]: row["Version"] for row in fields if row["Status"].endswith(" ok installed")}

    def add(self, *packages: dict[str, str], selection: str = "install") -> None:
        """Record packages as installed."""
        with (self.state / "status").open("a", encoding="utf-8") as file:
            for fields in packages:
                text = {"Package": fields["Package"], "Status": f"{selection} ok installed", **fields}
                rows = "".join(f"{key}: {value}\n" for key, value in text.items())
                file.write(f"{rows}Architecture: amd64\nMaintainer: x\nDescription: made\n\n")

    def choose(self, released: tuple[str, ...] = (), **wanted: Any) -> dict[str, Any]:
        """Return the choice, as the role makes it."""
        search = self.cache("search", "--names-only", NAMES)
        madison = self.cache("madison", *(line.split(" - ")[0] for line in search.splitlines()))
        request = {**WANTED, **wanted}
        proposal = nvidia_driver_choice(request, search, madison, self.installed())
        if proposal["refusal"] or not proposal["sets"]:
            return proposal
        before = self.tree()
        done = subprocess.run(
            ["sh", "-c", SCRIPT, "simulate", str(self.pin), *released],
            env={"PATH": os.environ["PATH"], **self.root.environment},
            input="\n".join(proposal["sets"]) + "\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert not done.stderr
        assert self.tree() == before, "the simulation has changed the host"
        return nvidia_driver_choice(request, search, madison, self.installed(), done.stdout)

    def tree(self) -> dict[str, tuple[int, int]]:
        """Return size and time of every file."""
        files = (path for path in self.root.folder.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}

    def install(self, choice: dict[str, Any]) -> None:
        """Install what was chosen, with the role's pin and options."""
        sources = " ".join(f"src:{name}" for name in choice["sources"])
        text = f"Package: {sources}\nPin: version {choice['version']}-*\nPin-Priority: 1001\n"
        self.pin.write_text(text, encoding="utf-8")
        names = ["=".join(filter(None, item)) for item in choice["packages"].items()]
        options = [f"--admindir={self.state}", f"--instdir={self.root.folder}/installed", "--force-not-root"]
        options += ["--force-script-chrootless", "--force-bad-path", "--log=/dev/null"]
        words = [word for option in options for word in ("-o", f"Dpkg::Options::={option}")]
        permitted = ["--allow-downgrades", "--allow-change-held-packages", "-o", "APT::Install-Recommends=no"]
        (self.root.folder / "installed").mkdir(exist_ok=True)
        done = self.root.run("install", "--yes", *permitted, *words, *names)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def host() -> Iterator[Host]:
    with apt_root() as root:
        yield Host(root)


CURRENT = modules("6.17.0-1021-aws", NEW, "6.17.0-1021.21") + flavour("6.17.0-1021-aws", "6.17.0-1021.21")
# Built before the newer driver came, and still listed.
STALE = modules(RUNNING, OLD, "6.17.0-1009.9")
UNMET = (
    f"linux-modules-nvidia-580-server-open-{RUNNING} : Depends: nvidia-kernel-common-580-server (<= {OLD}-1) but "
    f"{full(NEW)} is to be installed"
)


def test_the_prebuilt_module_of_the_running_kernel(host: Host) -> None:
    host.offer(*driver(NEW), *CURRENT, *modules(RUNNING, NEW, "6.17.0-1009.9+1"), *DKMS)
    choice = host.choose()
    assert (choice["module_from"], choice["module"], choice["version"]) == ("prebuilt", "open", NEW)
    assert choice["rejected"] == []
    assert choice["notices"] == []
    assert choice["packages"] == {
        f"linux-modules-nvidia-580-server-open-{RUNNING}": "6.17.0-1009.9+1",
        "nvidia-headless-no-dkms-580-server-open": full(NEW),
        "nvidia-utils-580-server": full(NEW),
    }
    host.install(choice)
    assert choice["packages"].items() <= host.installed().items()
    assert host.choose()["satisfied"] is True


def test_a_module_of_another_version_gives_way_to_that_of_the_flavour(host: Host) -> None:
    """Its name is offered, and apt alone knows that it does not fit."""
    host.offer(*driver(NEW), *CURRENT, *STALE, *DKMS)
    choice = host.choose()
    assert (choice["module_from"], choice["version"]) == ("flavour", NEW)
    assert [rejection["module_from"] for rejection in choice["rejected"]] == ["prebuilt"]
    assert UNMET in choice["rejected"][0]["reason"]
    assert UNMET in choice["notices"][0]
    assert "may bring another kernel than 6.17.0-1009-aws, which a reboot starts" in choice["notices"][1]
    host.install(choice)
    assert "linux-image-6.17.0-1021-aws" in host.installed()
    # Until the reboot the choice stays, and nothing is installed again.
    again = host.choose()
    assert (again["module_from"], again["satisfied"]) == ("flavour", True)
    # After it, the module is that of the running kernel.
    rebooted = host.choose(kernel="6.17.0-1021-aws")
    assert (rebooted["module_from"], rebooted["satisfied"], rebooted["sets"]) == ("prebuilt", True, [])


def test_the_newest_version_for_which_the_module_of_the_running_kernel_fits(host: Host) -> None:
    host.offer(*driver(OLD), *driver(NEW), *CURRENT, *STALE, *DKMS)
    choice = host.choose()
    assert (choice["module_from"], choice["version"]) == ("prebuilt", OLD)
    assert choice["packages"]["nvidia-utils-580-server"] == full(OLD)
    assert [rejection["version"] for rejection in choice["rejected"]] == [NEW]
    host.install(choice)
    assert host.installed()["nvidia-kernel-common-580-server"] == full(OLD)
    # A minimum that only the newer one has is stronger than the running kernel.
    assert host.choose(minimum="580.150")["module_from"] == "flavour"


def test_an_older_build_of_the_module_for_an_older_driver(host: Host) -> None:
    """Of one package, apt prefers the newest version, which is for the driver that the user does not want."""
    host.offer(*driver(OLD), *driver(NEW), *STALE, *modules(RUNNING, NEW, "6.17.0-1009.9+1"))
    choice = host.choose(version=OLD)
    assert choice["packages"][f"linux-modules-nvidia-580-server-open-{RUNNING}"] == "6.17.0-1009.9"
    host.install(choice)


def test_dkms_where_no_prebuilt_module_fits(host: Host) -> None:
    broken = package("linux-modules-nvidia-580-server-open-aws", "6.17.0-1021.21", "linux-image-6.17.0-1021-aws")
    host.offer(*driver(NEW), *STALE, broken, *DKMS)
    choice = host.choose()
    assert (choice["module_from"], choice["module"]) == ("dkms", "open")
    # Of both kinds of modules.
    assert [rejection["module_from"] for rejection in choice["rejected"]] == ["prebuilt", "flavour"] * 2
    assert UNMET in choice["rejected"][0]["reason"]
    assert "Depends: linux-image-6.17.0-1021-aws but it is not installable" in choice["rejected"][1]["reason"]
    host.install(choice)
    assert {"dkms", f"linux-headers-{RUNNING}", "nvidia-dkms-580-server-open"} <= host.installed().keys()


def test_a_kernel_older_than_the_running_one_is_no_way_out(host: Host) -> None:
    running = "6.20.0-1001-aws"
    headers = package(f"linux-headers-{running}", "6.20.0-1001.1")
    host.offer(*driver(NEW), *CURRENT, DKMS[0], headers)
    choice = host.choose(kernel=running)
    assert choice["module_from"] == "dkms"
    reason = f"its kernel 6.17.0-1021-aws is older than the running {running}, which the next boot starts again"
    assert choice["rejected"][1]["reason"] == reason


def test_a_newer_kernel_of_a_long_term_release(host: Host) -> None:
    older = modules("6.8.0-90-generic", NEW, "6.8.0-90.91") + flavour("6.8.0-90-generic", "6.8.0-90.91", "generic")
    newer = modules("6.17.0-9-generic", NEW, "6.17.0-9.9") + flavour(
        "6.17.0-9-generic", "6.17.0-9.9", "generic-hwe-24.04"
    )
    host.offer(*driver(NEW), *older, *newer)
    choice = host.choose(kernel="6.17.0-8-generic")
    assert choice["packages"].get("linux-modules-nvidia-580-server-open-generic-hwe-24.04") == "6.17.0-9.9"


def test_the_proprietary_module_where_no_open_one_fits(host: Host) -> None:
    packages = [*driver(NEW), *modules(RUNNING, NEW, "6.17.0-1009.9", ("",))]
    host.offer(*packages)
    choice = host.choose()
    assert (choice["module"], choice["module_from"]) == ("proprietary", "prebuilt")
    assert [rejection["module_from"] for rejection in choice["rejected"]] == ["prebuilt", "flavour"]
    blackwell = host.choose(gpus=[0x2BB5])
    assert f"the archive has no linux-modules-nvidia-580-server-open-{RUNNING}" in blackwell["refusal"]


def test_a_signed_module_of_the_other_kind_is_better_than_dkms(host: Host) -> None:
    """Secure Boot refuses what DKMS builds. A module that is wished for, or is installed, keeps its kind."""
    host.offer(*driver(NEW), *modules(RUNNING, NEW, "6.17.0-1009.9", ("",)), *DKMS)
    choice = host.choose()
    assert (choice["module"], choice["module_from"]) == ("proprietary", "prebuilt")
    choice = host.choose(module="open")
    assert (choice["module"], choice["module_from"]) == ("open", "dkms")
    host.install(choice)
    choice = host.choose()
    assert (choice["module"], choice["module_from"], choice["satisfied"]) == ("open", "dkms", True)


def test_every_reason_is_named_where_nothing_fits(host: Host) -> None:
    host.offer(*driver(NEW), *STALE, package(f"linux-headers-{RUNNING}", "6.17.0-1009.9"))
    refusal = host.choose(module="open")["refusal"]
    assert refusal.startswith(
        "apt can install no NVIDIA driver of branch 580. Not possible: the prebuilt module of the"
    )
    assert UNMET in refusal
    assert "(580.173.02): the archive has no linux-modules-nvidia-580-server-open-aws" in refusal
    assert (
        "a module built by DKMS (580.173.02): apt reports: nvidia-dkms-580-server-open : Depends: dkms but it is not"
        in refusal
    )
    assert "\n" not in refusal


def test_held_packages_of_the_driver_are_released_and_others_are_not(host: Host) -> None:
    old = [entry for entry in driver(OLD) if "kernel-common" in entry["Package"]]
    host.offer(*driver(NEW), *modules(RUNNING, NEW, "6.17.0-1009.9+1"))
    host.add(*old, selection="hold")
    name = "nvidia-kernel-common-580-server"
    assert "nvidia-kernel-common-580-server" in host.choose()["refusal"]
    choice = host.choose(released=(name,))
    assert (choice["refusal"], choice["module_from"]) == ("", "prebuilt")


def test_the_host_keeps_its_own_pins_and_the_role_replaces_its_own(host: Host) -> None:
    host.offer(*driver(OLD), *driver(NEW), *modules(RUNNING, NEW, "6.17.0-1009.9+1"))
    own = f"Package: src:nvidia-graphics-drivers-580-server\nPin: version {OLD}-*\nPin-Priority: 1001\n"
    host.pin.write_text(own, encoding="utf-8")
    assert host.choose()["version"] == NEW
    never = "Package: nvidia-kernel-common-580-server\nPin: release *\nPin-Priority: -1\n"
    host.root.write("preferences.d/0-operator", never)
    assert "nvidia-kernel-common-580-server" in host.choose()["refusal"]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            [
                "The following packages have unmet dependencies:",
                " a : Depends: b (<= 1) but 2 is to be installed",
                "     Depends: c but it is not installable",
                "E: Unable to correct problems, you have held broken packages.",
                "E: The following information from --solver 3.0 may provide additional context:",
                "   Unable to satisfy dependencies. Reached two conflicting assignments:",
            ],
            "a : Depends: b (<= 1) but 2 is to be installed; Depends: c but it is not installable",
        ),
        (["Reading...", "E: Version '1' for 'a' was not found"], "E: Version '1' for 'a' was not found"),
        (["E: Unable to satisfy:", "   1. a is selected"], "E: Unable to satisfy:; 1. a is selected"),
        (["Killed"], "Killed"),
        ([], ""),
        (["E: " + "word " * 100], "E: " + "word " * 58 + "word ..."),
    ],
)
def test_the_sentence_is_that_of_apt(output: list[str], sentence: str) -> None:
    text = "".join(f"|{line}\n" for line in output)
    results = parse_results(f"|Inst z (1)\nset 0\n{text}set 100\n")
    assert [result.resolves for result in results] == [True, False]
    assert results[1].sentence == sentence


def test_without_an_answer_of_apt_nothing_is_chosen(host: Host) -> None:
    host.offer(*driver(NEW), *modules(RUNNING, NEW, "6.17.0-1009.9+1"))
    search = host.cache("search", "--names-only", NAMES)
    madison = host.cache("madison", *(line.split(" - ")[0] for line in search.splitlines()))
    assert "apt did not answer" in nvidia_driver_choice(WANTED, search, madison, {}, "")["refusal"]
