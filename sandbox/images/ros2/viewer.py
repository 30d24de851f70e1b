"""Passes ROS 2 messages on to Foxglove's own server, like its bridge for ROS: as CDR, each with its definition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import foxglove
from foxglove import Channel, Schema
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, Twist
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import LaserScan
from tf2_msgs.msg import TFMessage

SEPARATOR = "=" * 80
TOPICS: dict[str, Any] = {
    "clock": Clock,
    "odom": Odometry,
    "tf": TFMessage,
    "scan": LaserScan,
    "amcl_pose": PoseWithCovarianceStamped,
    "goal_pose": PoseStamped,
    "cmd_vel": Twist,
}
# Where the generated Python names differ from a definition's.
SPELLINGS = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}


def name_of(message: Any) -> str:
    """Return a type's name in ROS, as in ``std_msgs/msg/Header``."""
    return f"{message.__module__.split('.')[0]}/msg/{message.__name__}"


def kind_of(generated: str) -> str:
    """Return a field's type as a definition has it."""
    listed = re.fullmatch(r"sequence<(.+)>", generated)
    if listed:
        return f"{kind_of(listed[1])}[]"
    plain, bracket, length = generated.partition("[")
    return f"{SPELLINGS.get(plain, plain)}{bracket}{length}"


def messages_in(message: Any) -> Iterator[Any]:
    """Yield the message classes of a type's fields."""
    for kind in message.SLOT_TYPES:
        inner = getattr(kind, "value_type", kind)
        if hasattr(inner, "namespaces"):
            package, name = inner.namespaces[0], inner.name
            yield getattr(__import__(f"{package}.msg", fromlist=[name]), name)


def definition(message: Any) -> str:
    """Return a type's definition, followed by those of the messages in it."""
    parts, waiting = [message], [message]
    while waiting:
        for inner in messages_in(waiting.pop(0)):
            if inner not in parts:
                parts.append(inner)
                waiting.append(inner)
    lines = []
    for part in parts:
        if part is not message:
            lines += [SEPARATOR, f"MSG: {name_of(part).replace('/msg/', '/')}"]
        lines += [f"{kind_of(kind)} {name}" for name, kind in part.get_fields_and_field_types().items()]
    return "\n".join(lines)


class Viewer:
    """Publishes every topic to viewers."""

    def __init__(self, node: Any, address: str, port: int) -> None:
        """Start the server, and subscribe to the topics.

        :raises RuntimeError: the port is taken.
        """
        for topic, message in TOPICS.items():
            channel = Channel(
                f"/{topic}",
                schema=Schema(name=name_of(message), encoding="ros2msg", data=definition(message).encode()),
                message_encoding="cdr",
            )
            node.create_subscription(message, topic, self._passer(channel), 10, raw=True)
        self._server = foxglove.start_server(name="digital twin", host=address, port=port)

    @staticmethod
    def _passer(channel: Channel) -> Any:
        def show(message: bytes) -> None:
            if channel.has_sinks():
                channel.log(message)

        return show

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()
