"""The clock of EventBridge Scheduler in the sandbox: the machine's, or one that stands still until it is moved.

Only the scheduler follows it. Hosts, notices and alarms use the machine's clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sandbox.errors import SandboxError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = timedelta(days=400)


class Clock:
    """A clock."""

    def __init__(self) -> None:
        """Follow the machine's clock."""
        self._set: datetime | None = None

    def now(self) -> datetime:
        """Return the time."""
        return self._set or datetime.now(UTC)

    @property
    def stands(self) -> bool:
        """Whether the clock only moves when it is told to."""
        return self._set is not None

    def set(self, moment: datetime | None) -> None:
        """Stop the clock at a moment; None follows the machine's again."""
        self._set = moment


def moment_of(text: str) -> datetime:
    """Return the moment that a user names, such as 2026-03-29T00:59:00Z.

    :raises SandboxError: it is not one.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SandboxError(f"time: {text!r}. Allowed: a date and time with its offset, such as 2026-03-29T00:59:00Z")
    return moment.astimezone(UTC)


def span_of(text: str) -> timedelta:
    """Return the duration that a user names, such as 90s, 15m, 2h or 1d.

    :raises SandboxError: it is not one, or it is too long.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None or timedelta(seconds=int(match[1]) * UNITS[match[2]]) > LONGEST:
        raise SandboxError(f"duration: {text!r}. Allowed: such as 90s, 15m, 2h or 1d, at most {LONGEST.days}d")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])
