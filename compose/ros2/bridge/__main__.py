# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m bridge``: the ROS 2 node, with the bridge in a thread of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from . import config, logs
from .bridge import Bridge
from .inbox import Inbox, connect
from .nav2_client import InitialPose, Nav2Client
from .places import PlacesError, read_places

LOG = logging.getLogger("bridge")
# How often the node checks whether it is to end, in seconds.
PAUSE = 0.5


def main() -> int:
    """Run the node; return 2 if its configuration is not valid."""
    try:
        settings = config.load(os.environ)
        places = read_places(settings.places_file)
    except (config.ConfigError, PlacesError) as error:
        print(f"the bridge cannot start: {error}", file=sys.stderr)
        return 2
    logs.configure()
    # ROS 2's own handler closes the node while the bridge still uses it.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("command_bridge")
    nav2 = Nav2Client(node, give_up=_restart)
    nav2.bridge = Bridge(Inbox(connect(settings), settings), nav2, places, settings)
    initial_pose = InitialPose(node, *settings.initial_pose) if settings.initial_pose else None
    LOG.info("starting", extra={"fields": {"places": list(places), "initial_pose": initial_pose is not None}})
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_signal: end.set())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=_drive, args=(nav2.bridge, end), name="bridge")
    thread.start()
    try:
        while not end.is_set():
            executor.spin_once(PAUSE)
        LOG.info("ending")
    finally:
        end.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _restart() -> None:
    """End the process at once; the container and everything in it is restarted."""
    os._exit(1)


def _drive(bridge: Bridge, end: threading.Event) -> None:
    """Run the bridge; when it fails, the process exits and is restarted."""
    try:
        bridge.run(end)
    except Exception:
        LOG.exception("internal_error")
        _restart()


if __name__ == "__main__":
    sys.exit(main())
