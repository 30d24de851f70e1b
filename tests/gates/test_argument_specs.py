# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role documents its variables, accepts what it documents, and does not depend on other roles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.support.ansible_programs import run
from tests.support.project import FQCN, ROOT, expect_none, load_yaml, parse_yaml, role_names, text_files

ROLES = role_names()

INCLUDES = {"ansible.builtin.include_role", "ansible.builtin.import_role"}
# Module names such as community.docker.docker_container look like another role's variables.
MODULE_NAME = re.compile(r"\b(?:amazon|ansible|community|digital_twin)\.\w+\.\w+")
GROUPS = re.compile(r"(?<![\w.])(?:groups\s*(?:\[|\.\w|\|)|group_names\b)")
# Names that only this repository's test environment uses.
TEST_ENVIRONMENT = re.compile(r"\bsandbox|\bmoto\b|\blocalhost:5000\b", re.IGNORECASE)


@cache
def spec_of(role: str) -> dict[str, Any]:
    """Return the entry points of a role's argument specification."""
    loaded = load_yaml(PurePosixPath("roles", role, "meta", "argument_specs.yml"))
    entry_points: dict[str, Any] = loaded["argument_specs"]
    return entry_points


@cache
def options_of(role: str) -> dict[str, dict[str, Any]]:
    """Return the union of all entry points' options; an option of several entry points must be the same in each.

    Raises:
        AssertionError: two entry points describe one option differently.
    """
    union: dict[str, dict[str, Any]] = {}
    for entry_point, content in spec_of(role).items():
        for name, option in (content.get("options") or {}).items():
            for key in ("type", "elements", "default", "choices"):
                known = union.get(name, option).get(key)
                assert known == option.get(key), f"{role}: {name}: {key} differs in entry point {entry_point}"
            union.setdefault(name, option)
    return union


@cache
def defaults_of(role: str) -> dict[str, Any]:
    """Return defaults/main.yml of a role, empty when it has none."""
    path = PurePosixPath("roles", role, "defaults", "main.yml")
    return (load_yaml(path) if (ROOT / path).exists() else None) or {}


@cache
def internals_of(role: str) -> dict[str, Any]:
    """Return what the files of a role's vars/ define."""
    found: dict[str, Any] = {}
    for path, text in text_files("roles").items():
        if path.parts[1:3] == (role, "vars"):
            found |= parse_yaml(text) or {}
    return found


def described(options: dict[str, dict[str, Any]], parent: str = "") -> Iterator[str]:
    """Yield what is missing in a set of options, at any depth."""
    for name, option in options.items():
        full = f"{parent}{name}"
        if not option.get("description"):
            yield f"{full} has no description"
        if "type" not in option:
            yield f"{full} has no type"
        if option.get("type") == "list" and "elements" not in option:
            yield f"{full} is a list without elements"
        if option.get("required") and "default" in option:
            yield f"{full} is required and has a default"
        yield from described(option.get("options") or {}, f"{full}.")


def canonical(value: Any) -> str:
    """Return a form of a value in which 1, true and '1' differ."""
    return json.dumps(value, sort_keys=True, default=str)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specification_agree(role: str) -> None:
    options, defaults = options_of(role), defaults_of(role)
    found = [
        f"{name} is in defaults/main.yml, not in meta/argument_specs.yml" for name in defaults.keys() - options.keys()
    ]
    for name, option in options.items():
        if name in defaults and "default" not in option:
            found.append(f"{name}: defaults/main.yml sets it, meta/argument_specs.yml has no default")
        elif name in defaults and canonical(defaults[name]) != canonical(option["default"]):
            found.append(
                f"{name}: {defaults[name]!r} in defaults/main.yml, {option['default']!r} in meta/argument_specs.yml"
            )
        elif name not in defaults and "default" in option:
            found.append(f"{name}: meta/argument_specs.yml has a default that defaults/main.yml does not set")
    expect_none(sorted(found))


@pytest.mark.each_line
@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_valid(role: str) -> None:
    """A default that the specification rejects would stop the role before its first task."""
    options, defaults = options_of(role), defaults_of(role)
    plain = {name: value for name, value in defaults.items() if value is not None and "{{" not in canonical(value)}
    result = ArgumentSpecValidator({name: options[name] for name in plain if name in options}).validate(plain)
    expect_none(result.error_messages)


@pytest.mark.parametrize("role", ROLES)
def test_everything_is_described(role: str) -> None:
    found = []
    for entry_point, content in spec_of(role).items():
        found += [f"{entry_point}: no {key}" for key in ("short_description", "description") if not content.get(key)]
        found += [f"{entry_point}: {missing}" for missing in described(content.get("options") or {})]
        # Without it the changelog does not list the role.
        if entry_point == "main" and not content.get("version_added"):
            found.append("main: no version_added")
        if not (ROOT / "roles" / role / "tasks" / f"{entry_point}.yml").is_file():
            found.append(f"{entry_point}: there is no tasks/{entry_point}.yml")
    expect_none(found)


@pytest.mark.parametrize("role", ROLES)
def test_role_is_complete(role: str) -> None:
    wanted = [f"roles/{role}/README.md"]
    # The scenarios of the roles that share the tasks of a private role test them.
    private = role == "common"
    wanted += [] if private else [f"roles/{role}/tasks/main.yml", f"molecule/{role}/molecule.yml"]
    missing = [path for path in wanted if not (ROOT / path).is_file()]
    missing += [] if private or "main" in spec_of(role) else ["the entry point main in meta/argument_specs.yml"]
    expect_none(missing, "missing:")


@pytest.mark.parametrize("role", ROLES)
def test_readme_links_to_the_variables(role: str) -> None:
    """The generated reference has all of them; a table in the README would become outdated."""
    text = text_files("roles")[PurePosixPath("roles", role, "README.md")]
    assert f"docs/reference/roles/{role}.md" in text or not options_of(role)


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_role_name(role: str) -> None:
    public = options_of(role).keys() | defaults_of(role).keys()
    found = [name for name in public if not name.startswith(f"{role}_")]
    found += [name for name in internals_of(role) if not name.startswith((f"{role}_", f"__{role}_"))]
    expect_none(found, f"not prefixed with {role}_:")


def strings_in(value: Any) -> Iterator[str]:
    """Yield every key and value of a role's YAML, except the parameters for another role's entry point."""
    if isinstance(value, dict):
        called: dict[str, Any] = next(
            (value[key] for key in INCLUDES & value.keys() if isinstance(value[key], dict)), {}
        )
        callee = str(called.get("name", "")).removeprefix(f"{FQCN}.")
        for key, content in value.items():
            if key == "vars" and callee and isinstance(content, dict):
                yield from (name for name in content if not name.startswith(f"{callee}_"))
                yield from strings_in(list(content.values()))
            else:
                yield str(key)
                yield from strings_in(content)
    elif isinstance(value, list):
        for element in value:
            yield from strings_in(element)
    elif value is not None:
        yield str(value)


@cache
def code_of(role: str) -> list[tuple[PurePosixPath, str]]:
    """Return the content of each file of a role: YAML without comments, all other files unchanged."""
    found = []
    for path, text in text_files("roles").items():
        if path.parts[1] != role or path.name == "README.md":
            continue
        if path.suffix in {".yml", ".yaml"} and path.parts[2] not in {"templates", "files"}:
            found.append((path, "\n".join(strings_in(parse_yaml(text)))))
        else:
            found.append((path, text))
    return found


@pytest.mark.parametrize("role", ROLES)
def test_role_uses_no_other_roles_variables(role: str) -> None:
    found = []
    for other in ROLES:
        if other == role:
            continue
        names = options_of(other).keys() | defaults_of(other).keys() | internals_of(other).keys()
        alternatives = "|".join([*sorted(names), rf"__{other}_\w+"])
        foreign = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")
        found += [
            f"{path}: {match}" for path, text in code_of(role) for match in foreign.findall(MODULE_NAME.sub("", text))
        ]
    expect_none(found, "pass it as a variable of this role:")


@pytest.mark.parametrize("role", ROLES)
def test_role_names_no_inventory_group(role: str) -> None:
    found = [f"{path}: {match}" for path, text in code_of(role) for match in GROUPS.findall(text)]
    expect_none(found)


def test_shipped_files_do_not_name_the_test_environment() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in text_files("roles", "plugins", "compose", "playbooks").items()
        for number, line in enumerate(text.splitlines(), start=1)
        if TEST_ENVIRONMENT.search(line)
    ]
    expect_none(found)


def sample(option: dict[str, Any]) -> Any:
    """Return a valid value for a required option."""
    if option.get("choices"):
        return option["choices"][0]
    return {"str": "/sample", "path": "/sample", "dict": {}, "list": [], "int": 1, "float": 1.0, "bool": True}[
        option["type"]
    ]


def test_every_entry_point_is_validated_without_facts(tmp_path: Path) -> None:
    # Ansible validates the arguments before the role's first task, which gathers facts. Only the validation runs here:
    # it has the tag always, and no task has the other tag.
    tasks = [
        {
            "name": "Validate the arguments",
            "ansible.builtin.import_role": {"name": f"{FQCN}.{role}", "tasks_from": entry_point},
            "vars": {
                name: sample(option)
                for name, option in (content.get("options") or {}).items()
                if option.get("required")
            },
        }
        for role in ROLES
        for entry_point, content in spec_of(role).items()
    ]
    play = {"name": "Validate", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(json.dumps([play]), "utf-8")
    output = run(["ansible-playbook", "--inventory", "localhost,", "--tags", "no-such-tag", str(playbook)])
    assert output.count("Validating arguments against arg spec") == len(tasks)
