#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that keeps the record of what a lab uses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_usage
version_added: 1.0.0
short_description: Record when the instances of a lab ran, and which volumes, snapshots and addresses it has
description:
  - Reads instances, volumes, snapshots, addresses and alarms of a lab, corrects the record of its usage by them, and
    writes what has changed.
  - The record outlives the instances. EC2 describes a terminated instance for about an hour only.
  - Instances that were started or stopped without this collection, such as by an alarm, a schedule, an interruption or
    the console, are found by EC2's own times and by the datapoints of C(StatusCheckFailed), which CloudWatch stores for
    63 days.
  - The record is in standard parameters of the SSM Parameter Store, such as
    C(/digital-twin/warehouse/usage/2026-11-1), which cost nothing. They carry the tags of the lab.
options:
  name:
    description: The name of the lab.
    type: str
    required: true
  state:
    description:
      - With V(present) the record is corrected.
      - With V(absent) it is deleted. Parameters in its place that are not part of a record stay.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
notes:
  - Needs the permissions C(ec2:DescribeInstances), C(ec2:DescribeVolumes), C(ec2:DescribeSnapshots),
    C(ec2:DescribeAddresses), C(iam:GetRole), C(cloudwatch:DescribeAlarms), C(cloudwatch:GetMetricData) and
    C(ssm:GetParametersByPath), and to write C(ssm:PutParameter), C(ssm:AddTagsToResource) and C(ssm:DeleteParameters)
    on C(parameter/digital-twin/*).
  - A run that finds nothing new writes nothing. The last known time of what goes on is written once a day.
seealso:
  - module: digital_twin.robotics_lab.lab_usage_info
  - plugin: digital_twin.robotics_lab.lab_month_cost
    plugin_type: filter
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Record the usage
  digital_twin.robotics_lab.lab_usage:
    region: us-east-1
    name: warehouse
  register: usage

- name: Report the cost of this month so far
  ansible.builtin.debug:
    msg: "{{ usage.record | digital_twin.robotics_lab.lab_month_cost(usage.month, 'us-east-1', usage.now) }}"
"""

RETURN = r"""
month:
  description: The month.
  returned: success
  type: str
  sample: 2026-11
now:
  description: The time, in UTC and ISO 8601.
  returned: success
  type: str
  sample: "2026-11-30T14:05:00+00:00"
record:
  description:
    - The record of the month, corrected until now, as texts for the filter
      P(digital_twin.robotics_lab.lab_month_cost#filter).
  returned: success
  type: list
  elements: str
  sample: ["1 2026-11\ni i-0123456789abcdef0 g5.xlarge/on-demand\n+2gw0~uk0e"]
entries:
  description: The entries of the month.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: C(instance), C(volume), C(snapshot), C(address), or C(alarm) for all alarms together.
      type: str
    identifier:
      description: Its identifier in AWS.
      type: str
    what:
      description: What it is, as far as its price depends on it.
      type: str
    start:
      description: When it began, in seconds since 1970.
      type: int
    seen:
      description: The last time that it is known to have existed.
      type: int
    end:
      description: How its end is known, C(ec2), C(metrics) or C(seen). C(open) if it has none.
      type: str
    reason:
      description: Why an instance ended, if EC2 reported it.
      type: str
    exact:
      description: Whether AWS reported the start.
      type: bool
  sample: [{kind: address, identifier: eipalloc-0123456789abcdef0, what: address, end: open}]
parameters:
  description: The parameters that were written or deleted, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/digital-twin/warehouse/usage/2026-11-1]
foreign:
  description: Parameters in the place of the record that are not part of it, which stay.
  returned: success
  type: list
  elements: str
  sample: []
"""

import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account
from ..module_utils._aws.connection import client_of, connector, region_of, run_module
from ..module_utils._aws.errors import translated
from ..module_utils._lab.names import is_lab_name
from ..module_utils._usage import parameters
from ..module_utils._usage.account import read_datapoints, read_lab
from ..module_utils._usage.entries import INSTANCE
from ..module_utils._usage.observe import update
from ..module_utils._usage.record import RecordError, month_of, read_month, write_month

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def manage(module: AnsibleAWSModule) -> dict[str, Any]:
    """Read, compare, write; return the module's result.

    Raises:
        ReadError: AWS did not answer, or refused.
        RecordError: Another parameter has the place of the record.
    """
    lab, region, now = module.params["name"], region_of(module), int(time.time())
    if not is_lab_name(lab):
        raise RecordError(f'name: "{lab}" is not the name of a lab.')
    client = client_of(module, "ssm", "ssm:GetParametersByPath")
    with translated("ssm:GetParametersByPath", region):
        stored = parameters.read(client, lab)
    entries = stored.entries()
    if module.params["state"] == "absent":
        change = parameters.Change(delete=sorted(stored.parts))
    else:
        known = {entry.identifier for entry in entries if entry.kind == INSTANCE}
        found = read_lab(Account(connector(module), region), lab, region, known)
        metrics = client_of(module, "cloudwatch", "cloudwatch:GetMetricData")
        with translated("cloudwatch:GetMetricData", region):
            points = read_datapoints(metrics, entries, found.instances, now)
        entries = update(entries, found.instances, found.things, points, now)
        change = parameters.plan(stored, entries, lab, now)
    if not module.check_mode:
        with translated("ssm:PutParameter" if change.write else "ssm:DeleteParameters", region):
            parameters.apply(client, stored, change, lab)
    month = month_of(now)
    record = write_month(entries, month) if module.params["state"] == "present" else []
    names = sorted([*change.write, *change.delete])
    return {
        "changed": bool(names),
        "month": month,
        "now": datetime.fromtimestamp(now, timezone.utc).isoformat(),
        "record": record,
        "entries": [asdict(entry) for text in record for entry in read_month(text)],
        "parameters": names,
        "foreign": sorted(stored.foreign),
        "diff": {"before": "", "after": "".join(f"{name}\n" for name in names)},
    }


def main() -> None:
    """Correct the record, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), manage, RecordError)


if __name__ == "__main__":
    main()
