# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The idle stop, the schedule, the lifetime and awake: a table of situations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._schedule.decide import (
    Situation,
    awake_problem,
    decide,
)

HOUR = timedelta(hours=1)


def at(clock: str, day: int = 2) -> datetime:
    return datetime.fromisoformat(f"2026-12-{day:02d} {clock}").replace(tzinfo=UTC)


BY_SCHEDULE = {"started": at("08:00"), "started_by": "schedule"}
BY_USER = {"started": at("08:00")}
AWAKE = {"awake_until": at("22:00")}


@pytest.mark.parametrize(
    ("cause", "now", "lab", "stops", "reason"),
    [
        # The trap: started at 08:00, idle by 09:00, stopped before its user comes.
        ("idle", "09:00", BY_SCHEDULE, False, "started by its schedule, waits for its user until 2026-12-02 12:00 UTC"),
        ("idle", "11:59", BY_SCHEDULE, False, "waits for its user"),
        ("idle", "12:00", BY_SCHEDULE, True, "not used since its schedule started it at 2026-12-02 08:00 UTC"),
        ("idle", "12:00", {**BY_SCHEDULE, "idle_for": 6 * HOUR}, False, "until 2026-12-02 14:00 UTC"),
        ("idle", "10:00", {**BY_SCHEDULE, "last_use": at("09:30")}, False, "idle since 2026-12-02 09:30 UTC only"),
        ("idle", "10:30", {**BY_SCHEDULE, "last_use": at("09:30")}, True, "idle since 2026-12-02 09:30 UTC"),
        # A person has started it.
        ("idle", "08:59", BY_USER, False, "idle since 2026-12-02 08:00 UTC only"),
        ("idle", "09:00", BY_USER, True, "idle since 2026-12-02 08:00 UTC"),
        # Use before the start was in an earlier run.
        ("idle", "08:30", {**BY_USER, "last_use": at("07:00")}, False, "idle since 2026-12-02 08:00 UTC only"),
        ("idle", "20:00", {**BY_USER, "busy": ("SSH session",)}, False, "in use: SSH session"),
        ("idle", "20:00", {**BY_USER, "busy": ("viewer", "GPU")}, False, "in use: viewer, GPU"),
        ("idle", "21:59", {**BY_USER, **AWAKE}, False, "awake until 2026-12-02 22:00 UTC"),
        ("idle", "22:00", {**BY_USER, **AWAKE}, True, "idle since"),
        ("idle", "22:00", {**BY_USER, **AWAKE, "busy": ("GPU",)}, False, "in use: GPU"),
        ("idle", "09:30", {**BY_SCHEDULE, "awake_until": at("09:00")}, False, "waits for its user"),
        # The schedule and the lifetime stop a lab in use, too: its user has set their times.
        ("schedule", "19:30", {**BY_USER, "busy": ("GPU",)}, True, "its schedule stops it"),
        ("schedule", "19:30", {**BY_USER, **AWAKE}, False, "awake until 2026-12-02 22:00 UTC"),
        ("schedule", "22:00", {**BY_USER, **AWAKE}, True, "its schedule stops it"),
        ("lifetime", "20:00", BY_SCHEDULE, True, "its lifetime is over"),
        ("lifetime", "20:00", {**BY_USER, **AWAKE}, False, "awake until 2026-12-02 22:00 UTC"),
        ("lifetime", "23:00", {**BY_USER, **AWAKE, "busy": ("GPU",)}, True, "its lifetime is over"),
    ],
)
def test_table(cause: str, now: str, lab: dict[str, Any], stops: bool, reason: str) -> None:
    situation = Situation(now=at(now), **lab)
    found = decide(cause, situation)
    assert found.stops is stops
    assert reason in found.reason
    if found.again is not None:
        # It is not decided again too early, and then it is decided otherwise, or for another reason.
        later = decide(cause, Situation(**{**vars(situation), "now": found.again}))
        assert found.again > situation.now
        assert later.stops or later.reason != found.reason


def test_a_lab_without_use_always_stops_in_the_end() -> None:
    """Whatever held it, waiting ends."""
    for lab in (BY_USER, BY_SCHEDULE, {**BY_USER, **AWAKE}, {**BY_SCHEDULE, **AWAKE, "last_use": at("09:00")}):
        now, decisions = at("08:00"), 0
        while not (found := decide("idle", Situation(now=now, **lab))).stops:
            assert found.again
            now, decisions = found.again, decisions + 1
            assert decisions < 5
        assert now <= at("22:00")


def test_other_causes_are_refused() -> None:
    with pytest.raises(ValueError, match="'budget' is not a cause of a stop; allowed: idle, schedule, lifetime"):
        decide("budget", Situation(now=at("09:00"), started=at("08:00")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (at("12:00"), "is over"),
        (
            at("11:00"),
            'awake_until: "2026-12-02 11:00 UTC" is over. Allowed: a time within 7 days. Choose a later time.',
        ),
        (at("12:01", 9), "is more than 7 days away. Allowed: a time within 7 days. Choose an earlier time."),
    ],
)
def test_awake_has_an_end(value: datetime, message: str) -> None:
    assert message in str(awake_problem("awake_until", value, at("12:00")))
    assert awake_problem("awake_until", at("12:00", 9), at("12:00")) is None
