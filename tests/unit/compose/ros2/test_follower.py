# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the robot does next: pure decisions, with the time from the test."""

from __future__ import annotations

from typing import Any

from compose.ros2.bridge.commands import Command
from compose.ros2.bridge.follower import Cancel, Effect, End, Follower, GiveUp, Job, Limits, Start
from compose.ros2.bridge.places import Pose

THERE = Pose(1.0, 2.0)
A, B, C = (Job(Command(name, "navigate", name, THERE), f"{number}-0", 0.0) for number, name in enumerate("ABC"))
STOP = Job(Command("S", "stop"), "9-0", 0.0)
SAID = Job(Command("S", "stop"), "", 0.0)


class Story:
    """One robot and its clock."""

    def __init__(self, **limits: Any) -> None:
        self.follower = Follower(Limits(**limits))
        self.now = 0.0

    def take(self, *jobs: Job) -> list[Effect]:
        """Send commands and apply the effects that are due."""
        return [*self.follower.take(jobs, self.now), *self.step()]

    def step(self, seconds: float = 0.0, *, nav: bool = True, link: bool = True) -> list[Effect]:
        """Advance the clock and apply the effects that are due."""
        self.now += seconds
        return self.follower.step(self.now, nav=nav, link=link)

    def ended(self, ticket: int, outcome: str = "done") -> list[Effect]:
        """End a goal and apply the effects that are due."""
        return [*self.follower.ended(ticket, outcome), *self.step()]

    def halted(self, ticket: int) -> list[Effect]:
        """Answer a cancellation and apply the effects that are due."""
        self.follower.halted(ticket)
        return self.step()


def test_one_at_a_time_in_order() -> None:
    story = Story()
    assert story.take(A, B) == [Start(A, 1)]
    assert story.step(5) == []
    assert story.ended(1) == [End(A, "done"), Start(B, 2)]
    assert story.follower.state == {"state": "driving", "target": "B", "waiting": 0}
    assert story.ended(2, "failed") == [End(B, "failed")]
    assert story.follower.state == {"state": "idle", "target": "", "waiting": 0}


def test_stop_ends_present_and_waiting_commands_and_holds_later_ones_until_confirmed() -> None:
    story = Story()
    story.take(A, B)
    assert story.take(STOP) == [End(B, "stopped"), Cancel(1)]
    assert story.follower.state["state"] == "stopping"
    assert story.take(C) == []
    assert story.halted(1) == []
    assert story.ended(1, "cancelled") == [End(A, "stopped"), End(STOP, "done"), Start(C, 2)]


def test_stop_without_a_goal_still_cancels() -> None:
    """Another process may have left a goal, as this one does when it crashes."""
    story = Story()
    assert story.take(STOP) == [Cancel(1)]
    assert story.take(A) == []
    assert story.halted(1) == [End(STOP, "done"), Start(A, 1)]


def test_stop_in_the_same_batch_prevents_a_start() -> None:
    assert Story().take(A, B, STOP) == [End(A, "stopped"), End(B, "stopped"), Cancel(1)]


def test_a_command_after_a_stop_in_the_same_batch_starts_after_it() -> None:
    story = Story()
    assert story.take(A, STOP, B) == [End(A, "stopped"), Cancel(1)]
    assert story.halted(1) == [End(STOP, "done"), Start(B, 1)]


def test_an_arrival_just_before_the_cancellation_counts() -> None:
    story = Story()
    story.take(A)
    story.take(STOP)
    story.follower.halted(1)
    assert story.ended(1) == [End(A, "done"), End(STOP, "done")]


def test_an_unconfirmed_cancellation_is_repeated() -> None:
    story = Story(again=1)
    story.take(A)
    assert story.take(STOP) == [Cancel(1)]
    assert story.step(0.9) == []
    assert story.step(0.1) == [Cancel(2)]
    assert story.step(1) == [Cancel(3)]
    assert story.follower.ended(1, "cancelled") == [End(A, "stopped")]
    # The answer to any of them counts, however late.
    assert story.halted(1) == [End(STOP, "done")]


def test_the_answer_to_an_earlier_cancellation_does_not_confirm_a_later_stop() -> None:
    story = Story(again=1)
    assert story.take(STOP) == [Cancel(1)]
    again = Job(Command("T", "stop"), "10-0", 0.0)
    assert story.take(again) == [Cancel(2)]
    assert story.halted(1) == []
    assert story.halted(2) == [End(STOP, "done"), End(again, "done")]


def test_a_cancellation_that_overtook_its_goal_is_repeated_when_the_goal_is_accepted() -> None:
    story = Story(again=100)
    story.take(A)
    assert story.take(STOP) == [Cancel(1)]
    story.follower.halted(1)
    story.follower.accepted(1, story.now)
    assert story.step() == [Cancel(2)]
    assert story.ended(1, "cancelled") == [End(A, "stopped"), End(STOP, "done")]


def test_a_stop_from_channel_and_stream_is_one_stop() -> None:
    story = Story()
    story.take(A)
    assert story.take(SAID) == [Cancel(1)]
    story.ended(1, "cancelled")
    # A command from before the stop that is read after the stop's copy must not start.
    assert story.take(B, STOP, C) == [End(B, "stopped"), Cancel(2)]
    assert story.halted(2) == [End(SAID, "done"), End(STOP, "done"), Start(C, 2)]
    # A late copy does not affect later commands.
    assert story.take(SAID) == [End(SAID, "duplicate")]


def test_the_same_command_twice_is_followed_once() -> None:
    story = Story()
    twin = Job(A.command, "5-0", 0.0)
    assert story.take(A, twin) == [End(twin, "duplicate"), Start(A, 1)]
    assert story.take(twin) == [End(twin, "duplicate")]


def test_commands_without_an_id_are_all_different() -> None:
    story = Story()
    first, second = (Job(Command("", "navigate", "A"), entry, 0.0) for entry in ("1-0", "2-0"))
    assert story.take(first, second) == [Start(first, 1)]
    assert story.ended(1) == [End(first, "done"), Start(second, 2)]


def test_waiting_commands_are_limited() -> None:
    story = Story(waiting=1)
    story.take(A)
    assert story.take(B, C) == [End(C, "refused", "1 commands are waiting already")]
    assert story.take(STOP) == [End(B, "stopped"), Cancel(1)]


def test_old_commands_expire_in_every_queue() -> None:
    story = Story(age=10)
    story.now = 11
    fresh = Job(C.command, "3-0", 5.0)
    assert story.take(A, fresh) == [End(A, "expired", "was given more than 10 s ago"), Start(fresh, 1)]
    late = Job(B.command, "4-0", 11.0)
    assert story.take(late) == []
    assert story.step(11) == [End(late, "expired", "was given more than 10 s ago")]
    assert story.ended(1) == [End(fresh, "done")]


def test_nothing_starts_without_nav2_or_redis() -> None:
    story = Story()
    story.follower.take([A], 0)
    assert story.step(nav=False) == []
    assert story.step(link=False) == []
    assert story.step() == [Start(A, 1)]


def test_a_goal_that_takes_too_long_is_cancelled_and_the_next_one_starts() -> None:
    story = Story(goal=60)
    story.take(A, B)
    assert story.step(59) == []
    assert story.step(1) == [Cancel(1)]
    assert story.ended(1, "cancelled") == [End(A, "failed", "did not arrive within 60 s"), Start(B, 2)]
    assert story.halted(1) == []


def test_a_goal_that_another_client_cancels_has_ended() -> None:
    story = Story()
    story.take(A, B)
    assert story.ended(1, "cancelled") == [End(A, "cancelled", "another client cancelled it"), Start(B, 2)]


def test_a_goal_ends_with_nav2_and_the_robot_does_not_go_on_by_itself() -> None:
    story = Story(patience=10)
    story.take(A)
    assert story.step(9, nav=False) == []
    # Perhaps only its answers are missing: nothing starts before it has cancelled the goal.
    assert story.step(1, nav=False) == [End(A, "failed", "Nav2 has accepted no goals for 10 s"), Cancel(1)]
    assert story.take(B) == []
    assert story.follower.state == {"state": "stopping", "target": "", "waiting": 1}
    # A late report of its end is ignored.
    assert story.ended(1, "done") == []
    assert story.halted(1) == [Start(B, 3)]


def test_a_goal_that_nav2_accepts_after_it_was_given_up_is_cancelled() -> None:
    story = Story(patience=10, again=100)
    story.take(A)
    assert story.step(10, nav=False)[1:] == [Cancel(1)]
    story.take(B)
    assert story.halted(1) == [Start(B, 3)]
    story.follower.accepted(3, story.now)
    story.follower.accepted(1, story.now)
    assert story.step() == [Cancel(2)]
    reason = "Nav2 accepted a former goal late, so all were cancelled"
    assert story.ended(3, "cancelled") == [End(B, "failed", reason)]
    assert story.take(C) == []
    assert story.halted(2) == [Start(C, 4)]


def test_nav2_is_given_up_if_it_does_not_cancel_a_goal() -> None:
    """A stop that is not obeyed, a goal that takes too long, and one whose end is unknown."""
    stopped, late, lost = Story(patience=10), Story(patience=10, goal=60), Story(patience=10)
    for story in (stopped, late, lost):
        story.take(A)
    stopped.take(STOP)
    late.step(60)
    lost.step(10, nav=False)
    for story in (stopped, late, lost):
        assert story.step(9) == [Cancel(2)]
        # Neither another stop nor an answer without the goal's end gives it more time.
        if story is not lost:
            story.take(Job(Command("T", "stop"), "10-0", 0.0))
            story.follower.halted(3)
        assert story.step(1) == [GiveUp()]


def test_nav2_is_not_given_up_without_a_goal() -> None:
    """It may not answer yet."""
    story = Story(patience=10)
    story.take(STOP)
    assert story.step(100) == [Cancel(2)]


def test_several_stops_have_as_much_time_as_their_single_goals() -> None:
    story = Story(goal=60)
    tour = Job(Command("T", "navigate", "A", stops=(Pose(1.0, 2.0),)), "8-0", 0.0)
    story.take(tour)
    assert story.step(119) == []
    assert story.step(1) == [Cancel(1)]
    assert story.ended(1, "cancelled") == [End(tour, "failed", "did not arrive within 120 s")]


def test_a_stop_ends_when_nav2_is_gone() -> None:
    story = Story(patience=10, again=100)
    story.take(A)
    assert story.take(STOP) == [Cancel(1)]
    story.follower.halted(1)
    assert story.step(10, nav=False) == [End(A, "stopped"), Cancel(2)]
    assert story.halted(2) == [End(STOP, "done")]


def test_a_robot_that_can_no_longer_be_stopped_halts_and_continues_when_it_can() -> None:
    story = Story(patience=10, again=100)
    story.take(A, B)
    assert story.step(9, link=False) == []
    assert story.step(1, link=False) == [Cancel(1)]
    assert story.follower.ended(1, "cancelled") == []
    assert story.step(1, link=False) == []
    assert story.step() == [Start(A, 2)]


def test_a_stop_in_the_meantime_is_a_stop() -> None:
    story = Story(patience=10, again=100)
    story.take(A)
    assert story.step(10, link=False) == [Cancel(1)]
    assert story.take(STOP) == [Cancel(2)]
    story.follower.halted(2)
    assert story.ended(1, "cancelled") == [End(A, "stopped"), End(STOP, "done")]


def test_status_and_the_entries_in_progress() -> None:
    story = Story()
    status = Job(Command("Q", "status"), "7-0", 0.0)
    assert story.take(A, B, status) == [End(status, "done"), Start(A, 1)]
    story.take(STOP)
    assert [story.follower.holds(entry) for entry in ("0-0", "1-0", "9-0", "7-0")] == [True, False, True, False]
