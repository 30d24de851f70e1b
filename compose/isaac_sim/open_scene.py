# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens the scene that its argument names, and plays it: ROS topics are published in a playing stage only.

Isaac Sim runs it, by ``--exec``. It follows Kit's documentation.
"""

from __future__ import annotations

import sys
import time

import omni.kit.app
import omni.kit.async_engine
import omni.timeline
import omni.usd

# How long to wait for another stage to be opened or closed, in seconds.
STAGE_TIMEOUT = 300


async def open_scene(scene: str) -> None:
    """Open and play a scene, and log the result."""
    app, context = omni.kit.app.get_app(), omni.usd.get_context()
    end = time.monotonic() + STAGE_TIMEOUT
    while not context.can_open_stage() and time.monotonic() < end:
        await app.next_update_async()
    opened, reason = await context.open_stage_async(scene)
    if opened:
        await app.next_update_async()
        omni.timeline.get_timeline_interface().play()
    app.print_and_log(f"scene {scene} {'is open and plays' if opened else f'could not be opened: {reason}'}")


omni.kit.async_engine.run_coroutine(open_scene(sys.argv[1]))
