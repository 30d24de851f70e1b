# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tags for the last action, the last error and the time until which a host is awake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab import last_action
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.last_action import (
    CAUSES,
    LONGEST,
    VERBS,
    Action,
    Error,
    State,
    Stop,
)

WHEN = datetime(2026, 11, 30, 19, 30, 0, tzinfo=UTC)
TIME = "2026-11-30T19:30:00Z"
INSIDE = "Client.InstanceInitiatedShutdown"
API = "Client.UserInitiatedShutdown"
AT_WHEN = "User initiated (2026-11-30 19:30:00 GMT)"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("cause", CAUSES)
def test_an_action_is_read_as_it_was_written(verb: str, cause: str) -> None:
    action = Action(verb, cause, WHEN)
    assert str(action) == f"{verb} {cause} {TIME}"
    assert last_action.read_action(str(action)) == action


def test_times_are_written_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    assert last_action.write_time(datetime(2026, 11, 30, 20, 30, tzinfo=berlin)) == TIME
    assert last_action.read_time(TIME) == WHEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stop",
        "stop person",
        f"halt person {TIME}",
        f"stop nothing {TIME}",
        "stop person yesterday",
        f"stop person {TIME} more",
        "stop person 2026-13-30T19:30:00Z",
    ],
)
def test_another_text_is_no_action(text: str) -> None:
    assert last_action.read_action(text) is None
    assert last_action.describe_start("lab-1", State("running"), text) == ""


def test_an_error_is_read_as_it_was_written() -> None:
    error = Error("start", WHEN, "AWS has no g5.xlarge: try again.")
    assert str(error) == f"start {TIME}: AWS has no g5.xlarge: try again."
    assert last_action.read_error(str(error)) == error


def test_an_error_fits_into_a_tag() -> None:
    text = str(Error("start", WHEN, "AWS has\nnone " + "x" * 300))
    assert len(text) == LONGEST
    assert text.startswith(f"start {TIME}: AWS has none xxx")
    assert text.endswith("xxx...")
    assert last_action.read_error(text) is not None


@pytest.mark.parametrize("text", ["", "start", f"start {TIME}", "start yesterday: no", f"Start now {TIME}: no"])
def test_another_text_is_no_error(text: str) -> None:
    assert last_action.read_error(text) is None
    assert last_action.describe_error("lab-1", text) == ""


@pytest.mark.parametrize(
    ("code", "transition", "tag", "others", "expected"),
    [
        (API, AT_WHEN, f"stop person {TIME}", {}, Stop("person", WHEN)),
        (API, AT_WHEN, "stop schedule 2026-11-30T19:34:59Z", {}, Stop("schedule", WHEN)),
        # An older tag says nothing about this stop.
        (API, AT_WHEN, "stop person 2026-11-30T19:24:59Z", {}, Stop("", WHEN)),
        (API, AT_WHEN, f"start person {TIME}", {}, Stop("", WHEN)),
        (API, AT_WHEN, "stop person 2026-11-29T19:30:00Z", {"idle": -1}, Stop("idle", WHEN)),
        (API, AT_WHEN, "", {"schedule": 6}, Stop("", WHEN)),
        (API, AT_WHEN, "", {"schedule": 2, "alarm lab-1-gpu-idle": 0}, Stop("alarm lab-1-gpu-idle", WHEN)),
        # The nearest one.
        (API, AT_WHEN, "stop person 2026-11-30T19:27:00Z", {"schedule": -1, "idle": -4}, Stop("schedule", WHEN)),
        # A resize stops, and may have ended there.
        (API, AT_WHEN, f"resize person {TIME}", {}, Stop("person", WHEN)),
        ("Server.SpotInstanceShutdown", AT_WHEN, f"stop person {TIME}", {}, Stop("spot", WHEN)),
        ("Server.SpotInstanceTermination", "", "", {}, Stop("spot")),
        ("Server.ScheduledStop", "", "", {}, Stop("event")),
        (INSIDE, "", f"stop lifetime {TIME}", {}, Stop("lifetime", WHEN, inside=True)),
        (INSIDE, "", "start person 2026-11-30T08:00:00Z", {}, Stop(inside=True)),
        (INSIDE, "", "", {"schedule": 0}, Stop(inside=True)),
        (API, "User initiated", "", {}, Stop()),
    ],
)
def test_why_a_host_is_stopped(code: str, transition: str, tag: str, others: dict[str, int], expected: Stop) -> None:
    known = [(cause, WHEN + timedelta(minutes=minutes)) for cause, minutes in others.items()]
    assert last_action.explain_stop(State("stopped", code, transition), tag, known) == expected


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (Stop("person", WHEN), "stopped on 2026-11-30 at 19:30 UTC by a user of the collection"),
        (Stop("alarm lab-1-gpu-idle", WHEN), "stopped on 2026-11-30 at 19:30 UTC by the alarm lab-1-gpu-idle"),
        (Stop("alarm", WHEN), "stopped on 2026-11-30 at 19:30 UTC by an alarm of CloudWatch"),
        (Stop("spot"), "stopped by AWS, which needed the spot capacity"),
        (Stop("lifetime", WHEN, inside=True), "stopped on 2026-11-30 at 19:30 UTC by its maximum lifetime"),
        (Stop(inside=True), "stopped from the host itself: a user, or a program, shut it down"),
        (
            Stop("", WHEN),
            "stopped on 2026-11-30 at 19:30 UTC by the API of EC2: a user, the console, or another program of the "
            "account",
        ),
    ],
)
def test_a_stop_is_a_sentence(stop: Stop, expected: str) -> None:
    assert str(stop) == expected


@pytest.mark.parametrize(
    ("state", "tags", "expected"),
    [
        (State("running"), {}, []),
        (
            State("running"),
            {last_action.ACTION_TAG: f"start schedule {TIME}"},
            ["lab-1 was started on 2026-11-30 at 19:30 UTC by its schedule."],
        ),
        (
            State("running", launched=WHEN + timedelta(minutes=4)),
            {last_action.ACTION_TAG: f"resize person {TIME}"},
            ["lab-1 was resized on 2026-11-30 at 19:30 UTC by a user of the collection."],
        ),
        # What started it since has left no tag.
        (
            State("running", launched=WHEN + timedelta(minutes=6)),
            {last_action.ACTION_TAG: f"start person {TIME}"},
            [
                "lab-1 was started on 2026-11-30 at 19:36 UTC by the API of EC2: a user, the console, or another "
                "program of the account."
            ],
        ),
        (State("running"), {last_action.ACTION_TAG: f"stop person {TIME}"}, []),
        (State("running", launched=WHEN), {}, []),
        # A tag of an earlier stop does not contradict the state.
        (
            State("stopped", API, AT_WHEN),
            {
                last_action.ACTION_TAG: "start person 2026-11-29T08:00:00Z",
                last_action.ERROR_TAG: f"start {TIME}: AWS has no g5.xlarge.",
                last_action.AWAKE_TAG: "2026-11-30T19:31:00Z",
            },
            [
                "lab-1 was stopped on 2026-11-30 at 19:30 UTC by the API of EC2: a user, the console, or another "
                "program of the account.",
                "lab-1: start failed on 2026-11-30 at 19:30 UTC: AWS has no g5.xlarge.",
                "lab-1 is kept awake until 2026-11-30 at 19:31 UTC.",
            ],
        ),
        (State("running"), {last_action.AWAKE_TAG: TIME}, []),
    ],
)
def test_a_host_in_sentences(state: State, tags: dict[str, str], expected: list[str]) -> None:
    assert last_action.describe_host("lab-1", state, tags, WHEN) == expected


def test_a_start_by_the_schedule() -> None:
    state = State("running", launched=WHEN)
    known = [("schedule", WHEN - timedelta(minutes=1)), ("event", WHEN - timedelta(minutes=2))]
    expected = "lab-1 was started on 2026-11-30 at 19:30 UTC by its schedule."
    assert last_action.describe_start("lab-1", state, "", known) == expected


def test_an_error_does_not_control_the_terminal() -> None:
    text = last_action.describe_error("lab-1", f"start {TIME}: \x1b[2Jgone")
    assert text == "lab-1: start failed on 2026-11-30 at 19:30 UTC: ?[2Jgone"
