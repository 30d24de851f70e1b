"""``python3 -m sandbox.images.ros2``: the image compose/ros2 with its variables, but for Nav2.

The command bridge is that image's own, on real ROS 2. A simulator of Nav2 and Foxglove's own server run next to it;
when one of the processes ends, all end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from urllib.parse import unquote, urlsplit

# The folder of the bridge, as in the image that is simulated.
FOLDER = os.environ.get("ROBOT_FOLDER") or "/opt/robot"
ENDING_SECONDS = 10
FAST = "rmw_fastrtps_cpp"
# How often the node checks whether it is to end, in seconds.
PAUSE = 0.5


def fast_dds(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of programs that have Fast DDS only, for that of programs with Cyclone DDS.

    The role ros2_networking writes the configurations of both into one folder.
    """
    changed = {**environment, "RMW_IMPLEMENTATION": FAST}
    if environment.get("RMW_IMPLEMENTATION", FAST) == FAST:
        return changed
    profile = Path(unquote(urlsplit(environment.get("CYCLONEDDS_URI", "")).path)).parent / "fastdds.xml"
    if profile.is_file():
        names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
        changed |= dict.fromkeys(names, str(profile))
    return {**changed, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}


def navigate() -> int:
    """Run the simulator of Nav2 and Foxglove's server until SIGTERM."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from compose.ros2.bridge import logs
    from sandbox.images.ros2.nav2 import Nav2
    from sandbox.images.ros2.viewer import Viewer

    try:
        port = int(os.environ.get("FOXGLOVE_BRIDGE_PORT") or 8765)
        failures = int(os.environ.get("BRINGUP_FAILURES") or 0)
    except ValueError as error:
        print(f"FOXGLOVE_BRIDGE_PORT and BRINGUP_FAILURES must be numbers: {error}", file=sys.stderr)
        return 2
    logs.configure()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_signal: ending.set())
    signal.signal(signal.SIGINT, lambda *_signal: ending.set())
    # ROS 2's own handler closes the node while it is in use.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("nav2")
    viewer = Viewer(node, os.environ.get("FOXGLOVE_BRIDGE_ADDRESS") or "127.0.0.1", port)
    _nav2 = Nav2(node, failures)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ending.is_set():
        executor.spin_once(PAUSE)
    viewer.close()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def main() -> int:
    """Run both processes until one ends, and return its exit status."""
    environment = fast_dds(dict(os.environ))
    programs = (["-m", "bridge"], ["-m", "sandbox.images.ros2", "nav2"])
    path = os.pathsep.join(filter(None, (str(Path.cwd()), environment.get("PYTHONPATH"))))
    processes = [
        subprocess.Popen([sys.executable, *program], cwd=FOLDER, env={**environment, "PYTHONPATH": path})
        for program in programs
    ]

    def end(_number: int, _frame: FrameType | None) -> None:
        for process in processes:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    numbers = {process.pid: process for process in processes}
    # The first process of a container also gets the orphans of others.
    while (ended := os.wait())[0] not in numbers:
        pass
    first = numbers[ended[0]]
    first.returncode = os.waitstatus_to_exitcode(ended[1])
    for process in processes:
        if process is not first:
            process.terminate()
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    return first.returncode if first.returncode >= 0 else 128 - first.returncode


if __name__ == "__main__":
    sys.exit(navigate() if sys.argv[1:] == ["nav2"] else main())
