# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree contains no phrases that read as translated; docs/maintaining.md has the rules of language.

Each pattern is narrow: correct English must never match. One letter of each stands in brackets, so that this file does
not match itself.
"""

from __future__ import annotations

import re

import pytest

from tests.support.project import expect_none, parse_yaml, text_files

PHRASES = {
    # "is no longer", "is no more than" and "there is no X" are English.
    "write `is not a ...` or `must be a ...`": (
        r"\b(?:it|that|this|which|what|name|value|file|text|key|path|folder|variable|address) is [n]o "
        r"(?!longer\b|more\b|use\b|less\b)\w+"
    ),
    "write `is not one of` or `must be one of`": r"\bis [n]one of\b",
    # The Unix user of that name stands in quotes or after what takes a user.
    "name the actor, or write `no user`": (
        r"(?<!['\"`:=/|<])(?<!-u )(?<!-u, )(?<!reuid )(?<!/sh )(?<!USER )(?<!Maintainer: )(?<!text: )"
        r"\b(?-i:[Nn]o[b]ody)\b(?!['\"`:])"
    ),
    "name the actor: the caller, the user, the process": r"\b(?:[s]omebody|[w]hoever)\b",
    "write `again`": r"\b[a]new\b",
    "write the remedy as a sentence": r"; [d]o: ",
}
WRONG_VERBS = "Ask|Bring|Forget|Give|Keep|Let|Look|Make sure|Note|Prove|Refuse|Remember|Say|See|Take|Tell"
TASK_NAME = re.compile(rf"(?:[\w.-]+ \| )?(?:{WRONG_VERBS})\b")
# Texts of other authors.
FOREIGN = {"LICENSE"}


def test_phrases_do_not_recur() -> None:
    expect_none(
        f"{path}:{number}: {advice}: {line.strip()[:140]}"
        for path, text in text_files().items()
        if path.name not in FOREIGN and path.suffix not in {".txt", ".svg"}
        for number, line in enumerate(text.splitlines(), start=1)
        for advice, pattern in PHRASES.items()
        if re.search(pattern, line, re.IGNORECASE)
    )


def names_in(node: object) -> list[str]:
    """Return the names of plays and tasks below a node of YAML."""
    if isinstance(node, list):
        return [name for item in node for name in names_in(item)]
    if not isinstance(node, dict):
        return []
    children = [node[key] for key in ("tasks", "pre_tasks", "block", "rescue", "always") if key in node]
    own = [node["name"]] if isinstance(node.get("name"), str) else []
    return own + [name for child in children for name in names_in(child)]


def test_task_names_begin_with_the_verb_of_the_action() -> None:
    found = [
        f"{path}: {name}"
        for path, text in text_files("playbooks", "roles", "molecule").items()
        if path.suffix == ".yml" and path.parts[-2] not in {"defaults", "vars", "meta"}
        for name in names_in(parse_yaml(text))
        if TASK_NAME.match(name)
    ]
    expect_none(
        found, "begin with Check, Get, Install, Configure, Create, Remove, Report, Verify or the module's verb:"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8x is [n]o number; which is [n]o number", True),
        ("the value is [n]o longer valid", False),
        ("there is [n]o driver", False),
        ("the file is [n]o more than 3 MB", False),
        ("a port that is [n]one of ours", True),
        ("[n]obody reads it", True),
        ('owner: "[n]obody"', False),
        ("written [a]new", True),
        ("renewed", False),
        ("; [d]o: write it", True),
    ],
)
def test_patterns_match_only_what_they_should(text: str, found: bool) -> None:
    text = text.replace("[", "").replace("]", "")
    assert any(re.search(pattern, text, re.IGNORECASE) for pattern in PHRASES.values()) is found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("install | Ask for versions", True),
        ("Take the services down", True),
        ("install | Check the keys", False),
        ("Letters", False),
    ],
)
def test_task_names_are_judged_by_their_first_word(name: str, found: bool) -> None:
    assert bool(TASK_NAME.match(name)) is found
