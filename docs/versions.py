# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what is newer than compose/versions.yml, by asking the registries; changes nothing.

A registry that does not answer, or wants a key, is named with the reason, and the newest version that was found by
hand. Connects directly: a proxy of the environment is not used.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

FILE = Path(__file__).resolve().parents[1] / "compose" / "versions.yml"
# Docker Hub answers under another name than images have.
HOSTS = {"docker.io": "registry-1.docker.io"}
# Pages of tags that are read at most; Docker Hub's largest images have about ten.
PAGES = 30
TIMEOUT = 20


class UnansweredError(Exception):
    """A registry that cannot be asked; the message names the reason."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Entry:
    """An image or package of versions.yml.

    Attributes:
        found: a newer version that was found by hand; empty if there was none.
        registry: the host of an image's registry; empty for a package.
        index: the URL of a package's index.
    """

    name: str
    version: str
    found: str
    registry: str
    image: str
    index: str
    package: str


Fetch = Callable[[str, Mapping[str, str]], Answer]


def fetch(url: str, headers: Mapping[str, str]) -> Answer:
    """Return the answer to a GET request over HTTPS.

    Raises:
        UnansweredError: there is none.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise UnansweredError(f"{parts.netloc} does not answer ({error})") from None
    finally:
        connection.close()


def read_entries(data: Mapping[str, Any]) -> list[Entry]:
    """Return the images and packages of versions.yml."""
    sections = [data["services"], data["images"], data["packages"]]
    return [
        Entry(
            name=name,
            version=entry["version"],
            found=entry.get("newest", ""),
            registry=entry.get("registry", ""),
            image=entry.get("image", ""),
            index=entry.get("index", ""),
            package=entry.get("package", ""),
        )
        for section in sections
        for name, entry in section.items()
    ]


def _token(ask: Fetch, challenge: str, host: str) -> str:
    """Return a token for anonymous reads, which a registry's challenge names.

    Raises:
        UnansweredError: it gives none without a key.
    """
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer") or "realm" not in fields:
        raise UnansweredError(f"{host} asks for a login")
    query = urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    answer = ask(f"{fields['realm']}?{query}", {})
    if answer.status != 200:
        raise UnansweredError(f"{host} gives no token without a key (status {answer.status})")
    given = _json(answer, host)
    return str(given.get("token") or given.get("access_token") or "")


def _json(answer: Answer, host: str) -> dict[str, Any]:
    """Return the object in an answer.

    Raises:
        UnansweredError: there is none.
    """
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnansweredError(f"the answer of {host} is not JSON")
    return found


def list_tags(ask: Fetch, registry: str, image: str) -> list[str]:
    """Return the tags of an image, by the registry's API (OCI distribution).

    Raises:
        UnansweredError: the registry cannot be asked.
    """
    host = HOSTS.get(registry, registry)
    path = f"/v2/{image}/tags/list?n=1000"
    headers: dict[str, str] = {}
    tags: list[str] = []
    for _page in range(PAGES):
        answer = ask(f"https://{host}{path}", headers)
        if answer.status == 401 and not headers:
            headers = {"Authorization": f"Bearer {_token(ask, answer.headers.get('www-authenticate', ''), host)}"}
            answer = ask(f"https://{host}{path}", headers)
        if answer.status in (401, 403):
            raise UnansweredError(f"{host} does not list the tags of {image} without a key")
        if answer.status != 200:
            raise UnansweredError(f"{host} answers with status {answer.status}")
        tags += _json(answer, host).get("tags") or []
        following = re.search(r"<([^>]+)>\s*;\s*rel=\"?next", answer.headers.get("link", ""))
        if not following:
            break
        parts = urlsplit(following[1])
        path = f"{parts.path}?{parts.query}"
    return tags


def list_packages(ask: Fetch, index: str, package: str) -> list[str]:
    """Return the versions of a package in an index of Debian packages, without their revision.

    Raises:
        UnansweredError: the index cannot be read.
    """
    answer = ask(index, {})
    if answer.status != 200:
        raise UnansweredError(f"{urlsplit(index).netloc} answers with status {answer.status}")
    text = answer.body.decode("utf-8", "replace")
    pattern = rf"^Package: {re.escape(package)}\n(?:.+\n)*?Version: (\S+)"
    return [version.partition("-")[0] for version in re.findall(pattern, text, re.MULTILINE)]


def newest(version: str, offered: Iterable[str]) -> str:
    """Return the newest of some versions that has the form of another: as many numbers, and the same words after them.

    Empty if none is newer, or if the version has no numbers.
    """
    form = re.compile(r"(\d+(?:\.\d+)+)(.*)")
    own = form.fullmatch(version)
    if not own:
        return ""

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split(".")))

    found = [match for match in map(form.fullmatch, offered) if match and match[2] == own[2]]
    higher = [m for m in found if len(numbers(m[1])) == len(numbers(own[1])) and numbers(m[1]) > numbers(own[1])]
    return max(higher, key=lambda match: numbers(match[1]))[0] if higher else ""


def report(entry: Entry, checked: str, ask: Fetch) -> str:
    """Return one line about an entry."""
    by_hand = f"; {entry.found} was found on {checked}" if entry.found else f"; none was found on {checked}"
    if not re.match(r"\d", entry.version):
        return f"no number to compare{by_hand}"
    try:
        if entry.registry:
            offered = list_tags(ask, entry.registry, entry.image)
        elif entry.index:
            offered = list_packages(ask, entry.index, entry.package)
        else:
            return f"no registry{by_hand}"
    except UnansweredError as error:
        return f"NOT ASKED: {error}{by_hand}"
    if entry.version not in offered:
        return f"asked: {entry.version} itself is not offered{by_hand}"
    return f"asked: {newest(entry.version, offered) or 'nothing'} is newer"


def main(ask: Fetch = fetch) -> int:
    """Print one line for each image and package."""
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    entries = read_entries(data)
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        sys.stdout.write(f"{entry.name:{width}}  {entry.version:24}  {report(entry, data['checked'], ask)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
