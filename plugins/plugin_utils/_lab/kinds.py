# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of AWS resources that a lab consists of."""

from __future__ import annotations

# The name of one in messages, and the identifier by which the console shows it.
KINDS = {
    "instances": ("instance", "instance_id"),
    "addresses": ("address", "public_ip"),
    "volumes": ("volume", "id"),
    "data_volumes": ("data volume", "id"),
    "security_groups": ("security group", "group_id"),
    "subnets": ("subnet", "subnet_id"),
    "route_tables": ("route table", "route_table_id"),
    "internet_gateways": ("internet gateway", "internet_gateway_id"),
    "vpcs": ("VPC", "vpc_id"),
    "key_pairs": ("key pair", "key_name"),
    "instance_profiles": ("instance profile", "instance_profile_name"),
    "roles": ("role", "role_name"),
    "images": ("image", "image_id"),
    "snapshots": ("snapshot", "snapshot_id"),
}
BACKUPS = ("images", "snapshots")
