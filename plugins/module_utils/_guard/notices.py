# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get notices of AWS about this instance from the EC2 metadata service, version 2.

Paths and forms are those of the EC2 user guide (spot interruption notices, rebalance recommendations, scheduled
events). A notice of an interruption comes two minutes before, and may never come. AWS recommends a look every 5 s.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .._gpu_publisher.imds import RefusedError, endpoint_url, fetch, fetch_token
from .._lab.last_action import read_time

INTERRUPTION = "meta-data/spot/instance-action"
REBALANCE = "meta-data/events/recommendations/rebalance"
SCHEDULED = "meta-data/events/maintenance/scheduled"
# The longest that AWS allows.
TOKEN_SECONDS = 21600
UNAUTHORIZED, NOT_FOUND = 401, 404
# A hibernating instance keeps its memory, and gets no time.
LEAVING = frozenset({"stop", "terminate"})


class NoticesUnreadableError(Exception):
    """The metadata service does not answer, or its answer has another form."""


@dataclass(frozen=True)
class Notice:
    """What AWS announces.

    Attributes:
        key: what distinguishes it from any other notice.
        text: a sentence for users.
        leaves: whether the host stops within two minutes.
        time: when, if that is known.
    """

    key: str
    text: str
    leaves: bool = False
    time: datetime | None = None


class Watcher:
    """Read the notices again and again, with one token for hours."""

    def __init__(self) -> None:
        self._token: dict[str, str] = {}

    def read(self) -> list[Notice]:
        """Return all notices; an interruption comes first.

        Raises:
            NoticesUnreadableError: they cannot be read.
        """
        found: list[Notice] = []
        try:
            found += interruption(self._get(INTERRUPTION))
            found += rebalance(self._get(REBALANCE))
            return found + scheduled(self._get(SCHEDULED))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, http.client.HTTPException) as error:
            self._token = {}
            # Two minutes are left: another notice that cannot be read delays nothing.
            if any(notice.leaves for notice in found):
                return found
            text = f"the metadata service at {endpoint_url()} reports no notices: {error!r}"
            raise NoticesUnreadableError(text) from None

    def _get(self, path: str) -> Any:
        """Return a document, or None where there is none.

        Raises:
            OSError: the service does not answer within 2 seconds.
            ValueError: it rejects the request, or the answer is not JSON.
        """
        renewed = not self._token
        while True:
            if not self._token:
                self._token = fetch_token(endpoint_url(), TOKEN_SECONDS)
            try:
                return json.loads(fetch(endpoint_url(), "GET", path, self._token))
            except RefusedError as error:
                if error.status == NOT_FOUND:
                    return None
                if error.status != UNAUTHORIZED or renewed:
                    raise
                self._token, renewed = {}, True


def interruption(document: Any) -> list[Notice]:
    """Return the notice of a spot interruption, if there is one."""
    if document is None:
        return []
    action, when = str(document["action"]), str(document["time"])
    text = f"AWS needs the capacity of this spot instance: {action} at {when}."
    return [Notice(f"spot {action} {when}", text, action in LEAVING, read_time(when))]


def rebalance(document: Any) -> list[Notice]:
    """Return the notice that an interruption has become more likely, if there is one."""
    if document is None:
        return []
    when = str(document["noticeTime"])
    text = f"AWS is more likely to interrupt this spot instance, as it reports since {when}. Save your work."
    return [Notice(f"rebalance {when}", text)]


def scheduled(document: Any) -> list[Notice]:
    """Return the scheduled events that are neither over nor cancelled."""
    return [
        Notice(
            f"event {event['EventId']} {event['NotBefore']}",
            f"AWS has scheduled {event['Code']} for {event['NotBefore']}: {event['Description']}.",
        )
        for event in document or []
        if event["State"] == "active"
    ]
