# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact is complete, contains nothing else, and works without this checkout."""

from __future__ import annotations

import ast
import configparser
import difflib
import importlib.resources
import importlib.util
import json
import re
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tests.support.ansible_lines import left_out
from tests.support.project import (
    FQCN,
    NAME,
    NAMESPACE,
    ROOT,
    copy_project,
    expect_none,
    load_yaml,
    module_names,
    playbooks,
    project_files,
    role_names,
    run,
)

SHIPPED_FOLDERS = {"changelogs", "compose", "docs", "group_vars", "meta", "playbooks", "plugins", "roles"}
SHIPPED_FILES = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "ansible.cfg",
    "inventory/aws_ec2.yml",
    "inventory/static.example.yml",
    "requirements.yml",
}
# Files of work in the checkout, which must not be shipped.
LITTER = [
    ".cache/state",
    ".sandbox/env",
    ".venv-oldest/pyvenv.cfg",
    ".venv/pyvenv.cfg",
    "changelogs/.plugin-cache.yaml",
    "compose/.env",
    "compose/cognitive/__pycache__/app.cpython-311.pyc",
    "playbooks/site.retry",
    "plugins/modules/.module.py.swp",
    "roles/docker/tasks/main.yml~",
    "terraform.tfvars",
]
# ansible-test would misinterpret these folders.
NOT_FOR_ANSIBLE_TEST = ("compose", "group_vars", "inventory", "molecule")


def installed_collection(name: str) -> Path:
    """Return the folder of an installed collection that this one depends on.

    Raises:
        AssertionError: it is not installed.
    """
    spec = importlib.util.find_spec(f"ansible_collections.{name}")
    assert spec, f"{name} is not installed"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def stage(folder: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """Copy the project below a folder to the path that Ansible's tools expect, and return that path.

    Its dependencies are linked next to it, because not every tool finds them among Python's packages.
    """
    collections = folder / "ansible_collections"
    for name in load_yaml(PurePosixPath("galaxy.yml"))["dependencies"]:
        link = collections.joinpath(*name.split("."))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(installed_collection(name))
    target = collections / NAMESPACE / NAME
    copy_project(target, leave_out)
    return target


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built collection, built from a tree with files that must not be shipped."""
    source = stage(tmp_path_factory.mktemp("build"))
    for name in LITTER:
        litter = source / name
        litter.parent.mkdir(parents=True, exist_ok=True)
        litter.write_text("never ship this\n")
    output = tmp_path_factory.mktemp("artifact")
    run(["ansible-galaxy", "collection", "build", "--output-path", str(output)], cwd=source)
    return next(output.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the artifact was installed, outside the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    run(
        ["ansible-galaxy", "collection", "install", "--offline", "--no-deps", "-p", str(folder), str(artifact)],
        cwd=folder,
    )
    return folder


def run_installed(installed: Path, *command: str) -> str:
    """Run an Ansible command that finds only the installed artifact; return its output."""
    (installed / "ansible.cfg").write_text("[defaults]\n")
    settings = {"ANSIBLE_CONFIG": str(installed / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(installed)}
    return run(command, cwd=installed, env=settings)


@pytest.mark.each_line
def test_artifact_contains_only_shipped_files(artifact: Path) -> None:
    with tarfile.open(artifact) as tar:
        shipped = {member.name for member in tar if member.isfile()} - {"FILES.json", "MANIFEST.json"}
    wanted = {
        str(path)
        for path in project_files()
        if (path.parts[0] in SHIPPED_FOLDERS or str(path) in SHIPPED_FILES)
        and path.name != ".gitignore"
        and not (ROOT / path).is_symlink()
    }
    expect_none(sorted(wanted - shipped), "missing in the artifact:")
    expect_none(sorted(shipped - wanted), "in the artifact, but must not be shipped:")


def test_artifact_is_complete(artifact: Path) -> None:
    with tarfile.open(artifact) as tar:
        shipped = {member.name for member in tar}
    assert {*SHIPPED_FILES, "compose/compose.yaml", "meta/runtime.yml", "playbooks/site.yml"} <= shipped


def test_shipped_folders_have_no_links() -> None:
    """The collection format drops links to folders without a warning."""
    links = [str(path) for path in project_files() if path.parts[0] in SHIPPED_FOLDERS and (ROOT / path).is_symlink()]
    expect_none(links, "replace these links by plain files:")


@pytest.mark.each_line
@pytest.mark.parametrize("kind", ["module", "role"])
def test_installed_documentation_is_readable(installed: Path, kind: str) -> None:
    names = [f"{FQCN}.{name}" for name in (module_names() if kind == "module" else role_names())]
    assert names, f"there is no {kind}"
    answer: dict[str, Any] = json.loads(run_installed(installed, "ansible-doc", "--type", kind, "--json", *names))
    assert sorted(answer) == sorted(names)
    for name, content in answer.items():
        source = content["path"] if kind == "role" else content["doc"]["filename"]
        assert source.startswith(str(installed)), f"{name} was read from {source}, not from the artifact"


@pytest.mark.each_line
def test_installed_playbooks_parse(installed: Path) -> None:
    names = [f"{FQCN}.{PurePosixPath(name).stem}" for name in playbooks() if name.startswith("playbooks/")]
    assert f"{FQCN}.site" in names
    run_installed(installed, "ansible-playbook", "--syntax-check", "--inventory", "localhost,", *names)


def test_dependencies_agree_with_requirements() -> None:
    wanted = load_yaml(PurePosixPath("galaxy.yml"))["dependencies"]
    listed = load_yaml(PurePosixPath("requirements.yml"))["collections"]
    assert {entry["name"]: entry["version"] for entry in listed} == wanted


@pytest.mark.each_line
def test_tested_versions_satisfy_the_dependencies() -> None:
    for name, wanted in load_yaml(PurePosixPath("galaxy.yml"))["dependencies"].items():
        manifest = json.loads((installed_collection(name) / "MANIFEST.json").read_text())
        version = manifest["collection_info"]["version"]
        assert SpecifierSet(wanted).contains(version), f"{name}: {version} is installed, galaxy.yml wants {wanted}"


def get_pip_name() -> str:
    """Return the name of ansible-test's bootstrap script for its version of pip.

    Raises:
        AssertionError: this ansible-core names it differently.
    """
    source = importlib.resources.files("ansible_test") / "_internal" / "python_requirements.py"
    version = re.search(r"\bpip='([\d.]+)'", source.read_text())
    assert version, "ansible-test no longer names its pip version in python_requirements.py"
    return f"get_pip_{version[1].replace('.', '_')}.py"


def copy_pip_settings(home: Path) -> None:
    """Copy the current pip settings, such as a mirror, to a home directory.

    ansible-test passes only the variable HOME to its commands.
    """
    settings = configparser.RawConfigParser()
    settings["global"] = {}
    lines = run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    # Environment variables take precedence.
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _equals, value = line.partition("=")
        section, _dot, key = name.rpartition(".")
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings[section][key] = str(ast.literal_eval(value))
    settings["global"]["quiet"] = "1"
    target = home / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    with target.open("w") as stream:
        settings.write(stream)


@pytest.mark.each_line
def test_sanity(tmp_path: Path) -> None:
    """Run ansible-test, without an ignore file, for the Python that runs this.

    Its environments are in a home directory below .cache, so that a second run is fast and the user's home does not
    change. Python's own pip replaces its bootstrap script, which comes from a server on the internet.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = ROOT / ".cache" / "ansible-test" / version
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / get_pip_name()).write_text("import ensurepip\n\nensurepip.bootstrap()\n")
    copy_pip_settings(home)
    run(
        ["ansible-test", "sanity", "--color", "no", "--python", version],
        cwd=stage(tmp_path, NOT_FOR_ANSIBLE_TEST + left_out()),
        env={"HOME": str(home)},
        timeout=1800,
    )


def test_documentation_markup(tmp_path: Path) -> None:
    run(
        ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "dependent", "."],
        cwd=stage(tmp_path),
        # It copies the dependencies, but only tracked files of a git checkout. So git must not find this checkout from
        # .venv, where they are installed.
        env={"GIT_CEILING_DIRECTORIES": str(Path(sys.prefix).parent)},
    )


def test_reference_pages_are_up_to_date() -> None:
    run([sys.executable, "docs/generate.py", "--check"])


def test_changelog_fragments() -> None:
    run(["antsibull-changelog", "lint"])


def test_changelog_is_up_to_date(tmp_path: Path) -> None:
    """changelog.yaml has the fragments and plugins of this version, and CHANGELOG.md has its content."""
    version = load_yaml(PurePosixPath("galaxy.yml"))["version"]
    released = load_yaml(PurePosixPath("changelogs", "changelog.yaml"))["releases"]
    assert version in released, f"changelogs/changelog.yaml does not know {version}"
    copy = stage(tmp_path)
    refresh = ["antsibull-changelog", "release", "--update-existing", "--refresh", "--reload-plugins"]
    run([*refresh, "--date", released[version]["release_date"]], cwd=copy)
    for name in ("changelogs/changelog.yaml", "CHANGELOG.md"):
        expected, present = (copy / name).read_text(), (ROOT / name).read_text()
        difference = difflib.unified_diff(present.splitlines(), expected.splitlines(), name, name, lineterm="")
        expect_none(difference, f"{name} is not up to date: run `{' '.join(refresh)}`")


def test_metadata_for_galaxy() -> None:
    galaxy = load_yaml(PurePosixPath("galaxy.yml"))
    assert re.fullmatch(r"[1-9]\d*\.\d+\.\d+", galaxy["version"])
    assert load_yaml(PurePosixPath("meta", "runtime.yml"))["requires_ansible"].startswith(">=")
    assert len(galaxy["tags"]) <= 20
    expect_none(
        [tag for tag in galaxy["tags"] if not re.fullmatch(r"[a-z][a-z0-9_]*", tag)], "Galaxy refuses these tags:"
    )
    # Galaxy requires one of its own categories among the tags.
    assert {"cloud", "infrastructure", "linux", "networking", "tools"} & set(galaxy["tags"])
