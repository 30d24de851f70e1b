#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that tells what a Foxglove WebSocket server shows of a robot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: foxglove_info
version_added: 1.0.0
short_description: Get topics, clock and pose of a robot from a Foxglove WebSocket server
description:
  - Connects to a Foxglove WebSocket server, such as C(foxglove_bridge) of ROS 2, as Foxglove itself does, and returns
    the topics and the latest messages of some of them.
  - Shows whether a robot is visible from where the module runs, whether its clock runs, and where it is.
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
      - The topics to listen to, such as V(/odom). Each must be advertised within O(timeout).
      - Where several channels carry a topic, one of them is listened to.
    type: list
    elements: str
    default: []
  seconds:
    description:
      - How long to listen at most, 0 to 60 seconds. It ends earlier once there are O(messages) of every topic.
      - A topic on which nothing is said in this time is no error. Its RV(seen[].count) is 0 then.
    type: float
    default: 1.0
  messages:
    description: How many messages of each topic are enough.
    type: int
    default: 2
  timeout:
    description:
      - How long it may take, in seconds, to connect, to shake hands, and until all of O(topics) are advertised, at most
        600. What the resolver takes for a name is not counted.
      - A server that advertises nothing at all is waited for as long.
    type: float
    default: 5.0
attributes:
  check_mode:
    description: Can run in check mode and does the same there.
    support: full
  diff_mode:
    description: Returns no difference, as nothing is ever changed.
    support: none
  idempotent:
    description: Can be repeated without any effect on the server.
    support: full
notes:
  - Speaks the subprotocols C(foxglove.sdk.v1) and C(foxglove.websocket.v1), without TLS.
  - Needs nothing but Python 3.9 or newer where it runs.
seealso:
  - name: Foxglove WebSocket protocol
    description: What the server is asked and what it answers.
    link: https://github.com/foxglove/ws-protocol
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Look at the robot
  digital_twin.robotics_lab.foxglove_info:
    host: 203.0.113.9
    topics: [/clock, /odom]
    seconds: 10
  delegate_to: localhost
  register: robot

- name: Refuse a simulation that stands still
  ansible.builtin.assert:
    that:
      - robot.seen | selectattr('count', 'lt', 2) | length == 0
      - robot.seen[0].last.seconds > robot.seen[0].first.seconds
    fail_msg: "{{ robot.seen }}"

- name: Tell which topics there are
  digital_twin.robotics_lab.foxglove_info:
    host: 127.0.0.1
"""

RETURN = r"""
server:
  description: What the server tells of itself.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: foxglove_bridge
    capabilities:
      description: What else it can do.
      type: list
      elements: str
      sample: [connectionGraph, assets]
    subprotocol:
      description: The subprotocol that it has chosen.
      type: str
      sample: foxglove.sdk.v1
topics:
  description: What it advertises, by topic.
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
  description: What was said on O(topics), in their order.
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
      description: How many messages came.
      type: int
      sample: 2
    first:
      description:
        - The first of them. Null where none came, where it is not CDR, or where the schema is none of these.
        - C(rosgraph_msgs/msg/Clock) has C(seconds), the time.
        - C(geometry_msgs/msg/PoseStamped) and C(geometry_msgs/msg/PoseWithCovarianceStamped) have C(stamp), the time in
          seconds, C(position), x, y and z in metres, and C(yaw), the angle about the vertical in radians.
        - C(nav_msgs/msg/Odometry) has these, and C(speed) in metres and C(turn) in radians a second.
        - A number that is infinite, or not a number, is null.
      type: dict
      sample: {stamp: 12.5, position: [1.0, 2.0, 0.0], yaw: 0.0, speed: 0.5, turn: 0.0}
    last:
      description: The last of them, in the same form.
      type: dict
      sample: {stamp: 12.6, position: [1.05, 2.0, 0.0], yaw: 0.0, speed: 0.5, turn: 0.0}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._foxglove import client
from ..module_utils._foxglove.websocket import ServerError

SPEC: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 8765},
    "topics": {"type": "list", "elements": "str", "default": []},
    "seconds": {"type": "float", "default": 1.0},
    "messages": {"type": "int", "default": 2},
    "timeout": {"type": "float", "default": 5.0},
}


def main() -> None:
    """Tell what the server shows, or in one line why that is not known."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = client.look(client.Request(**module.params))
    except (client.RequestError, ServerError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
