# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback for bench/second_run.py: writes one JSON line for each task, with its seconds and its results by host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: task_times
type: aggregate
short_description: Write the seconds and results of each task to the file in BENCH_TASKS
description: Each line has C(task), C(seconds), and C(ok), the hosts where the task was executed.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """A task ends where the next one begins, as in ansible.posix.profile_tasks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(os.environ["BENCH_TASKS"])
        self.task: dict[str, Any] | None = None
        self.begin = 0.0

    def _next(self, task: dict[str, Any] | None) -> None:
        now = time.monotonic()
        if self.task is not None:
            self.task["seconds"] = now - self.begin
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(self.task) + "\n")
        self.task, self.begin = task, now

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """End the previous task."""
        self._next({"task": task.get_name(), "ok": []})

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """End the last task of the previous play."""
        self._next(None)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Record that a host executed the task."""
        if self.task is not None:
            self.task["ok"].append(result._host.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """End the last task."""
        self._next(None)
