# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The idle stop, the schedule, the lifetime and awake: a table of situations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.decide import (
    Situation,
    Step,
    awake_problem,
    decide,
    step,
)

HOUR = timedelta(hours=1)


def at(clock: str, day: int = 2) -> datetime:
    return datetime.fromisoformat(f"2026-12-{day:02d} {clock}").replace(tzinfo=UTC)


NEW: dict[str, Any] = {"started": at("08:00")}
USED = {**NEW, "visited": True, "last_use": at("08:00")}
AWAKE = {"awake_until": at("22:00")}


@pytest.mark.parametrize(
    ("cause", "now", "lab", "stops", "reason"),
    [
        # The trap: its schedule starts it at 08:00, idle by 09:00, stopped before its user comes.
        ("idle", "09:00", NEW, False, "waits for its first user until 2026-12-02 12:00 UTC"),
        ("idle", "11:59", NEW, False, "waits for its first user"),
        ("idle", "12:00", NEW, True, "no user came since its start at 2026-12-02 08:00 UTC"),
        ("idle", "12:00", {**NEW, "idle_for": 6 * HOUR}, False, "idle since 2026-12-02 08:00 UTC only"),
        # What starts at boot uses the GPU, and is not a user.
        ("idle", "10:30", {**NEW, "last_use": at("08:10")}, False, "waits for its first user until"),
        ("idle", "12:30", {**NEW, "last_use": at("11:40")}, False, "idle since 2026-12-02 11:40 UTC only"),
        ("idle", "12:40", {**NEW, "last_use": at("11:40")}, True, "idle since 2026-12-02 11:40 UTC"),
        ("idle", "10:00", {**USED, "last_use": at("09:30")}, False, "idle since 2026-12-02 09:30 UTC only"),
        ("idle", "10:30", {**USED, "last_use": at("09:30")}, True, "idle since 2026-12-02 09:30 UTC"),
        ("idle", "08:59", USED, False, "idle since 2026-12-02 08:00 UTC only"),
        ("idle", "09:00", USED, True, "idle since 2026-12-02 08:00 UTC"),
        # Use before the start was in an earlier run.
        ("idle", "11:30", {**NEW, "last_use": at("07:00")}, False, "waits for its first user until"),
        ("idle", "08:30", {**USED, "last_use": at("07:00")}, False, "idle since 2026-12-02 08:00 UTC only"),
        ("idle", "20:00", {**NEW, "busy": ("an SSH session",)}, False, "in use: an SSH session"),
        ("idle", "20:00", {**NEW, "busy": ("GPU 0", "a run")}, False, "in use: GPU 0, a run"),
        ("idle", "21:59", {**NEW, **AWAKE}, False, "awake until 2026-12-02 22:00 UTC"),
        ("idle", "22:00", {**USED, **AWAKE}, True, "idle since"),
        ("idle", "22:00", {**NEW, **AWAKE, "busy": ("GPU 0",)}, False, "in use: GPU 0"),
        ("idle", "09:30", {**NEW, "awake_until": at("09:00")}, False, "waits for its first user"),
        # The schedule and the lifetime stop a lab in use, too: its user has set their times.
        ("schedule", "19:30", {**NEW, "busy": ("GPU 0",)}, True, "its schedule stops it"),
        ("schedule", "19:30", {**NEW, **AWAKE}, False, "awake until 2026-12-02 22:00 UTC"),
        ("schedule", "22:00", {**NEW, **AWAKE}, True, "its schedule stops it"),
        ("lifetime", "20:00", NEW, True, "its lifetime is over"),
        ("lifetime", "20:00", {**NEW, **AWAKE}, False, "awake until 2026-12-02 22:00 UTC"),
        ("lifetime", "23:00", {**NEW, **AWAKE, "busy": ("GPU 0",)}, True, "its lifetime is over"),
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
    for lab in (NEW, USED, {**NEW, **AWAKE}, {**USED, **AWAKE, "last_use": at("09:00")}):
        now, decisions = at("08:00"), 0
        while not (found := decide("idle", Situation(now=now, **lab))).stops:
            assert found.again
            now, decisions = found.again, decisions + 1
            assert decisions < 5
        assert now <= at("22:00")


TEN = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("cause", "now", "lab", "warned", "action"),
    [
        ("idle", "08:49", USED, None, "nothing"),
        ("idle", "08:50", USED, None, "warn"),
        ("idle", "08:59", USED, "08:50", "wait"),
        ("idle", "09:00", USED, "08:50", "stop"),
        # A warning that came late is as long as any.
        ("idle", "09:30", USED, None, "warn"),
        ("idle", "09:39", USED, "09:30", "wait"),
        ("idle", "09:40", USED, "09:30", "stop"),
        # Use during the warning cancels the stop.
        ("idle", "08:55", {**USED, "busy": ("GPU 0",)}, "08:50", "nothing"),
        ("idle", "08:55", {**USED, "last_use": at("08:52")}, "08:50", "nothing"),
        # The end of awake is no surprise, and holds a stop that users were warned of.
        ("idle", "21:49", {**USED, **AWAKE}, None, "nothing"),
        ("idle", "21:50", {**USED, **AWAKE}, None, "warn"),
        ("idle", "21:50", {**USED, **AWAKE, "last_use": at("21:30")}, None, "nothing"),
        ("lifetime", "20:00", NEW, None, "warn"),
        ("lifetime", "20:10", NEW, "20:00", "stop"),
        ("lifetime", "20:10", {**NEW, **AWAKE}, "20:00", "nothing"),
        ("lifetime", "21:55", {**NEW, **AWAKE}, "21:40", "wait"),
        ("lifetime", "22:00", {**NEW, **AWAKE}, "21:50", "stop"),
    ],
)
def test_each_stop_follows_a_warning(
    cause: str, now: str, lab: dict[str, Any], warned: str | None, action: str
) -> None:
    found = step(cause, Situation(now=at(now), **lab), TEN, at(warned) if warned else None)
    assert found.action == action


def test_a_step_has_the_reason_of_the_stop() -> None:
    assert step("lifetime", Situation(now=at("09:00"), **NEW), TEN, None) == Step("warn", "its lifetime is over")


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
