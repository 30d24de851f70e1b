"""Publishes ROS 2 messages with Foxglove's own server, like its bridge for ROS: as CDR, each with its definition."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import foxglove
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, sequence
from foxglove import Channel, Schema

from sandbox.ros_topics import TOPICS

SEPARATOR = "=" * 80


def name_of(message: type[IdlStruct]) -> str:
    """Return a type's name in ROS, as in ``std_msgs/msg/Header``."""
    package, _kind, _layer, name = str(message.__idl_typename__).split("::")
    return f"{package}/msg/{name.removesuffix('_')}"


def kind_of(hint: Any) -> tuple[str, type[IdlStruct] | None]:
    """Return a field's type as a definition has it, and the message class, if it is a message."""
    if hint is str:
        return "string", None
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, (array, sequence)):
            kind, message = kind_of(mark.subtype)
            return f"{kind}[{mark.length if isinstance(mark, array) else ''}]", message
        return str(mark), None
    return name_of(hint).replace("/msg/", "/"), hint


def fields_of(message: type[IdlStruct]) -> Iterator[tuple[str, str, type[IdlStruct] | None]]:
    """Yield each field's name, its type as a definition has it, and its message class, if it is a message."""
    for name, hint in typing.get_type_hints(message, include_extras=True).items():
        yield name, *kind_of(hint)


def definition(message: type[IdlStruct]) -> str:
    """Return a type's definition, followed by those of the messages in it."""
    parts, waiting = [message], [message]
    while waiting:
        for _name, _kind, inner in fields_of(waiting.pop(0)):
            if inner and inner not in parts:
                parts.append(inner)
                waiting.append(inner)
    lines = []
    for part in parts:
        if part is not message:
            lines += [SEPARATOR, f"MSG: {name_of(part).replace('/msg/', '/')}"]
        lines += [f"{kind} {name}" for name, kind, _reader in fields_of(part)]
    return "\n".join(lines)


class Viewer:
    """Publishes every topic to viewers."""

    def __init__(self, address: str, port: int) -> None:
        """Start the server.

        :raises RuntimeError: the port is taken.
        """
        self._channels = {
            topic: Channel(
                f"/{topic}",
                schema=Schema(name=name_of(message), encoding="ros2msg", data=definition(message).encode()),
                message_encoding="cdr",
            )
            for topic, message in TOPICS.items()
        }
        self._server = foxglove.start_server(name="digital twin", host=address, port=port)

    def show(self, topic: str, message: IdlStruct) -> None:
        """Send a message to the subscribers of its topic."""
        channel = self._channels[topic]
        if channel.has_sinks():
            channel.log(message.serialize())

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()
