# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that Isaac Sim runs, with the part of Kit that it calls: the order of its calls, and its log."""

from __future__ import annotations

import asyncio
import runpy
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.support.project import ROOT

SCRIPT = ROOT / "compose" / "isaac_sim" / "open_scene.py"


class Kit:
    """Kit's application, context and timeline in one object that records calls."""

    def __init__(self, opened: tuple[bool, str]) -> None:
        self.opened = opened
        self.busy = 2
        self.log: list[str] = []

    def can_open_stage(self) -> bool:
        return self.busy == 0

    async def next_update_async(self) -> None:
        self.busy = max(0, self.busy - 1)
        await asyncio.sleep(0)

    async def open_stage_async(self, url: str) -> tuple[bool, str]:
        assert self.can_open_stage()
        self.log.append(f"open {url}")
        return self.opened

    def play(self) -> None:
        self.log.append("play")

    def print_and_log(self, text: str) -> None:
        self.log.append(text)


def run(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the script as Kit does, and return its calls."""
    functions: dict[str, dict[str, Any]] = {
        "omni": {},
        "omni.kit": {},
        "omni.kit.app": {"get_app": lambda: kit},
        "omni.kit.async_engine": {"run_coroutine": asyncio.run},
        "omni.timeline": {"get_timeline_interface": lambda: kit},
        "omni.usd": {"get_context": lambda: kit},
    }
    modules = {name: ModuleType(name) for name in functions}
    for name, module in modules.items():
        vars(module).update(functions[name])
        parent, _dot, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "/isaac-sim/workspace/hall.usd"])
    runpy.run_path(str(SCRIPT))
    return kit.log


def test_a_scene_is_opened_and_played(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Kit((True, "")), monkeypatch) == [
        "open /isaac-sim/workspace/hall.usd",
        "play",
        "scene /isaac-sim/workspace/hall.usd is open and plays",
    ]


def test_the_reason_is_logged_when_a_scene_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Kit((False, "no such file")), monkeypatch) == [
        "open /isaac-sim/workspace/hall.usd",
        "scene /isaac-sim/workspace/hall.usd could not be opened: no such file",
    ]
