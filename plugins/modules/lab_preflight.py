#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that checks whether an AWS account can take a lab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_preflight
version_added: 1.0.0
short_description: Check an AWS account before creating a lab
description:
  - Checks the description of a lab, and then the AWS account and region in which it will be created.
  - The description is checked first. AWS is contacted only when it is valid.
  - The module then only reads the account - credentials, region, instance type and zone, quotas, key pair, image,
    and the existing resources of this lab.
  - "Every problem is one line of the form C(variable: value problem. Allowed: values. Remedy). All problems
    that can be found are returned at once."
  - Most options take any type, so that a value of the wrong type gets such a line as well.
options:
  name:
    description:
      - The lab's name, from which the names and tags of all its resources are derived.
      - 3 to 32 lowercase letters, digits and dashes, beginning with a letter and ending with a letter or digit.
    type: raw
    required: true
  region:
    description:
      - The AWS region to use, such as V(us-east-1).
      - The E(AWS_REGION) or E(AWS_DEFAULT_REGION) environment variables may also be used.
    type: raw
    aliases:
      - aws_region
  vpc_cidr:
    description: The VPC's network, a private IPv4 network from /16 to /28.
    type: raw
    default: 10.0.0.0/16
  subnet_cidr:
    description: The subnet's network, inside O(vpc_cidr) and with room for O(instance_count) hosts.
    type: raw
    default: 10.0.1.0/24
  availability_zone:
    description: The zone of the first subnet. When empty, the first one that offers O(instance_type).
    type: raw
    default: ''
  instance_type:
    description: The type of the instances, an x86_64 type with an NVIDIA GPU.
    type: raw
    default: g5.xlarge
  instance_count:
    description: Number of instances, 1 to 32.
    type: raw
    default: 1
  market:
    description:
      - Where instances are bought, as in M(digital_twin.robotics_lab.instance_launch). It decides which quotas are
        checked. With V(auto), one that suffices is enough, and a warning names the other.
    type: str
    choices: [on_demand, spot, auto]
    default: on_demand
  volume_size:
    description: Size of each gp3 root volume in GiB, 100 to 65536.
    type: raw
    default: 200
  volume_iops:
    description: Provisioned IOPS of each root volume, 3000 to 80000 and at most 500 for each GiB.
    type: raw
    default: 3000
  volume_throughput:
    description: Provisioned throughput of each root volume in MiB/s, 125 to 2000 and at most a quarter of the IOPS.
    type: raw
    default: 125
  data_volume_size:
    description: Size of the gp3 data volume of each host in GiB, up to 65536. With V(0) the hosts have none.
    type: raw
    default: 0
  data_volume_iops:
    description: Provisioned IOPS of each data volume, within the limits of O(volume_iops).
    type: raw
    default: 3000
  data_volume_throughput:
    description: Provisioned throughput of each data volume in MiB/s, within the limits of O(volume_throughput).
    type: raw
    default: 125
  key_name:
    description: Name of an existing key pair in the region. When empty, the lab has its own key pair.
    type: raw
    default: ''
  public_key_file:
    description:
      - Path of the OpenSSH public key for the lab's own key pair.
      - Mutually exclusive with O(key_name). When both are empty, the lab generates a key.
    type: raw
    default: ''
  private_key_file:
    description:
      - Path of the private key by which the hosts are reached.
      - When the lab generates its own key, the key is stored in this file, which must exist once there are hosts.
      - With O(key_name) or O(public_key_file) it is the private half of that key. A file that does not exist is then
        accepted with a warning, because the key may be in an agent.
    type: raw
    default: ''
  admin_cidrs:
    description:
      - IPv4 networks that may use SSH and the ports of administrators.
      - None may be wider than /8.
    type: raw
    required: true
  viewer_cidrs:
    description:
      - IPv4 networks that may use the streams of Foxglove and Isaac Sim.
      - A network wider than /8 is accepted with a warning, as these streams have no authentication.
    type: raw
    required: true
  caller_audiences:
    description:
      - The audiences (V(admin), V(viewer)) whose list above has only the address of the caller.
      - The addresses of earlier callers, which the rules of the lab's security group name, then stay as well. They are
        returned in RV(sources).
    type: raw
    default: []
  remove_sources:
    description:
      - Addresses of earlier callers to remove.
      - The address of this caller is refused.
    type: raw
    default: []
  ports:
    description:
      - The ports to open, each a mapping with C(from_port), C(to_port), C(protocol) (V(tcp) or V(udp)) and
        C(audience) (V(admin) or V(viewer)).
      - C(description), if there is one, becomes the description of its rules. EC2 takes up to 255 letters without
        accents, digits, spaces and V(._-:/(\)#,@[]+=&;{}!$*) there.
      - Other keys are ignored.
      - Ports times sources must fit into one security group, with O(internal_ports).
    type: raw
    default: []
  internal_ports:
    description:
      - Ports to open between the hosts of the lab in addition to the ports of DDS, each a mapping as in O(ports),
        without an audience.
    type: raw
    default: []
  image:
    description: The image of the hosts, one of the keys of O(images).
    type: raw
    default: ubuntu-24.04
  image_id:
    description: ID of an image to use instead of the newest of O(image).
    type: raw
    default: ''
  images:
    description:
      - Known images by name, each a mapping with C(parameter), the public SSM parameter that holds its id, and C(user),
        the login user. Other keys are ignored.
      - C(driver) is the newest version of NVIDIA's driver in its own packages, for O(driver_minimum). An image without
        it is accepted.
      - Only the image that O(image) names needs a C(user).
    type: dict
    required: true
  driver_minimum:
    description:
      - The oldest version of NVIDIA's driver that what the hosts run requires. An image whose C(driver) is older is
        refused. When empty, the images are not checked.
    type: raw
    default: ''
  driver_module:
    description:
      - How the kernel module of the driver is chosen, V(auto), V(open) or V(proprietary).
      - With V(none) the hosts get their driver otherwise, and neither O(image) nor O(open_module) is checked.
    type: raw
    default: auto
  open_module:
    description:
      - Whether the open kernel module runs the GPU of O(instance_type), V(needed), V(possible) or V(none), as
        P(digital_twin.robotics_lab.stack_offers#filter) returns it.
    type: raw
    default: possible
  instance_catalogue:
    description:
      - Known instance types, each a mapping with at least C(type). Other keys of an entry are returned in
        RV(instance), and messages offer the type as a choice.
      - Other types are accepted as well when the region offers them with an NVIDIA GPU.
    type: list
    elements: dict
    default: []
    aliases:
      - catalogue
  ros_domain_id:
    description: The ROS 2 domain, 0 to 101.
    type: raw
    default: 0
  permissions_boundary:
    description:
      - The managed policy that limits the permissions of the hosts (permissions boundary), by its name in the caller's
        account or by its ARN.
      - Empty when the hosts have none.
    type: raw
    default: ''
  tags:
    description:
      - More tags for all resources, a mapping of text to text, within the limits of both EC2 and IAM.
      - The tags that identify the lab cannot be replaced.
    type: raw
    default: {}
  remove_excess:
    description:
      - Whether instances beyond O(instance_count) will be terminated.
      - This module terminates nothing. A warning reports what happens to such instances.
    type: raw
    default: false
  adopt:
    description:
      - IDs of resources that belong to the lab although the tags of its role do not record them, such as its VPC.
      - A lab of an earlier release that has instances is found without this.
    type: raw
    default: []
  variable_prefix:
    description: Prefix of an option's name in the variables of the user, for messages.
    type: str
    default: aws_infrastructure_
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permissions C(ec2:Describe*), C(iam:GetRole), C(iam:GetInstanceProfile) and C(ssm:GetParameter).
    Without C(servicequotas:GetServiceQuota) it warns that quotas are not checked, without
    C(ec2:GetEbsDefaultKmsKeyId) or C(kms:DescribeKey) that the key of new volumes is not.
  - Needs C(iam:GetPolicy) as well where O(permissions_boundary) names a policy.
  - Running hosts are not checked again. A host keeps its image even if AWS has withdrawn that image since.
seealso:
  - module: amazon.aws.ec2_instance
  - module: amazon.aws.ec2_vpc_net
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Check the account
  digital_twin.robotics_lab.lab_preflight:
    name: warehouse
    region: eu-central-1
    instance_type: g5.xlarge
    instance_count: 2
    admin_cidrs:
      - 203.0.113.7/32
    viewer_cidrs:
      - 203.0.113.0/24
    images:
      ubuntu-24.04:
        parameter: /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
        user: ubuntu
  register: preflight

- name: Report where the lab is going to be
  ansible.builtin.debug:
    msg: >-
      {{ preflight.account_id }}: {{ preflight.existing.missing_hosts | join(', ') | default('nothing', true) }}
      to be launched in {{ preflight.availability_zone }}

- name: Check an account with the variable names of another playbook in the messages
  digital_twin.robotics_lab.lab_preflight:
    name: "{{ fleet_name }}"
    region: "{{ fleet_region }}"
    images: "{{ fleet_images }}"
    admin_cidrs: "{{ fleet_admin_cidrs }}"
    viewer_cidrs: "{{ fleet_viewer_cidrs }}"
    variable_prefix: fleet_
"""

RETURN = r"""
account_id:
  description: Id of the AWS account that the credentials belong to.
  returned: success
  type: str
  sample: "123456789012"
caller_arn:
  description: ARN of the identity that the credentials belong to.
  returned: success
  type: str
  sample: arn:aws:iam::123456789012:user/robotics
partition:
  description: The partition of the region, as ARNs name it.
  returned: success
  type: str
  sample: aws
region:
  description: The region that was checked.
  returned: success
  type: str
  sample: eu-central-1
availability_zone:
  description: The zone of the first subnet - that of the existing lab, else the requested one, else that of a kept data
    volume, else the first that offers the instance type.
  returned: success
  type: str
  sample: eu-central-1a
availability_zones:
  description: All zones of the region that offer the instance type, for when one of them is out of capacity.
  returned: success
  type: list
  elements: str
  sample: [eu-central-1a, eu-central-1b]
instance:
  description: Properties of the instance type - from EC2, overridden by the entry of O(instance_catalogue).
  returned: success
  type: dict
  contains:
    type:
      description: The instance type.
      type: str
      sample: g5.xlarge
    in_catalogue:
      description: Whether O(instance_catalogue) has an entry for it.
      type: bool
      sample: true
    gpu:
      description: Name of its GPU.
      type: str
      sample: A10G
    gpu_count:
      description: How many GPUs it has.
      type: int
      sample: 1
    gpu_memory_gib:
      description: Memory of all its GPUs together in GiB.
      type: float
      sample: 24
    vcpus:
      description: How many vCPUs it has.
      type: int
      sample: 4
    memory_gib:
      description: Its memory in GiB.
      type: float
      sample: 16
    network_gbps:
      description: Its maximum network bandwidth in Gbit/s, or null when EC2 gives no figure.
      type: float
      sample: 25
image:
  description: The image of new hosts.
  returned: success, when there is a host to launch
  type: dict
  contains:
    image_id:
      description: Its id.
      type: str
      sample: ami-0123456789abcdef0
    name:
      description: Its name.
      type: str
      sample: ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261101
    root_size:
      description: Size of its root snapshot in GiB.
      type: int
      sample: 8
existing:
  description: Existing resources of the lab. Resources that only carry its tags are left out, and a warning lists them.
  returned: success
  type: dict
  contains:
    vpc_id:
      description: Id of its VPC, or empty.
      type: str
      sample: vpc-0123456789abcdef0
    gateway_id:
      description: Id of its internet gateway, or empty.
      type: str
      sample: igw-0123456789abcdef0
    key_pair_id:
      description: Id of its own key pair, or empty.
      type: str
      sample: key-0123456789abcdef0
    subnet_id:
      description: Id of its first subnet, or empty.
      type: str
      sample: subnet-0123456789abcdef0
    subnets:
      description: Its subnets, one in a zone.
      type: list
      elements: dict
      contains:
        subnet_id:
          description: Its id.
          type: str
          sample: subnet-0123456789abcdef0
        availability_zone:
          description: Its zone.
          type: str
          sample: us-east-1a
        cidr:
          description: Its network.
          type: str
          sample: 10.0.1.0/24
    instances:
      description: Its live instances, each with C(name), C(instance_id), C(instance_type) and C(state).
      type: list
      elements: dict
      sample: [{name: lab-1, instance_id: i-0123456789abcdef0, instance_type: g5.xlarge, state: running}]
    addresses:
      description: Its Elastic IP addresses, each with C(name), C(index), C(allocation_id) and C(public_ip).
      type: list
      elements: dict
      sample: [{name: lab-1, index: "1", allocation_id: eipalloc-0123456789abcdef0, public_ip: 203.0.113.9}]
    root_volumes:
      description: Ids of the root volumes of those instances that are its hosts.
      type: list
      elements: str
      sample: [vol-0123456789abcdef0]
    data_volumes:
      description: Ids of its data volumes, by the number of their host. One that no longer exists is listed as well.
      type: dict
      sample: {"1": vol-0123456789abcdef1}
    missing_hosts:
      description: Names of the hosts that are still to be launched.
      type: list
      elements: str
      sample: [lab-2]
record:
  description:
    - The tags with which the lab's role records what the lab created. They include what an earlier release or run
      created without recording it.
    - While resources are still to be created, they include a secret from which RV(claims) are derived.
  returned: success
  type: dict
  sample: {digital_twin_vpc: vpc-0123456789abcdef0, digital_twin_addresses_1: 1=eipalloc-0123456789abcdef0}
claims:
  description:
    - Values of the tag C(digital_twin_claim) for what is still to be created, by what it is. With them the next run
      finds resources of an interrupted run that did not record them.
    - Empty when everything is recorded.
  returned: success
  type: dict
  sample: {vpc: 0f343b0931126a20f133d67c2b018a3b}
permissions_boundary:
  description: ARN of the policy that O(permissions_boundary) names, or empty.
  returned: success
  type: str
  sample: arn:aws:iam::123456789012:policy/hosts
sources:
  description: Networks from which each audience may reach the lab, this caller first.
  returned: success
  type: dict
  sample: {admin: [203.0.113.7/32, 198.51.100.4/32], viewer: [203.0.113.0/24]}
quotas:
  description:
    - The quotas that the lab touches, each with C(service), C(code), C(title), C(unit), C(limit), C(in_use) and
      C(needed), all counted in C(unit).
    - C(limit) is null where nothing more is needed, and where it could not be read.
  returned: success
  type: list
  elements: dict
  sample:
    - service: ec2
      code: L-DB2E81BA
      title: Running On-Demand G and VT instances
      unit: vCPUs
      limit: 8
      in_use: 4
      needed: 4
lab_warnings:
  description: What does not prevent the lab, but should be known. On success these are also printed as warnings.
  returned: always
  type: list
  elements: str
  sample: []
problems:
  description: All problems, each one line.
  returned: failure
  type: list
  elements: str
  sample:
    - 'aws_infrastructure_volume_size: 50 is too small. Allowed: 100 to 65536 GiB. 200
      leaves room for models, logs and scenes'
"""

from typing import Any

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account
from ..module_utils._aws.connection import connector
from ..module_utils._preflight.checks import check_account, find_account_warnings
from ..module_utils._preflight.description import Inputs
from ..module_utils._preflight.facts import describe_account
from ..module_utils._preflight.inputs import check_inputs, read_lab
from ..module_utils._preflight.network import find_network_warnings
from ..module_utils._preflight.read import read_account
from ..module_utils._preflight.ssh_key import find_key_warnings
from ..module_utils._problem import Problem

# The options that describe the lab. Raw: Ansible would accept 5 as text, and refuse "two" without a remedy.
DESCRIPTION: dict[str, dict[str, Any]] = {
    "name": {"type": "raw", "required": True},
    "region": {
        "type": "raw",
        "aliases": ["aws_region"],
        "fallback": (env_fallback, ["AWS_REGION", "AWS_DEFAULT_REGION"]),
    },
    "vpc_cidr": {"type": "raw", "default": "10.0.0.0/16"},
    "subnet_cidr": {"type": "raw", "default": "10.0.1.0/24"},
    "availability_zone": {"type": "raw", "default": ""},
    "instance_type": {"type": "raw", "default": "g5.xlarge"},
    "instance_count": {"type": "raw", "default": 1},
    "market": {"type": "str", "choices": ["on_demand", "spot", "auto"], "default": "on_demand"},
    "volume_size": {"type": "raw", "default": 200},
    "volume_iops": {"type": "raw", "default": 3000},
    "volume_throughput": {"type": "raw", "default": 125},
    "data_volume_size": {"type": "raw", "default": 0},
    "data_volume_iops": {"type": "raw", "default": 3000},
    "data_volume_throughput": {"type": "raw", "default": 125},
    "key_name": {"type": "raw", "default": "", "no_log": False},
    "public_key_file": {"type": "raw", "default": "", "no_log": False},
    "private_key_file": {"type": "raw", "default": "", "no_log": False},
    "admin_cidrs": {"type": "raw", "required": True},
    "viewer_cidrs": {"type": "raw", "required": True},
    "caller_audiences": {"type": "raw", "default": []},
    "remove_sources": {"type": "raw", "default": []},
    "ports": {"type": "raw", "default": []},
    "internal_ports": {"type": "raw", "default": []},
    "image": {"type": "raw", "default": "ubuntu-24.04"},
    "image_id": {"type": "raw", "default": ""},
    "images": {"type": "dict", "required": True},
    "driver_minimum": {"type": "raw", "default": ""},
    "driver_module": {"type": "raw", "default": "auto"},
    "open_module": {"type": "raw", "default": "possible"},
    "instance_catalogue": {"type": "list", "elements": "dict", "default": [], "aliases": ["catalogue"]},
    "ros_domain_id": {"type": "raw", "default": 0},
    "permissions_boundary": {"type": "raw", "default": ""},
    "tags": {"type": "raw", "default": {}},
    "remove_excess": {"type": "raw", "default": False},
    "adopt": {"type": "raw", "default": []},
}


def read_inputs(params: dict[str, Any]) -> Inputs:
    """Return the lab's description as it was given."""
    return Inputs(prefix=params["variable_prefix"], **{option: params[option] for option in DESCRIPTION})


def fail_on_problems(module: AnsibleAWSModule, problems: list[Problem], warnings: list[str]) -> None:
    """Fail with all problems, one a line, if there are any."""
    if problems:
        lines = list(dict.fromkeys(map(str, problems)))
        module.fail_json(msg="\n".join(lines), problems=lines, lab_warnings=warnings)


def main() -> None:
    """Check the description, then the account, and report the problems or what was found."""
    spec = {**DESCRIPTION, "variable_prefix": {"type": "str", "default": "aws_infrastructure_"}}
    module = AnsibleAWSModule(argument_spec=spec, supports_check_mode=True)

    inputs = read_inputs(module.params)
    warnings = [*find_network_warnings(inputs), *find_key_warnings(inputs)]
    fail_on_problems(module, check_inputs(inputs), warnings)

    lab = read_lab(inputs)
    snapshot = read_account(Account(connector(module), module.params["region"]), lab)
    warnings += find_account_warnings(lab, snapshot)
    fail_on_problems(module, check_account(lab, snapshot), warnings)

    for warning in warnings:
        warn(warning)
    module.exit_json(changed=False, lab_warnings=warnings, **describe_account(lab, snapshot))


if __name__ == "__main__":
    main()
