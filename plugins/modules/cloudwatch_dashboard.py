#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that creates, updates or deletes a CloudWatch dashboard."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_dashboard
version_added: 1.0.0
short_description: Create, update or delete a CloudWatch dashboard
description:
  - Creates, changes or deletes a dashboard of Amazon CloudWatch.
  - Compares content. Neither the order of keys nor white space makes a difference.
options:
  name:
    description:
      - The dashboard's name, 1 to 255 letters, digits, dashes and underscores.
      - Dashboards belong to the account. A name refers to the same dashboard in all regions.
    type: str
    required: true
  state:
    description: Whether the dashboard should exist.
    type: str
    choices: [present, absent]
    default: present
  body:
    description:
      - The content of the dashboard, as a mapping or as JSON text, in the structure that CloudWatch documents.
      - Required with O(state=present).
    type: raw
  marker:
    description:
      - A text that identifies your dashboards. O(body) must contain it in the markdown of a text widget.
      - An existing dashboard without it belongs to another owner. The module then fails with O(state=present), and
        leaves it with O(state=absent), see RV(foreign).
      - When empty, any dashboard of that name is yours.
    type: str
    default: ''
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
attributes:
  check_mode:
    details: CloudWatch does not validate the body.
notes:
  - Needs the permissions C(cloudwatch:GetDashboard), C(cloudwatch:PutDashboard) and C(cloudwatch:DeleteDashboards).
  - Three dashboards of up to 50 metrics are free for each account. Each further one costs 3 US dollars a month.
seealso:
  - module: amazon.aws.cloudwatch_metric_alarm
  - module: digital_twin.robotics_lab.cloudwatch_metrics_info
  - name: Dashboard body structure and syntax
    description: The structure of O(body).
    link: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Show the processor of an instance
  digital_twin.robotics_lab.cloudwatch_dashboard:
    name: warehouse
    region: eu-central-1
    body:
      widgets:
        - type: metric
          x: 0
          y: 0
          width: 12
          height: 6
          properties:
            region: eu-central-1
            title: CPU
            metrics:
              - [AWS/EC2, CPUUtilization, InstanceId, i-0123456789abcdef0]

- name: Create a dashboard from a file
  digital_twin.robotics_lab.cloudwatch_dashboard:
    name: warehouse
    body: "{{ lookup('ansible.builtin.file', 'dashboard.json') }}"

- name: Delete the dashboard
  digital_twin.robotics_lab.cloudwatch_dashboard:
    name: warehouse
    state: absent
"""

RETURN = r"""
name:
  description: The dashboard's name.
  returned: success
  type: str
  sample: warehouse
dashboard_arn:
  description: Its ARN; empty when the dashboard does not exist, as in check mode before it is created.
  returned: success
  type: str
  sample: arn:aws:cloudwatch::123456789012:dashboard/warehouse
foreign:
  description: Whether a dashboard of that name without O(marker) exists, and was left unchanged.
  returned: success
  type: bool
  sample: false
validation_messages:
  description:
    - Warnings of CloudWatch about a body that it accepted. The module prints them as warnings.
    - Empty when nothing was written.
  returned: success
  type: list
  elements: dict
  contains:
    data_path:
      description: Position in the body.
      type: str
      sample: /widgets/0/properties
    message:
      description: The warning.
      type: str
      sample: Property "foo" is not recognised.
  sample: []
"""

from typing import Any

from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import dashboard
from ..module_utils._aws.connection import client_of, region_of, run_module

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "body": {"type": "raw"},
    "marker": {"type": "str", "default": ""},
}


def apply(module: AnsibleAWSModule) -> dict[str, Any]:
    """Read, compare, write; return the module's result.

    Raises:
        DashboardError: the options or the body are invalid.
        ReadError: CloudWatch did not answer.
    """
    name, region, marker = dashboard.check_name(module.params["name"]), region_of(module), module.params["marker"]
    wanted = dashboard.parse_body(module.params["body"]) if module.params["state"] == "present" else None
    if wanted is not None and marker:
        dashboard.check_marker(wanted, marker)
    client = client_of(module, "cloudwatch", "cloudwatch:GetDashboard")
    found = dashboard.read(client, name, region)
    foreign = found is not None and bool(marker) and not dashboard.has_marker(found.body, marker)
    if foreign and wanted is not None:
        raise dashboard.DashboardError(dashboard.foreign(name, marker))
    before = dashboard.pretty(found.body) if found else ""
    texts = {"before": before, "after": before if foreign else dashboard.pretty(wanted) if wanted is not None else ""}
    changed = texts["before"] != texts["after"]
    messages: list[dashboard.Message] = []
    if changed and not module.check_mode:
        if wanted is None:
            dashboard.delete(client, name, region)
        else:
            messages = dashboard.write(client, name, wanted, region)
        found = dashboard.read(client, name, region)
    for message in messages:
        warn(f"CloudWatch about the dashboard {name}: {message.data_path}: {message.message}")
    header = f"dashboard {name}"
    return {
        "changed": changed,
        "diff": {**texts, "before_header": header, "after_header": header},
        "name": name,
        "dashboard_arn": found.arn if found and wanted is not None else "",
        "foreign": foreign,
        "validation_messages": [vars(message) for message in messages],
    }


def main() -> None:
    """Create, update or delete the dashboard, or fail with one line for each reason."""
    module = AnsibleAWSModule(
        argument_spec=SPEC, required_if=[("state", "present", ["body"])], supports_check_mode=True
    )
    run_module(module, apply, dashboard.DashboardError)


if __name__ == "__main__":
    main()
