#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets the topics of a robot from a Foxglove WebSocket server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: foxglove_info
version_added: 1.0.0
short_description: Get topics, clock and pose of a robot from a Foxglove WebSocket server
description:
  - Connects to a Foxglove WebSocket server, such as C(foxglove_bridge) of ROS 2, as Foxglove itself does, and returns
    the topics and the latest messages of some of them.
  - Shows whether a robot is visible from the host on which the module runs, whether its clock runs, and its position.
  - Changes nothing. It subscribes, and publishes nothing.
options:
  host:
    description: Name or address of the server, IPv4 or IPv6.
    type: str
    required: true
  port:
    description: Its TCP port.
    type: int
    default: 8765
  topics:
    description:
      - The topics to subscribe to, such as V(/odom). Each must be advertised within O(timeout).
      - Where several channels carry a topic, one of them is used.
    type: list
    elements: str
    default: []
  seconds:
    description:
      - How long to receive messages, 0 to 60 seconds. The module stops earlier when it has O(messages) of every topic.
      - A topic without messages in this time is not an error. Its RV(seen[].count) is 0.
    type: float
    default: 1.0
  messages:
    description: The module returns when it has received this number of messages of each topic.
    type: int
    default: 2
  timeout:
    description:
      - How long the connection, the handshake and the advertisement of all O(topics) may take, in seconds, at most 600.
        The time for resolving a name is not counted.
      - The module also waits this long for a server that advertises no topics.
    type: float
    default: 5.0
extends_documentation_fragment: digital_twin.robotics_lab._attributes.info
requirements:
  - websocket-client (Debian and Ubuntu package C(python3-websocket)) where the module runs.
notes:
  - Speaks the subprotocols C(foxglove.sdk.v1) and C(foxglove.websocket.v1), without TLS.
seealso:
  - name: Foxglove WebSocket protocol
    description: The messages between client and server.
    link: https://github.com/foxglove/ws-protocol
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the state of the robot
  digital_twin.robotics_lab.foxglove_info:
    host: 203.0.113.9
    topics: [/clock, /odom]
    seconds: 10
  delegate_to: localhost
  register: robot

- name: Check that the simulation runs
  ansible.builtin.assert:
    that:
      - robot.seen | selectattr('count', 'lt', 2) | length == 0
      - robot.seen[0].last.seconds > robot.seen[0].first.seconds
    fail_msg: "{{ robot.seen }}"

- name: Get the topics
  digital_twin.robotics_lab.foxglove_info:
    host: 127.0.0.1
"""

RETURN = r"""
server:
  description: The server's description.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: foxglove_bridge
    capabilities:
      description: Its optional features.
      type: list
      elements: str
      sample: [connectionGraph, assets]
    subprotocol:
      description: The subprotocol that the server has chosen.
      type: str
      sample: foxglove.sdk.v1
topics:
  description: The advertised channels, by topic.
  returned: success
  type: list
  elements: dict
  contains:
    topic:
      description: The topic's name.
      type: str
      sample: /odom
    schema:
      description: Name of its messages' schema.
      type: str
      sample: nav_msgs/msg/Odometry
    encoding:
      description: How its messages are encoded.
      type: str
      sample: cdr
seen:
  description: The messages on O(topics), in their order.
  returned: success
  type: list
  elements: dict
  contains:
    topic:
      description: The topic's name.
      type: str
      sample: /odom
    schema:
      description: Name of its messages' schema.
      type: str
      sample: nav_msgs/msg/Odometry
    count:
      description: How many messages were received.
      type: int
      sample: 2
    first:
      description:
        - The first message. Null without a message, if it is not encoded as CDR, or if the schema is not one of these.
        - C(rosgraph_msgs/msg/Clock) has C(seconds), the time.
        - C(geometry_msgs/msg/PoseStamped) and C(geometry_msgs/msg/PoseWithCovarianceStamped) have C(stamp), the time in
          seconds, C(position), x, y and z in metres, and C(yaw), the rotation about the vertical axis in radians.
        - C(nav_msgs/msg/Odometry) has these, and C(speed) in metres and C(turn) in radians a second.
        - A number that is infinite, or not a number, is null.
      type: dict
      sample: {stamp: 12.5, position: [1.0, 2.0, 0.0], yaw: 0.0, speed: 0.5, turn: 0.0}
    last:
      description: The last message, in the same form.
      type: dict
      sample: {stamp: 12.6, position: [1.05, 2.0, 0.0], yaw: 0.0, speed: 0.5, turn: 0.0}
"""

from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..module_utils._foxglove import client
from ..module_utils._foxglove.connection import ServerError

SPEC: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 8765},
    "topics": {"type": "list", "elements": "str", "default": []},
    "seconds": {"type": "float", "default": 1.0},
    "messages": {"type": "int", "default": 2},
    "timeout": {"type": "float", "default": 5.0},
}


LIBRARY = "websocket-client"
REMEDY = "Install that package for this Python, or run `apt install python3-websocket` for the system's Python."


def main() -> None:
    """Return what the server shows, or fail with one line."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    if find_spec("websocket") is None:
        module.fail_json(msg=f"{missing_required_lib(LIBRARY)} {REMEDY}")
    try:
        result = client.read_server(client.FoxgloveRequest(**module.params))
    except (client.FoxgloveRequestError, ServerError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
