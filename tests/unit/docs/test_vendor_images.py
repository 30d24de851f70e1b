# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/vendor-images.md has a row for each setting of a vendor's container, as the role renders it for each profile."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import ROOT, expect_none, load_yaml

ROLE = ROOT / "roles" / "digital_twin_stack"
PAGE = (ROOT / "docs" / "vendor-images.md").read_text(encoding="utf-8")
VENDORS = ("redis", "isaac_sim", "riva", "nim", "foxglove")
PROFILES = ("nav", "sim", "voice", "full")
COMMON, WITH_KEY, SOURCES = "every service", "nim with a key", "Sources"
HOW = {"read", "seen", "inferred", "ours"}
# A g6.2xlarge, with the address that its viewers use. Hashes of files stand for themselves.
HOST = {
    "commands": {
        "gpus": {"rc": 0, "stdout": "NVIDIA L4, 23034", "stdout_lines": ["NVIDIA L4, 23034"]},
        "docker": {"rc": 0, "stdout_lines": ["/var/lib/docker", "[]", "29.1.0", "true true"]},
    },
    "files": {},
}
FACTS = {"memtotal_mb": 31700, "default_ipv4": {"address": "10.0.0.5"}}
GIVEN = {
    "__digital_twin_stack_host": HOST,
    "__digital_twin_stack_docker_config": "{}",
    "__digital_twin_stack_revisions": dict.fromkeys(("redis", "isaac_sim", "nim"), "HASH"),
    "digital_twin_stack_accept_eula": True,
    "digital_twin_stack_public_address": "203.0.113.7",
    "ansible_managed": "",
}
FILES = ("env", "nim.env")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^{}]*))?\}")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the text of .env and nim.env by profile, as the role writes them."""
    folder = tmp_path_factory.mktemp("vendor_images")
    templates = {name: f"lookup('ansible.builtin.template', role_path ~ '/templates/{name}.j2')" for name in FILES}
    files = "{{ {" + ", ".join(f"'{name}': {text}" for name, text in templates.items()) + "} }}"
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.set_fact": {profile: files}, "vars": {"digital_twin_stack_profile": profile}}
        for profile in PROFILES
    ]
    content = "{{ {" + ", ".join(f"'{profile}': {profile}" for profile in PROFILES) + "} | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": content, "dest": str(folder / "told.json"), "mode": "0600"}})
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(file) for file in (ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml")))],
        "vars": {"role_path": str(ROLE), "ansible_facts": FACTS},
        "tasks": tasks,
    }
    (folder / "play.json").write_text(json.dumps([play]))
    extra = json.dumps({"ansible_python_interpreter": sys.executable, **GIVEN})
    words = ["--inventory=localhost,", "--connection=local", "--extra-vars", extra]
    run(["ansible-playbook", *words, str(folder / "play.json")])
    told: dict[str, dict[str, str]] = json.loads((folder / "told.json").read_text())
    return told


def variables(text: str) -> dict[str, str]:
    """Return the variables of an environment file as the role writes it."""
    return dict(re.findall(r"^(\w+)='([^'\n]*)'$", text, re.MULTILINE))


def interpolated(value: Any, environment: dict[str, str]) -> Any:
    """Return a value of the Compose file with its variables replaced, as Compose does."""
    if isinstance(value, dict):
        return {name: interpolated(part, environment) for name, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, environment) for part in value]
    if not isinstance(value, str):
        return value
    parts = value.split("$$")
    return "$".join(VARIABLE.sub(lambda match: environment.get(match[1]) or match[2] or "", part) for part in parts)


def settings(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each setting of a service."""
    for name, value in service.items():
        if name == "volumes":
            for volume in value:
                source, target, *mode = volume.split(":")
                yield f"volumes {target}", ":".join([source, *mode])
        elif name == "ports":
            for port in value:
                published, _colon, target = port.rpartition(":")
                yield f"ports {target}", published
        else:
            yield from flat(name, value)


def flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield a setting, or those within it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(f"{name}.{key}", part)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        assert len(value) == 1, name
        yield from flat(name, value[0])
    elif name in {"entrypoint", "command", "healthcheck.test"}:
        yield name, shlex.join(shlex.split(value) if isinstance(value, str) else value)
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


def by_profile(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return settings by name; those that differ between profiles have the profile in their names."""
    names = dict.fromkeys(name for values in found.values() for name in values)
    joined = {}
    for name in names:
        values = {profile: of.get(name) for profile, of in found.items()}
        if len(set(values.values())) == 1:
            joined[name] = str(values.popitem()[1])
        else:
            joined |= {f"{name} ({profile})": value for profile, value in values.items() if value is not None}
    return joined


@cache
def compose(name: str) -> dict[str, Any]:
    """Return the services of a Compose file."""
    services: dict[str, Any] = load_yaml(ROOT / "compose" / name)["services"]
    return services


def reviewable(rendered: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return the settings of each vendor's container, by section of the page."""
    sections = {}
    for service in VENDORS:
        profiles = compose("compose.yaml")[service].get("profiles", PROFILES)
        sections[service] = by_profile(
            {
                profile: dict(settings(interpolated(compose("compose.yaml")[service], variables(files["env"]))))
                | {f"nim.env {name}": value for name, value in variables(files["nim.env"]).items() if service == "nim"}
                for profile, files in rendered.items()
                if profile in profiles
            }
        )
    common = set.intersection(*(set(values.items()) for values in sections.values()))
    parts = {name: dict(item for item in of.items() if item not in common) for name, of in sections.items()}
    overlay = dict(settings(interpolated(compose("compose.nim-key.yaml")["nim"], {})))
    return {COMMON: dict(sorted(common)), **parts, WITH_KEY: overlay}


def rows(section: str) -> list[list[str]]:
    """Return the cells of the rows of a section's table."""
    text = re.search(rf"^###? {re.escape(section)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert text, f"docs/vendor-images.md has no section {section!r}"
    lines = [line for line in text[1].splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def cell(text: str) -> str:
    """Return a text as code in a cell of a table."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|") if text else ""


def test_each_setting_has_a_row_and_each_row_a_setting(rendered: dict[str, dict[str, str]]) -> None:
    problems = []
    for section, wanted in reviewable(rendered).items():
        found = [(name, value.strip("`")) for name, value, *_rest in rows(section)]
        missing, surplus = set(wanted.items()) - set(found), set(found) - set(wanted.items())
        problems += [f"{section}: add | {name} | {cell(value)} |" for name, value in sorted(missing)]
        problems += [f"{section}: remove | {name} | {value} |" for name, value in sorted(surplus)]
        problems += [f"{section}: {name} has two rows" for name, value in set(found) if found.count((name, value)) > 1]
    expect_none(problems, "docs/vendor-images.md: review these settings against their sources, and change their rows:")


def test_each_row_names_its_source_the_day_and_how_it_is_known(rendered: dict[str, dict[str, str]]) -> None:
    known = {row[0] for row in rows(SOURCES)}
    used = set()
    for section in reviewable(rendered):
        for name, _value, source, day, how, *rest in rows(section):
            where = f"{section}: {name}"
            names = source.split("; ")[0].split(", ")
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", day), where
            assert how in HOW, where
            assert not rest, where
            assert (names == ["-"]) is (how == "ours"), where
            used |= {*names} - {"-"}
    assert used == known


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("${A:-b}", {}, "b"),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A:-b}:${C:-}", {"A": "x", "C": "y"}, "x:y"),
        ("$$(cat ${A:-/f})", {}, "$(cat /f)"),
        ("$$${A:-1}", {}, "$1"),
    ],
)
def test_variables_are_replaced_as_compose_does(text: str, environment: dict[str, str], expected: str) -> None:
    assert interpolated({"x": [text]}, environment) == {"x": [expected]}


def test_a_changed_setting_is_found() -> None:
    """Of any kind, at any depth."""
    service = compose("compose.yaml")["isaac_sim"]
    before = dict(settings(service))
    changes: list[tuple[str, Any]] = [
        ("user", "0:0"),
        ("command", "--other"),
        ("cap_add", ["SYS_ADMIN"]),
        ("ulimits", {**service["ulimits"], "nofile": 1}),
        ("volumes", [*service["volumes"], "x:/y"]),
        ("volumes", [volume.removesuffix(":ro") for volume in service["volumes"]]),
        ("healthcheck", {**service["healthcheck"], "retries": 5}),
        ("environment", {**service["environment"], "X": ""}),
        ("ports", ["127.0.0.1:1:2"]),
    ]
    for name, value in changes:
        assert dict(settings({**service, name: value})) != before, name
