# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repository that a task declares, with its key, checked as far as possible without reading the host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .keys import FINGERPRINT, normal_fingerprint
from .sources import is_read


class AptSourceError(Exception):
    """The request is refused; the text is the reason and the remedy."""


@dataclass(frozen=True)
class WantedRepository:
    """A repository to add to apt's sources.

    Attributes:
        uri: Its URI, with $(ARCH) where apt inserts the architecture.
        suites: Its suites; a path ends with a slash.
        components: None for a path.
        mirrors: Whether an entry with another URI counts, when it has the suite and the component.
        origin: The Origin in the Release file of such an entry; empty for any.
        signed_by: URL, path or text of the key.
        fingerprints: Those of the keys that may sign it; empty for any key.
    """

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    mirrors: bool = False
    origin: str = ""
    signed_by: str = ""
    fingerprints: tuple[str, ...] = ()


def read_request(params: Mapping[str, Any]) -> WantedRepository | None:
    """Return the repository that the module's options describe, or None for none.

    Raises:
        AptSourceError: an option is not valid.
    """
    name, uri, suites, components = params["name"], params["uri"], params["suites"], params["components"]
    if not is_read(f"{name}.sources"):
        raise AptSourceError(
            f"name is {name!r}. Use letters, digits, '_', '-' and '.': apt ignores files of other names."
        )
    if params["state"] == "absent":
        return None
    fingerprints = tuple(map(normal_fingerprint, params["fingerprints"]))
    for digits in fingerprints:
        if not FINGERPRINT.fullmatch(digits):
            raise AptSourceError(
                f"fingerprints has {digits!r}. Use a whole fingerprint of 40 or 64 hexadecimal digits, in quotes."
            )
    if not re.match(r"[a-z][a-z0-9+.-]*:\S+$", uri):
        raise AptSourceError(f"uri is {uri!r}. Set it to a URI such as https://download.docker.com/linux/debian.")
    if not suites:
        raise AptSourceError("suites is empty. Set it to a suite such as bookworm, or to / for a flat repository.")
    for suite in suites:
        if suite.endswith("/") == bool(components):
            remedy = "Remove the components." if components else "Set components, or end the suite with a slash."
            raise AptSourceError(f"suites has {suite!r} and components has {components}. {remedy}")
    for value in (*suites, *components):
        if not re.fullmatch(r"[^\s#\[\]]+", value):
            raise AptSourceError(f"suites or components has {value!r}. Remove white space, '#', '[' and ']' from it.")
    mirrors, origin, signed_by = params["mirrors"], params["origin"], params["signed_by"] or ""
    return WantedRepository(uri, tuple(suites), tuple(components), mirrors, origin, signed_by, fingerprints)
