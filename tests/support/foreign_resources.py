# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of another owner that a caller with ec2:CreateTags only has given a lab's tags.

Each is created without tags, and then tagged like the most similar resource of the lab.
"""

from __future__ import annotations

from typing import Any


class ForeignResources:
    """Creates resources of another owner in an account.

    Attributes:
        ids: Their ids by description.
    """

    def __init__(self, client: Any, lab: str) -> None:
        """Store the client and the tags.

        Args:
            client: boto3's client of EC2.
            lab: The name of the lab whose tags they get.
        """
        self._ec2 = client
        self._lab = lab
        self.ids: dict[str, str] = {}

    def tag(self, what: str, identifier: str, name: str, host: str = "") -> str:
        """Tag a resource like the lab's, and store its id."""
        tags = {"digital_twin_lab": self._lab, "managed_by": "digital_twin.robotics_lab", "Name": name}
        if host:
            tags.update(digital_twin_index=host, digital_twin_ssh_user="ubuntu", digital_twin_gpus="1")
        self._ec2.create_tags(Resources=[identifier], Tags=[{"Key": key, "Value": tags[key]} for key in tags])
        self.ids[what] = identifier
        return identifier

    def launch(self, what: str, image: str, host: str, **more: Any) -> str:
        """Launch an instance, and tag it as a host of the lab."""
        wanted = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
        identifier = str(self._ec2.run_instances(**wanted)["Instances"][0]["InstanceId"])
        return self.tag(what, identifier, f"{self._lab}-{host}", host)

    def network(self) -> None:
        """Create a network with all parts of the lab's, under its names."""
        ec2, lab = self._ec2, self._lab
        vpc = self.tag("VPC", ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"], f"{lab}-vpc")
        made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]
        self.tag("subnet", made["SubnetId"], f"{lab}-subnet")
        group = ec2.create_security_group(GroupName=f"{lab}-sg", Description="web", VpcId=vpc)["GroupId"]
        self.tag("security group", group, f"{lab}-sg")
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        self.tag("route table", table, f"{lab}-routes")
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        self.tag("internet gateway", gateway, f"{lab}-igw")
        spare = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.tag("spare internet gateway", spare, f"{lab}-igw")

    def key_pair(self) -> None:
        """Create a key pair."""
        pair = self._ec2.create_key_pair(KeyName="foreign-key")["KeyPairId"]
        self.tag("key pair", pair, self._lab)

    def leave(self) -> None:
        """Delete the network and the key pair."""
        ec2, ids = self._ec2, self.ids
        ec2.detach_internet_gateway(InternetGatewayId=ids["internet gateway"], VpcId=ids["VPC"])
        for what in ("internet gateway", "spare internet gateway"):
            ec2.delete_internet_gateway(InternetGatewayId=ids[what])
        ec2.delete_route_table(RouteTableId=ids["route table"])
        ec2.delete_security_group(GroupId=ids["security group"])
        ec2.delete_subnet(SubnetId=ids["subnet"])
        ec2.delete_vpc(VpcId=ids["VPC"])
        ec2.delete_key_pair(KeyName="foreign-key")

    def everything(self, image: str, zone: str) -> None:
        """Create one of each kind outside the lab's network."""
        ec2, lab = self._ec2, self._lab
        self.network()
        self.key_pair()
        server = self.launch("instance in the default VPC", image, "1")
        self.launch("instance beyond the count", image, "9")
        held = ec2.allocate_address(Domain="vpc")["AllocationId"]
        ec2.associate_address(AllocationId=held, InstanceId=server)
        self.tag("address that is held", held, f"{lab}-1", "1")
        for what, host in (("free address", "1"), ("free address beyond the count", "9")):
            self.tag(what, ec2.allocate_address(Domain="vpc")["AllocationId"], f"{lab}-{host}", host)
        disk = ec2.create_volume(AvailabilityZone=zone, Size=10)["VolumeId"]
        snapshot = self.tag("snapshot", ec2.create_snapshot(VolumeId=disk)["SnapshotId"], f"{lab}-1")
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
        volume = ec2.create_volume(AvailabilityZone=zone, Size=10, SnapshotId=snapshot)["VolumeId"]
        self.tag("volume", volume, f"{lab}-1")
        self.tag("image", ec2.create_image(InstanceId=server, Name="theirs")["ImageId"], f"{lab}-1")

    def guests(self, image: str, subnet: str, profile: str) -> None:
        """Launch instances in the lab's own network, with another key or profile, and one in the other network."""
        self.launch("instance in a network like the lab's", image, "1", SubnetId=self.ids["subnet"])
        self.launch(
            "instance with another key",
            image,
            "1",
            SubnetId=subnet,
            KeyName="foreign-key",
            IamInstanceProfile={"Name": f"{self._lab}-instance"},
        )
        self.launch(
            "instance with another profile",
            image,
            "2",
            SubnetId=subnet,
            KeyName=self._lab,
            IamInstanceProfile={"Name": profile},
        )

    def missing(self) -> list[str]:
        """Return which of them no longer exist."""
        return missing(self._ec2, self.ids)

    def names(self) -> dict[str, str]:
        """Return the name of each in messages."""
        held = self._ec2.describe_addresses()["Addresses"]
        addresses = {row["AllocationId"]: row["PublicIp"] for row in held}
        pairs = {row["KeyPairId"]: row["KeyName"] for row in self._ec2.describe_key_pairs()["KeyPairs"]}
        shown = {**addresses, **pairs}
        return {what: shown.get(identifier, identifier) for what, identifier in self.ids.items()}


def missing(ec2: Any, ids: dict[str, str]) -> list[str]:
    """Return the descriptions of those that no longer exist.

    Args:
        ec2: boto3's client of EC2.
        ids: Ids by description.
    """
    reads: dict[str, tuple[str, str, str, dict[str, Any]]] = {
        "vpc-": ("describe_vpcs", "Vpcs", "VpcId", {}),
        "subnet-": ("describe_subnets", "Subnets", "SubnetId", {}),
        "sg-": ("describe_security_groups", "SecurityGroups", "GroupId", {}),
        "rtb-": ("describe_route_tables", "RouteTables", "RouteTableId", {}),
        "igw-": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId", {}),
        "key-": ("describe_key_pairs", "KeyPairs", "KeyPairId", {}),
        "eipalloc-": ("describe_addresses", "Addresses", "AllocationId", {}),
        "vol-": ("describe_volumes", "Volumes", "VolumeId", {}),
        "snap-": ("describe_snapshots", "Snapshots", "SnapshotId", {"OwnerIds": ["self"]}),
        "ami-": ("describe_images", "Images", "ImageId", {"Owners": ["self"]}),
    }
    there = {
        str(row[name])
        for operation, key, name, arguments in reads.values()
        for row in getattr(ec2, operation)(**arguments)[key]
    }
    reservations = ec2.describe_instances()["Reservations"]
    there |= {
        row["InstanceId"] for entry in reservations for row in entry["Instances"] if row["State"]["Name"] == "running"
    }
    return [what for what, identifier in ids.items() if identifier not in there]
