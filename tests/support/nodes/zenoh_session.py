# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Zenoh session or router: ``zenoh_session.py FILE`` with its configuration."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import zenoh
import zenoh.ext

from tests.support.nodes.order_loop import serve

KEY = "lab/samples"


class Session:
    """One session that sends samples and receives those of others."""

    def __init__(self, configuration: Path) -> None:
        self._lock = threading.Lock()
        self._found: set[int] = set()
        self._session = zenoh.open(zenoh.Config.from_json5(configuration.read_text(encoding="utf-8")))
        self._me = str(self._session.info.zid())
        # Like every publisher of rmw_zenoh_cpp that keeps its last samples.
        memory = zenoh.ext.CacheConfig(max_samples=1)
        self._publisher = zenoh.ext.declare_advanced_publisher(self._session, KEY, cache=memory)
        self._subscriber = self._session.declare_subscriber(KEY, self._hear)
        # Only matched subscribers count: samples sent before a match are lost.
        self._seeker = self._session.declare_publisher(KEY, allowed_destination=zenoh.Locality.REMOTE)

    def peers(self) -> int:
        """Return whether another session's subscriber is known: 1, or 0."""
        # Zenoh's type stubs wrongly declare a bool.
        status: Any = self._seeker.matching_status
        return int(status.matching)

    def write(self, number: int, size: int) -> None:
        """Send one sample."""
        self._publisher.put(f"{self._me} {number} {'x' * size}")

    def take(self) -> set[int]:
        """Return the numbers of the received samples."""
        with self._lock:
            found, self._found = self._found, set()
        return found

    def _hear(self, sample: zenoh.Sample) -> None:
        name, number, _padding = sample.payload.to_string().split(" ")
        if name != self._me:
            with self._lock:
                self._found.add(int(number))


if __name__ == "__main__":
    serve(lambda: Session(Path(sys.argv[1])))
