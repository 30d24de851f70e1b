# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of role python_environment for pip on a host with its own settings, with the real pip."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.project import ROOT

PROGRAM = ROOT / "roles/python_environment/files/run_alone.py"


def load(path: Path) -> ModuleType:
    """Return a program as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_alone = load(PROGRAM)


class Host:
    """A host with its own pip options, an index, and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CONFIG_DIRS": str(folder / "xdg")}
        self.settings = folder / "settings.json"
        self.settings.write_text(json.dumps({"index_url": (folder / "index").as_uri(), "trusted_hosts": []}), "utf-8")
        self.path = folder / "environment"

    def configure(self, options: str) -> None:
        """Write the host's configuration of pip, at a path that pip reads like /etc/pip.conf."""
        file = self.folder / "xdg" / "pip" / "pip.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"[global]\n{options}\n", "utf-8")

    def pip(self, *arguments: str, alone: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the environment's pip as the role does, or as another user does."""
        program = [sys.executable, "-I", str(PROGRAM), str(self.settings)] if alone else []
        isolated = ["-I"] if alone else []
        return self.run(*program, str(self.path / "bin/python"), *isolated, "-m", "pip", *arguments)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the host's environment."""
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=300
        )

    def version(self) -> str:
        """Return the version of the installed package."""
        return self.run(str(self.path / "bin/python"), "-I", "-c", "import arm; print(arm.VERSION)").stdout.strip()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    made = Host(tmp_path_factory.mktemp("host"))
    load(ROOT / "molecule/python_environment/files/make_index.py").make_index(made.folder / "index")
    # The environment is created on a host whose settings break Python.
    made.environment |= {"PYTHONHOME": "/nowhere", "PIP_USER": "1"}
    done = made.run(sys.executable, "-I", str(PROGRAM), "", sys.executable, "-I", "-m", "venv", str(made.path))
    assert done.returncode == 0, done.stderr
    made.environment = {name: made.environment[name] for name in ("PATH", "HOME", "XDG_CONFIG_DIRS")}
    return made


# Each of these prevents pip from installing a package, or makes it use another path.
BREAKING = """
user = true
target = elsewhere
prefix = elsewhere
root = elsewhere
no-index = true
index-url = http://127.0.0.1:9/simple
extra-index-url = http://127.0.0.1:9/simple
find-links = nowhere
no-binary = :all:
constraint = constraints.txt
require-hashes = true
require-virtualenv = true
break-system-packages = true
python = /nowhere/python
dry-run = true
platform = win32
use-feature = none-that-exists
quiet = 3
log = /nowhere/log
"""


def test_no_pip_option_of_the_host_has_an_effect(host: Host) -> None:
    (host.folder / "constraints.txt").write_text("arm<1.0\n", "utf-8")
    host.configure(BREAKING)
    done = host.pip("install", "arm==1.0")
    assert done.returncode == 0, done.stderr
    assert host.version() == "1.0"
    assert not (host.folder / "elsewhere").exists()


def test_the_options_of_the_host_break_an_unprotected_pip(host: Host) -> None:
    """Otherwise the other tests would pass without the role's settings."""
    host.configure("user = true")
    done = host.pip("install", "arm==2.0", alone=False)
    assert done.returncode != 0
    assert "user" in done.stderr


def test_no_environment_variable_has_an_effect(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure("")
    shadow = host.folder / "shadow" / "pip"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise SystemExit('this is not pip')\n", "utf-8")
    (host.folder / "named.conf").write_text("[install]\nuser = true\n", "utf-8")
    breaking = {
        "PIP_USER": "1",
        "PIP_TARGET": "elsewhere",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BINARY": ":all:",
        "PIP_REQUIRE_HASHES": "1",
        "PIP_CONFIG_FILE": str(host.folder / "named.conf"),
        "PYTHONPATH": str(shadow.parent),
        "PYTHONUSERBASE": str(host.folder / "elsewhere"),
        "VIRTUAL_ENV": "/nowhere",
    }
    monkeypatch.setattr(host, "environment", {**host.environment, **breaking})
    done = host.pip("install", "--force-reinstall", "arm==2.0")
    assert done.returncode == 0, done.stderr
    monkeypatch.undo()
    assert host.version() == "2.0"
    assert not (host.folder / "elsewhere").exists()


def test_a_package_that_the_index_has_replaced_is_refused(host: Host) -> None:
    host.configure("")
    wheel = host.folder / "index" / "arm" / "arm-1.0-py3-none-any.whl"
    genuine = wheel.read_bytes()
    requirements = host.folder / "packages.txt"
    requirements.write_text(f"arm==1.0 --hash=sha256:{hashlib.sha256(genuine).hexdigest()}\n", "utf-8")
    command = ["install", "--force-reinstall", "-r", str(requirements), "--require-hashes"]
    assert host.pip(*command).returncode == 0
    wheel.write_bytes((host.folder / "index" / "arm" / "arm-2.0-py3-none-any.whl").read_bytes())
    try:
        done = host.pip(*command)
    finally:
        wheel.write_bytes(genuine)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert host.version() == "1.0"
    # A dependency without a hash is refused as well.
    requirements.write_text(f"{requirements.read_text('utf-8')}gripper==3.1\n", "utf-8")
    assert "Hashes are required" in host.pip(*command).stderr


def test_the_host_cannot_silence_the_check_of_packages(host: Host) -> None:
    host.configure("quiet = 3\nlog = /nowhere/log")
    host.pip("uninstall", "--yes", "gripper")
    host.pip("install", "arm==2.0")
    done = host.pip("check")
    assert done.returncode == 1
    assert "arm 2.0 requires gripper, which is not installed" in done.stdout


@pytest.mark.parametrize("change", ["uninstall --yes gripper", "install gripper==3.1"])
def test_conflicts_are_those_that_pip_finds(host: Host, change: str) -> None:
    host.configure("")
    host.pip("install", "arm==2.0")
    host.pip(*change.split())
    program = (ROOT / "roles/python_environment/files/installed.py").read_text("utf-8")
    printed = json.loads(host.run(str(host.path / "bin/python"), "-I", "-c", program).stdout)
    checked = host.pip("check")
    assert printed["conflicts"] == (checked.stdout.splitlines() if checked.returncode else [])
    assert printed["packages"]["arm"] == "2.0"


KEPT: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "nothing": ("", {}, {}),
    "certificates and proxy": (
        "[global]\ncert = /ca.pem\nclient-cert = /me.pem\nproxy = http://user:word@proxy:3128\ntrusted-host = mirror",
        {},
        {
            "PIP_CERT": "/ca.pem",
            "PIP_CLIENT_CERT": "/me.pem",
            "PIP_PROXY": "http://user:word@proxy:3128",
            "PIP_TRUSTED_HOST": "packages mirror",
        },
    ),
    "other spellings": (
        "[install]\nCLIENT_CERT: /me.pem\n--cert = /ca.pem",
        {},
        {"PIP_CLIENT_CERT": "/me.pem", "PIP_CERT": "/ca.pem"},
    ),
    "several hosts": (
        "[global]\ntrusted-host =\n    one\n    packages\n    two:8443",
        {},
        {"PIP_TRUSTED_HOST": "packages one two:8443"},
    ),
    "of installing before of all": ("[install]\nproxy = own\n[global]\nproxy = all", {}, {"PIP_PROXY": "own"}),
    "of the environment before all": ("[install]\nproxy = own", {"PIP_PROXY": "other"}, {"PIP_PROXY": "other"}),
    "what is empty counts for nothing": ("[global]\nproxy =\n[install]\ncert =", {"PIP_PROXY": ""}, {}),
    "no configuration": ("[global]\nproxy = all", {"PIP_CONFIG_FILE": os.devnull}, {}),
    "of other commands": ("[download]\nproxy = own\n[list]\nuser = true", {}, {}),
    "not understood": ("proxy = without a section", {"PIP_CERT": "/ca.pem"}, {"PIP_CERT": "/ca.pem"}),
    "other options": (
        "[global]\nuser = true\ntimeout = 1\nextra-index-url = http://elsewhere",
        {"PIP_TIMEOUT": "1"},
        {},
    ),
}


@pytest.mark.parametrize(("file", "environment", "kept"), KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("place", ["xdg/pip", "etc", ".pip", ".config/pip"])
def test_certificates_and_proxy_are_preserved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    place: str,
    file: str,
    environment: dict[str, str],
    kept: dict[str, str],
) -> None:
    monkeypatch.setattr(run_alone, "SYSTEM_FILE", tmp_path / "etc" / "pip.conf")
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "pip.conf").write_text(file, "utf-8")
    given = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": str(tmp_path / "xdg"),
        "https_proxy": "http://proxy",
    }
    told = run_alone.alone({**given, **environment}, "https://packages/simple", ["packages"])
    own = {**run_alone.OWN, "PIP_INDEX_URL": "https://packages/simple", "PIP_TRUSTED_HOST": "packages"}
    assert {name: value for name, value in told.items() if name.startswith("PIP_")} == {**own, **kept}
    # Variables that all programs of the host use are preserved.
    assert told["https_proxy"] == "http://proxy"


def test_a_named_file_replaces_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_alone, "SYSTEM_FILE", tmp_path / "etc" / "pip.conf")
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\nproxy = user\n", "utf-8")
    (tmp_path / "named.conf").write_text("[global]\ncert = named\n", "utf-8")
    given = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": "/nowhere", "PIP_CONFIG_FILE": str(tmp_path / "named.conf")}
    assert run_alone.pip_options(given) == {"cert": "named"}
