#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that publishes one sample of a host's GPUs to CloudWatch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_metrics_publish
version_added: 1.0.0
short_description: Publish one sample of a host's NVIDIA GPUs to CloudWatch
description:
  - Reads every GPU of the host once through NVML, and publishes the readings to Amazon CloudWatch in one request.
  - In check mode the sample is taken and returned, and nothing is published.
  - For hosts without the service, for a cron job, or to see what the role
    P(digital_twin.robotics_lab.gpu_metrics#role) would publish. Both use the same code.
  - A metric that a GPU or its driver does not support is left out. It is never published as 0.
  - A single failed reading of a GPU is left out as well, with a warning, and RV(failed_readings) has the error.
  - Where the driver does not work C(Heartbeat) is published as 0. Without the Python package C(nvidia-ml-py), and for a
    user who may not open the driver's devices, the state of the GPUs is unknown. The module then fails, in check mode
    too, and publishes nothing.
options:
  namespace:
    description:
      - The namespace of the metrics, of 1 to 255 letters, digits and C(._-/#:).
      - It must not begin with a colon, nor with C(AWS/), which CloudWatch reserves.
    type: str
    default: DigitalTwin
  instance_id:
    description:
      - The value of the dimension C(InstanceId).
      - By default, the instance id from the metadata service of EC2.
    type: str
  dimensions:
    description:
      - More dimensions for every metric, names of 1 to 255 and values of 1 to 1024 printable ASCII characters, except
        C(InstanceId) and C(GpuIndex). A name must not begin with a colon.
    type: dict
    default: {}
  metrics:
    description:
      - The metrics to publish, any of C(GPUUtilization), C(GPUMemoryUsed), C(GPUMemoryUsedPercent),
        C(GPUMemoryUtilization), C(GPUPowerDraw), C(GPUTemperature), C(GPUSMClock), C(GPUThrottled),
        C(GPUEncoderUtilization), C(GPUDecoderUtilization), C(GPUECCErrorsCorrected), C(GPUECCErrorsUncorrected),
        C(GPURemappedRows) and C(Heartbeat).
      - C(Heartbeat) has no dimension C(GpuIndex). It is 1 when every GPU answered at least one reading and no GPU
        needs a reset, else 0.
      - With several GPUs C(GPUUtilization) is also published without C(GpuIndex), with the values of all of them, for
        an alarm that stops the instance, which can monitor one metric only. It is left out when one of them does not
        report it.
    type: list
    elements: str
    default:
      - GPUUtilization
      - GPUMemoryUsed
      - GPUMemoryUsedPercent
      - GPUPowerDraw
      - GPUTemperature
      - Heartbeat
  high_resolution:
    description: Whether CloudWatch stores the sample at a resolution of one second instead of one minute.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
requirements:
  - The Python package C(nvidia-ml-py), for the Python that the module runs in.
attributes:
  diff_mode:
    support: N/A
    details: A sample replaces nothing.
  idempotent:
    support: none
    details: Each run publishes a sample.
notes:
  - Needs the permission C(cloudwatch:PutMetricData).
seealso:
  - module: digital_twin.robotics_lab.gpu_info
  - name: PutMetricData
    description: What CloudWatch accepts.
    link: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Publish a sample now
  digital_twin.robotics_lab.gpu_metrics_publish:
    region: eu-central-1

- name: Get what would be published
  digital_twin.robotics_lab.gpu_metrics_publish:
    instance_id: workstation-7
  check_mode: true
  register: sample

- name: Publish two metrics of a host outside AWS, in a namespace of its own
  digital_twin.robotics_lab.gpu_metrics_publish:
    namespace: Lab/Workstations
    instance_id: workstation-7
    dimensions: {Room: "1.07"}
    metrics: [GPUUtilization, GPUTemperature]
    region: eu-central-1
"""

RETURN = r"""
healthy:
  description: Whether NVML worked, every GPU answered at least one reading, and no GPU needs a reset.
  returned: always
  type: bool
  sample: true
problems:
  description: Why it is not healthy, one sentence each.
  returned: always
  type: list
  elements: str
  sample: []
failed_readings:
  description: The error of each failed reading, by GPU and metric, for GPUs that answered another reading.
  returned: always
  type: dict
  sample: {"GPU 1: GPUPowerDraw": "Unknown Error (nvmlDeviceGetPowerUsage, NVML error 999)"}
instance_id:
  description: The value of the dimension C(InstanceId).
  returned: always
  type: str
  sample: i-0123456789abcdef0
gpus:
  description: The readings of each GPU, by its NVML index. Units are those of RV(metrics).
  returned: always
  type: dict
  sample: {"0": {"GPUUtilization": 42.0, "GPUMemoryUsed": 6411.0, "GPUTemperature": 47}}
metrics:
  description: The published values, one item for each.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The metric's name.
      type: str
      sample: GPUUtilization
    dimensions:
      description: Its dimensions, names and values.
      type: dict
      sample: {InstanceId: i-0123456789abcdef0, GpuIndex: "0"}
    value:
      description: Its value. Power is in watts, temperature in degrees Celsius, a clock in MHz.
      type: float
      sample: 42.0
    unit:
      description: Its unit in CloudWatch, which has none for watts, degrees and hertz.
      type: str
      sample: Percent
    timestamp:
      description: Seconds since the epoch of the second, or minute, that it counts for.
      type: int
      sample: 1796083200
"""

import contextlib
from collections.abc import Mapping
from typing import Any

# AnsibleAWSModule reports a missing botocore before it is used.
with contextlib.suppress(ImportError):
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.names import (
    DIMENSIONS_ALLOWED,
    MOST_DIMENSIONS,
    NAMESPACE,
    NAMESPACES_ALLOWED,
    OWN_DIMENSIONS,
    is_dimension,
)
from ..module_utils._gpu.metrics import DEFAULT_METRICS, UNITS
from ..module_utils._gpu_publisher.imds import IdentityUnknownError, read_identity
from ..module_utils._gpu_publisher.put_metric_data import (
    CloudWatch,
    Datum,
    RefusedPutError,
    RetryablePutError,
    datums_of,
)
from ..module_utils._gpu_publisher.sampler import Sampler
from ..module_utils._problem import Problem, shown

SPEC: dict[str, dict[str, Any]] = {
    "namespace": {"type": "str", "default": "DigitalTwin"},
    "instance_id": {"type": "str"},
    "dimensions": {"type": "dict", "default": {}},
    "metrics": {"type": "list", "elements": "str", "default": list(DEFAULT_METRICS)},
    "high_resolution": {"type": "bool", "default": False},
}

# Reasons that are not a fault of the GPUs, so that a heartbeat of 0 would be wrong.
OF_THE_CALLER = ("binding_missing", "no_permission")


def find_problem(namespace: str, dimensions: Mapping[str, str]) -> Problem | None:
    """Return why CloudWatch does not accept a namespace or dimensions; None when it does."""
    if not NAMESPACE.fullmatch(namespace):
        allowed = f"{NAMESPACES_ALLOWED}, which is CloudWatch's own"
        return Problem("namespace", shown(namespace), "is not a namespace of metrics", allowed, "use DigitalTwin")
    if len(dimensions) > MOST_DIMENSIONS:
        return Problem("dimensions", "", f"{len(dimensions)} are too many", f"{MOST_DIMENSIONS}", "leave some out")
    for name, value in dimensions.items():
        if name in OWN_DIMENSIONS:
            allowed = f"any name but {' and '.join(OWN_DIMENSIONS)}, which every metric of a GPU has"
            return Problem(
                "dimensions", shown(name), "is reserved for the module", allowed, "leave it out, or set instance_id"
            )
        if not is_dimension(name, value):
            return Problem("dimensions", shown({name: value}), "is not a dimension", DIMENSIONS_ALLOWED, "correct it")
    return None


def describe(datum: Datum) -> list[dict[str, Any]]:
    """Return each value of a datum as the module returns it."""
    return [
        {
            "name": datum.name,
            "dimensions": dict(datum.dimensions),
            "value": value,
            "unit": UNITS[datum.name],
            "timestamp": datum.time,
        }
        for value, count in datum.values
        for _each in range(count)
    ]


def main() -> None:
    """Sample, and publish."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    if unknown := [name for name in params["metrics"] if name not in UNITS]:
        module.fail_json(
            msg=f"metrics: {', '.join(unknown)} is not a metric of a GPU. Allowed: {', '.join(UNITS)}. Correct it."
        )
    more_dimensions = {name: str(value) for name, value in params["dimensions"].items()}
    if problem := find_problem(params["namespace"], more_dimensions):
        module.fail_json(msg=str(problem))
    try:
        instance_id = params["instance_id"] or read_identity().instance_id
    except IdentityUnknownError as error:
        module.fail_json(msg=f"instance_id: not set, and {error}. Set it. Outside AWS any name is accepted.")
    with contextlib.closing(Sampler(params["metrics"])) as sampler:
        sample = sampler.sample()
    if sample.reason in OF_THE_CALLER:
        module.fail_json(msg=f"The sample was not taken: {sample.problems[0]}")
    for reading, reason in sample.failed.items():
        # AnsibleAWSModule.warn passes warnings to exit_json, which ansible-core deprecates.
        warn(f"{reading} cannot be read: {reason}")
    dimensions = {"InstanceId": instance_id, **more_dimensions}
    datums = datums_of([sample], params["metrics"], dimensions, high_resolution=params["high_resolution"])
    result = {
        "healthy": sample.healthy,
        "problems": list(sample.problems),
        "failed_readings": dict(sample.failed),
        "instance_id": instance_id,
        "gpus": sample.gpus,
        "metrics": [row for datum in datums for row in describe(datum)],
    }
    if module.check_mode or not datums:
        module.exit_json(changed=False, **result)
    try:
        cloudwatch = CloudWatch(params["namespace"], params["region"] or "", lambda: module.client("cloudwatch"))
        cloudwatch.put(datums)
    except (RetryablePutError, RefusedPutError) as error:
        module.fail_json(msg=f"The sample was not published: {error}", **result)
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg="The sample was not published")
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
