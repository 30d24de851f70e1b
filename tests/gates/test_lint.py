# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every linter passes on the whole tree, and no file silences one."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pathspec
import pytest
import yaml

from tests.support.ansible_lines import left_out
from tests.support.project import ROOT, expect_none, load_yaml, playbooks, project_files, run, text_files

# The link to the root inside the tree: linters check these files under their real paths.
LINK = PurePosixPath(".collections/ansible_collections/digital_twin/robotics_lab")

# One letter of each word stands in brackets so that this file does not match itself.
SUPPRESSIONS = {
    "a Python linter is silenced": r"#.*\b[n]oqa\b|#\s*ruff:\s*(ignore|disable)|#\s*[p]ylint:|#\s*flake8:",
    "the type checker is silenced": r"#\s*type:\s*[i]gnore|#\s*[m]ypy:|#\s*[p]yright:|@no_[t]ype_check",
    "a security check is silenced": r"#\s*[n]osec\b",
    "yamllint is silenced": r"#\s*[y]amllint\s+disable",
    "a shell linter is silenced": r"#\s*[s]hellcheck\s+disable|#\s*[h]adolint\s+ignore",
    "an ansible-lint rule is skipped": r"\b(?:[s]kip_list|[w]arn_list)\s*:|skip_[a]nsible_lint",
    "an error is ignored": r"\b[i]gnore_errors\b|ANSIBLE_[I]GNORE_ERRORS",
    "a test is skipped or expected to fail": (
        r"\bpytest\.(?:[s]kip|[x]fail|[i]mportorskip)\b|\bmark\.(?:[s]kip|[s]kipif|[x]fail)\b|@(?:unittest\.)?[s]kip"
    ),
    "a sanity test is left out": r"--skip-[t]est\b|--allow-[d]isabled\b",
}
# Code for which the newest Ansible prints warnings or deprecations.
WARNED = {
    "AnsibleModule.tmpdir warns where the user has no ~/.ansible/tmp": r"\bmodule\.tmpdir\b",
    "warnings in a result are deprecated; call module.warn()": r"exit_json\([^)]*\bwarnings=",
    "results have no invocation": r"\.invocation\b",
}
ANSIBLE = re.compile(r"^\s*(?:from|import) (?:ansible|ansible_collections\.(?!digital_twin\.)\w+)\b", re.MULTILINE)
# Both lines run each of them, in the tests of the modules or on the lab of the end-to-end tests.
USE_ANSIBLE = {"_aws/connection.py", "_aws/iam_role.py", "_files.py", "_lab/resources.py", "_lab/schedule_state.py"}
# The word as a version or an image's tag: after a colon, an equals sign, an at sign or a shell default. Between
# slashes, as in the metadata service's path and the names of public parameters, it is not a version.
FLOATING = re.compile(r"(?:[:=@]|:-)\s*[\"']?\b[l]atest(?=[\s\"'`},;)]|$)", re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "--no-cache", "."], id="ruff-check"),
        pytest.param(["ruff", "format", "--no-cache", "--check", "--diff", "."], id="ruff-format"),
        pytest.param(["mypy"], id="mypy"),
        pytest.param(["yamllint", "--strict", "."], id="yamllint"),
        pytest.param(
            ["ansible-lint", "--offline", "--strict", "--nocolor", *(["--exclude", *left_out()] if left_out() else [])],
            id="ansible-lint",
            marks=pytest.mark.each_line,
        ),
    ],
)
def test_linter(command: list[str]) -> None:
    # The inventory of the checkout would call AWS. In this variable a list with a comma would not mean hosts.
    run(command, env={"ANSIBLE_INVENTORY": os.devnull}, timeout=1800)


@pytest.mark.each_line
def test_playbook_syntax() -> None:
    found = playbooks()
    assert {"site.yml", "playbooks/site.yml"} <= set(found)
    run(["ansible-playbook", "--syntax-check", "--inventory", "localhost,", *found])


def test_nothing_is_suppressed() -> None:
    found = [
        f"{path}:{number}: {what}: {line.strip()}"
        for path, text in text_files().items()
        for number, line in enumerate(text.splitlines(), start=1)
        for what, pattern in SUPPRESSIONS.items()
        if re.search(pattern, line)
    ]
    expect_none(found)


def test_newest_line_prints_no_warnings() -> None:
    found = [
        f"{path}:{number}: {what}: {line.strip()}"
        for path, text in text_files("plugins", "roles", "playbooks").items()
        for number, line in enumerate(text.splitlines(), start=1)
        for what, pattern in WARNED.items()
        if re.search(pattern, line)
    ]
    expect_none(found)


def test_line_breaks_in_expressions_are_line_breaks() -> None:
    """Ansible passes each backslash to Jinja as two; in double-quoted YAML it is already a line break."""
    wrong = re.compile(r"\{\{(?:(?!\}\}).)*?(['\"])\\n\1", re.DOTALL)
    found = [
        f"{path}: {match[0][-60:]}"
        for path in text_files("roles", "playbooks", "group_vars", "inventory", "molecule")
        if path.suffix == ".yml"
        for node in yaml.compose_all((ROOT / path).read_text("utf-8"), yaml.SafeLoader)
        for text in texts_of(node)
        for match in wrong.finditer(text)
    ]
    expect_none(found, "write the whole text in double quotes, or use splitlines() for a split:")


def texts_of(node: yaml.Node | None) -> Iterator[str]:
    """Return the texts of a YAML document that Ansible may use as templates."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag != "!unsafe":
            yield str(node.value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from texts_of(item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from texts_of(key)
            yield from texts_of(value)


def test_module_utils_use_nothing_of_ansible() -> None:
    """Their tests do not run on the oldest line."""
    found = {
        "/".join(path.parts[2:])
        for path, text in text_files("plugins").items()
        if path.parts[1] == "module_utils" and ANSIBLE.search(text)
    }
    expect_none(sorted(found ^ USE_ANSIBLE), "imports Ansible and is not in USE_ANSIBLE, or the other way around:")


def test_no_sanity_test_is_ignored() -> None:
    ignores = [str(path) for path in project_files() if re.match(r"tests/sanity/ignore.*\.txt$", str(path))]
    expect_none(ignores, "correct the code instead:")


def test_versions_are_pinned() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in text_files().items()
        # Tests use it as invalid input.
        if path.parts[0] not in {"molecule", "tests"}
        for number, line in enumerate(text.splitlines(), start=1)
        if FLOATING.search(line)
    ]
    expect_none(found, "name a version:")


# pip by its name, its module or uv, with a verb that downloads, also as items of a list; to the end of the command.
PIP = re.compile(
    r"\bpip[0-9.]*[\"']?,?\s+[\"']?(?:install|download|wheel|verb)\b(?:\\\n|[^\n\]])*|ansible\.builtin\.pip:.*"
)


def test_pip_compares_hashes() -> None:
    """An index, a mirror or a proxy can replace a file of the same version."""
    found = [
        f"{path}: {command[0].strip()}"
        for path, text in text_files().items()
        # Documents and messages only show commands; tests of pip use an index of their own.
        if path.suffix not in {".md", ".rst"}
        and path.parts[0] not in {"changelogs", "docs"}
        and path.parts[:2]
        not in {("tests", "unit"), ("tests", "gates"), ("plugins", "lookup"), ("plugins", "plugin_utils")}
        for command in PIP.finditer(re.sub(r"\s*\n\s*(?=[\"'\]])", " ", text) if path.suffix == ".py" else text)
        if "--require-hashes" not in command[0]
    ]
    expect_none(found, "add --require-hashes:")


@pytest.mark.parametrize(
    ("command", "hashes"),
    [
        ("pip install x==1", False),
        ("RUN python3 -m pip install --no-cache-dir x==1 \\\n && true", False),
        ("RUN pip3 install \\\n  --require-hashes -r x.txt", True),
        ('["uv", "pip", "install", *options, "-r", "x.txt"]', False),
        ('["uv", "pip", "install", "--require-hashes"]', True),
        ("ansible.builtin.pip: {name: x}", False),
        ("pip download x", False),
    ],
)
def test_pip_without_hashes_is_found(command: str, hashes: bool) -> None:
    found = PIP.search(command)
    assert found
    assert ("--require-hashes" in found[0]) == hashes


def test_locked_packages_have_hashes() -> None:
    locks = [path for path in project_files() if path.suffix == ".txt" and path.with_suffix(".in") in project_files()]
    locks += [PurePosixPath(".ci/uv.txt"), PurePosixPath("compose/ros2/requirements.txt")]
    assert len(locks) >= 5
    found = [
        f"{path}: {line}"
        for path in locks
        for line in (ROOT / path).read_text("utf-8").replace("\\\n", " ").splitlines()
        if not line.startswith("#") and not re.fullmatch(r"\S+==\S+( ;.*?)?(\s+--hash=sha256:[0-9a-f]{64})+", line)
    ]
    expect_none(found, "run make lock:")


def hidden_from_linters() -> dict[str, list[str]]:
    """Return the exclusions of each linter's configuration as lines in gitignore's format."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        tools: dict[str, Any] = tomllib.load(stream)["tool"]
    return {
        "ruff": tools["ruff"].get("extend-exclude", []) + tools["ruff"].get("exclude", []),
        "yamllint": load_yaml(PurePosixPath(".yamllint")).get("ignore", []),
        "ansible-lint": load_yaml(PurePosixPath(".config/ansible-lint.yml")).get("exclude_paths", []),
    }


def test_linters_see_every_file() -> None:
    hidden = [
        f"{tool}: {path}"
        for tool, patterns in hidden_from_linters().items()
        for path in pathspec.GitIgnoreSpec.from_lines(patterns).match_files(str(path) for path in project_files())
        if PurePosixPath(path) != LINK
    ]
    with (ROOT / "pyproject.toml").open("rb") as stream:
        mypy = tomllib.load(stream)["tool"]["mypy"]
    assert mypy["strict"] is True
    hidden += [
        f"mypy: {path}"
        for path in project_files()
        if path != LINK and any(re.search(pattern, str(path)) for pattern in mypy["exclude"])
    ]
    expect_none(hidden, "a configuration file hides these files from a linter:")


def test_ansible_lint_uses_the_production_profile() -> None:
    config = load_yaml(PurePosixPath(".config/ansible-lint.yml"))
    assert config["profile"] == "production"
    assert config["strict"] is True
    assert not {"mock_modules", "mock_roles", "rules"} & config.keys(), "these keys weaken the profile"
