# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link in a page has a target, in the checkout and, for shipped pages, in the installed artifact."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from tests.support.project import expect_none, load_yaml, project_files, text_files

CODE = re.compile(
    r"^(?P<fence>```+|~~~+).*?^(?P=fence)|(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)", re.MULTILINE | re.DOTALL
)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# Inline links and images, reference definitions, and the two HTML attributes that carry an address.
LINKS = (
    re.compile(r"\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\)[^()\s<>]*)*)>?(?:\s+[\"'(][^\n]*?[\"')])?\s*\)"),
    re.compile(r"^ {0,3}\[[^\]\n]+\]:\s*<?([^\s<>]+)>?", re.MULTILINE),
    re.compile(r"<[a-zA-Z][^>]*?\b(?:href|src)\s*=\s*[\"']([^\"']+)[\"']"),
)
SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
REPOSITORY = str(load_yaml(PurePosixPath("galaxy.yml"))["repository"])
FILES = {str(path) for path in project_files()}


def shipped_files() -> set[str]:
    """Return the project files in the allow-list of galaxy.yml."""
    found: set[str] = set()
    for directive in load_yaml(PurePosixPath("galaxy.yml"))["manifest"]["directives"]:
        verb, *names = directive.split()
        if verb == "include":
            found |= FILES & set(names)
        elif verb == "recursive-include":
            found |= {path for path in FILES if path.startswith(f"{names[0]}/")}
    return {path for path in found if not any(part.startswith(".") for part in path.split("/"))}


SHIPPED = shipped_files()
PAGES = {str(path): text for path, text in text_files().items() if path.suffix == ".md"}


def without_code(text: str) -> str:
    """Return Markdown without comments and code, in which brackets are not links."""
    return CODE.sub("", COMMENT.sub("", text))


def links_of(text: str) -> Iterator[str]:
    """Yield the address of every link in a page."""
    plain = without_code(text)
    for pattern in LINKS:
        yield from (match[1] for match in pattern.finditer(plain))


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub creates from a page's headings, and explicit ones."""
    found = set(re.findall(r"<a\s[^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)", without_code(text)))
    for heading in HEADING.findall(re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = sum(known == anchor or re.fullmatch(rf"{re.escape(anchor)}-\d+", known) is not None for known in found)
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def exists(path: str, files: set[str]) -> bool:
    """Return whether a path names one of the files, or a folder with one of them."""
    return path in files or any(file.startswith(f"{path}/") for file in files)


def problem(page: str, link: str, pages: dict[str, str], files: set[str]) -> str | None:
    """Return the problem of a link, or None.

    Args:
        page: the page's path.
        link: the address as it is written.
        pages: the text of every page.
        files: the files that a reader of the page has.
    """
    address, _hash, anchor = unquote(link).partition("#")
    if SCHEME.match(address) or address.startswith("//"):
        own = re.fullmatch(rf"{re.escape(REPOSITORY)}/(?:blob|tree|raw)/main/(.+?)/?", address)
        target, files = (own[1], FILES) if own else ("", files)
        if not own:
            return None
    elif address.startswith("/"):
        return f"{page}: {link} begins with /, which is not always the project's folder"
    else:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), address)) if address else page
    if not exists(target, files):
        hint = f"; link to {REPOSITORY}/blob/main/{target}" if exists(target, FILES) else ""
        return f"{page}: {link} leads to {target}, which {'is not shipped' if hint else 'does not exist'}{hint}"
    if anchor and target in pages and anchor not in anchors_of(pages[target]):
        return f"{page}: {link} names the heading #{anchor}, which {target} does not have"
    return None


def test_links_have_targets() -> None:
    found = [
        problem(page, link, PAGES, SHIPPED if page in SHIPPED else FILES)
        for page, text in sorted(PAGES.items())
        for link in links_of(text)
    ]
    expect_none([line for line in found if line])


def test_allow_list_is_read() -> None:
    """The main pages of the artifact are in it, and a file of the sandbox is not."""
    assert {"README.md", "docs/index.md", "compose/README.md", "roles/docker/README.md"} <= SHIPPED
    assert "sandbox/images/README.md" not in SHIPPED
    assert "sandbox/images/README.md" in FILES


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('[page](docs/a.md) [with title](docs/a.md "A") ![image](docs/a.png) [folder](docs)', 0),
        ("[heading](docs/a.md#two-words-more) [own](#top) [repeated](docs/a.md#again-1)\n# Top", 0),
        ("`[code](nowhere.md)` and\n```\n[code](nowhere.md)\n```\n<!-- [old](nowhere.md) -->", 0),
        ("[elsewhere](https://example.com/nowhere.md) <https://example.com> [mail](mailto:a@example.com)", 0),
        (f"[not shipped]({REPOSITORY}/blob/main/sandbox/images/README.md)", 0),
        ("[not there](docs/b.md)", 1),
        ("[not shipped](sandbox/images/README.md)", 1),
        ("[label]: sandbox/images/README.md", 1),
        ("[long\nlabel](docs/b.md)", 1),
        ('<img src="docs/b.png">', 1),
        ("[above](../docs/a.md)", 1),
        ("[root](/docs/a.md)", 1),
        ("[heading](docs/a.md#three)", 1),
        ("[heading](#three)\n# Two", 1),
        (f"[gone]({REPOSITORY}/blob/main/sandbox/nowhere.md)", 1),
    ],
)
def test_wrong_links_are_found(text: str, wrong: int) -> None:
    pages = {"README.md": text, "docs/a.md": "# Two words: `more`\n## Again\n## Again\n"}
    files = {"README.md", "docs/a.md", "docs/a.png"}
    # Links to files outside this small artifact are checked in the project.
    found = [problem("README.md", link, pages, files) for link in links_of(text)]
    assert len([line for line in found if line]) == wrong, found
