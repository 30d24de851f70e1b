# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launch hosts: one call of RunInstances for each offer, until one succeeds or none is left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .._aws.errors import ReadError, translated
from .._aws.resources import read_tags
from .._lab.ownership import INDEX_TAG
from .._lab.record import MANAGED_BY
from .calls import LONGEST_PAUSE, call_once, explain
from .errors import RENEW, STOP, WAIT, ZONE_CODES, Refusal
from .offers import ON_DEMAND, SPOT, Offer, Search
from .prices import Price
from .problem import Launch, describe_end
from .request import Machine, Place, arguments, free_network, tag_list, token_of
from .spot import cancel, settle

GPUS_TAG = "digital_twin_gpus"
LIVE = ("pending", "running", "stopping", "stopped")
# Seconds between two looks at a new instance.
LOOK = 2
# The code of a token that was used with other arguments, and how long EC2 may take to describe that call's instance.
MISMATCH, MISMATCH_SECONDS = "IdempotentParameterMismatch", 10.0
# Each belongs to a terminated instance of this host in this VPC.
MOST_TOKENS = 50


class StopError(Exception):
    """A failure that no other offer can cure, as the line for the user."""


@dataclass(frozen=True)
class Try:
    """One offer that was tried.

    Attributes:
        host: The host's name.
        offer: Where.
        seconds: How long it took.
        instance_id: The new instance; empty when it failed.
        refusal: Why it failed.
    """

    host: str
    offer: Offer
    seconds: float
    instance_id: str = ""
    refusal: Refusal | None = None

    def __str__(self) -> str:
        """Return it in one line."""
        result = f"{self.instance_id} runs" if self.refusal is None else f"{self.refusal.code}: {self.refusal.text}"
        return f"{self.host}: {self.offer}: {result}"


def lab_tags(name: str) -> dict[str, str]:
    """Return the tags by which a lab's resources are found."""
    return {"digital_twin_lab": name, "managed_by": MANAGED_BY}


def read_instances(ec2: Any, region: str, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return instances.

    Raises:
        ReadError: AWS did not answer.
    """
    with translated("ec2:DescribeInstances", region):
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return [instance for page in pages for group in page["Reservations"] for instance in group["Instances"]]


def read_hosts(ec2: Any, region: str, name: str, vpc_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the instances of a lab in its VPC that have not ended, by their number.

    Raises:
        ReadError: AWS did not answer.
    """
    filters = [
        *({"Name": f"tag:{key}", "Values": [value]} for key, value in lab_tags(name).items()),
        {"Name": "vpc-id", "Values": [vpc_id]},
        {"Name": "instance-state-name", "Values": list(LIVE)},
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for instance in read_instances(ec2, region, filters):
        found.setdefault(read_tags(instance.get("Tags")).get(INDEX_TAG, ""), []).append(instance)
    return found


@dataclass
class Launcher:
    """Launches the hosts of a lab.

    Attributes:
        ec2: A client of EC2.
        once: A client of EC2 that does not repeat a call.
        region: Their region.
        machine: What the hosts have in common.
        place: The lab's subnets, to which this adds.
        search: The offers, of which failed ones are not tried for the next host.
        tags: The lab's tags, for its subnets.
        name: The lab's name.
        prefix: How the user's variables begin.
        patience: Seconds for which a call that AWS may still carry out is repeated.
        timeout: Seconds for an instance to run.
        tries: What was tried.
        made: The subnets that this has created, by zone.
        prices: What instance types cost on demand.
        lines: What was tried and found, for the user.
    """

    ec2: Any
    once: Any
    region: str
    machine: Machine
    place: Place
    search: Search
    tags: dict[str, str]
    name: str
    prefix: str
    patience: float
    timeout: float
    tries: list[Try] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def launch(self, host: str, tags: dict[str, str], gpus: dict[str, int], zone: str = "") -> dict[str, Any] | None:
        """Launch a host and return its instance; None when all offers have failed.

        Args:
            host: Its name.
            tags: Its tags.
            gpus: The number of GPUs of each instance type, for the tag that the host's metrics need.
            zone: The only zone that is possible; empty for any.

        Raises:
            StopError: No other offer can help.
            ReadError: AWS refused or did not answer another call.
        """
        return self._recover(host, tags, gpus) or self.try_offers(host, tags, gpus, zone)

    def try_offers(
        self, host: str, tags: dict[str, str], gpus: dict[str, int], zone: str = ""
    ) -> dict[str, Any] | None:
        """Launch a host as `launch` does, without a look at earlier spot requests."""
        dearer = False
        while offer := self.search.next(zone):
            if offer.market == ON_DEMAND and not offer.reservation and self._spot_failed() and not dearer:
                price = self.prices.get(offer.instance_type, Price())
                self.lines.append(f"{host}: there is no spot instance for it; {offer.instance_type} on demand {price}")
                dearer = True
            started = time.monotonic()
            found = self._try(host, tags | {GPUS_TAG: str(gpus.get(offer.instance_type, 0))}, offer)
            seconds = round(time.monotonic() - started, 1)
            if not isinstance(found, Refusal):
                self._note(Try(host, offer, seconds, found["InstanceId"]))
                return found
            self._note(Try(host, offer, seconds, "", found))
            self.search.fail(offer, found)
            if offer.market == SPOT:
                recovered = self._recover(host, tags, gpus)
                if recovered:
                    return recovered
        return None

    def clean(self) -> None:
        """Delete the subnets that this has created and that no instance uses."""
        used = {attempt.offer.zone for attempt in self.tries if attempt.instance_id}
        for zone in [zone for zone in self.made if zone not in used]:
            with translated("ec2:DeleteSubnet", self.region):
                self.ec2.delete_subnet(SubnetId=self.made[zone])
            del self.made[zone], self.place.subnets[zone]

    def _note(self, attempt: Try) -> None:
        """Save what was tried."""
        self.tries.append(attempt)
        self.lines.append(str(attempt))

    def _spot_failed(self) -> bool:
        """Return whether a spot offer has failed."""
        return any(offer.market == SPOT for offer in self.search.failed)

    def _recover(self, host: str, tags: dict[str, str], gpus: dict[str, int]) -> dict[str, Any] | None:
        """Return the instance that an earlier spot request of a host has launched, tagged as the host's.

        Raises:
            StopError: There are several.
            ReadError: AWS refused or did not answer.
        """
        own = lab_tags(self.name) | {INDEX_TAG: tags[INDEX_TAG]}
        identifiers = settle(self.ec2, self.region, own, self.place.subnets.values())
        filters = [
            {"Name": "instance-id", "Values": identifiers},
            {"Name": "vpc-id", "Values": [self.machine.vpc_id]},
            {"Name": "instance-state-name", "Values": list(LIVE)},
        ]
        found = read_instances(self.ec2, self.region, filters) if identifiers else []
        if not found:
            return None
        if len(found) > 1:
            names = ", ".join(instance["InstanceId"] for instance in found)
            raise StopError(
                f"{host}: its spot requests have several instances ({names}). Terminate all but one of them."
            )
        (instance,) = found
        disks = instance.get("BlockDeviceMappings", [])
        volumes = [disk["Ebs"]["VolumeId"] for disk in disks if "Ebs" in disk]
        given = tags | {GPUS_TAG: str(gpus.get(instance["InstanceType"], 0))}
        with translated("ec2:CreateTags", self.region):
            self.ec2.create_tags(Resources=[instance["InstanceId"], *volumes], Tags=tag_list(given))
        self.lines.append(f"{host}: {instance['InstanceId']}, which its spot request had launched, is used")
        return instance

    def _try(self, host: str, tags: dict[str, str], offer: Offer) -> dict[str, Any] | Refusal:
        """Try one offer, and return the running instance or why there is none."""
        subnet_id = self._subnet(offer.zone)
        if not subnet_id:
            text = f"{self.place.network} has no room for another subnet of the size of {self.place.first}"
            return Refusal("InsufficientFreeAddressesInSubnet", text, 400)
        about = Launch(host, offer.instance_type, offer.zone, prefix=self.prefix)
        found = self._run(host, tags, offer, subnet_id)
        if isinstance(found, Refusal):
            if found.meaning in (STOP, WAIT, RENEW):
                raise StopError(explain(found, about, "RunInstances", self.region))
            return found
        return self._await(found, about)

    def _run(self, host: str, tags: dict[str, str], offer: Offer, subnet_id: str) -> dict[str, Any] | Refusal:
        """Call RunInstances until AWS has answered, and return the instance or the refusal."""
        named = " ".join(filter(None, [host, self.machine.origin]))
        serial, pause, end = 0, 1, time.monotonic() + self.patience
        while True:
            token = token_of(subnet_id, named, offer, serial)
            found = self._call(arguments(self.machine, offer, subnet_id, tags, token))
            if not isinstance(found, Refusal) and found["State"]["Name"] in LIVE:
                return found
            if isinstance(found, Refusal) and found.meaning == WAIT:
                if time.monotonic() + pause > end:
                    return found
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            if isinstance(found, Refusal) and found.meaning != RENEW:
                return found
            mismatch = isinstance(found, Refusal) and found.code == MISMATCH
            earlier = self._with_token(token, MISMATCH_SECONDS if mismatch else 0)
            if earlier:
                return earlier
            serial += 1
            if serial > MOST_TOKENS:
                return Refusal(MISMATCH, f"{MOST_TOKENS} launches of {host} have ended", 400)

    def _call(self, given: dict[str, Any]) -> dict[str, Any] | Refusal:
        """Call RunInstances once."""
        answer = call_once(self.once.run_instances, "ec2:RunInstances", self.region, **given)
        if isinstance(answer, Refusal):
            return answer
        instance: dict[str, Any] = answer["Instances"][0]
        return instance

    def _with_token(self, token: str, seconds: float) -> dict[str, Any] | None:
        """Return the instance that an earlier call with a token has made, if it still exists.

        EC2 may describe a new instance some seconds later, so this looks for it again.
        """
        end = time.monotonic() + seconds
        filters = [
            {"Name": "vpc-id", "Values": [self.machine.vpc_id]},
            {"Name": "instance-state-name", "Values": list(LIVE)},
        ]
        while True:
            found = read_instances(self.ec2, self.region, filters)
            earlier = next((instance for instance in found if instance.get("ClientToken") == token), None)
            if earlier or time.monotonic() + LOOK > end:
                return earlier
            time.sleep(LOOK)

    def _await(self, instance: dict[str, Any], about: Launch) -> dict[str, Any] | Refusal:
        """Wait until a new instance runs, and return it; a refusal when AWS ended it for want of capacity."""
        identifier, end = instance["InstanceId"], time.monotonic() + self.timeout
        while True:
            filters = [{"Name": "instance-id", "Values": [identifier]}]
            # By a filter, as EC2 may not know a new instance by its id yet.
            instance = next(iter(read_instances(self.ec2, self.region, filters)), instance)
            state = instance["State"]["Name"]
            if state == "running":
                return instance
            if state != "pending":
                return self._ended(instance, about)
            if time.monotonic() + LOOK > end:
                raise StopError(
                    f"{about.host}: {identifier} is still {state} after {self.timeout:.0f} s in {about.zone}. Run this "
                    f"again; if it never runs, look at aws ec2 describe-instances --instance-ids {identifier}."
                )
            time.sleep(LOOK)

    def _ended(self, instance: dict[str, Any], about: Launch) -> Refusal:
        """Return why a new instance ended; raise when another offer would end as well."""
        request = instance.get("SpotInstanceRequestId")
        if request:
            # A persistent request would launch another one.
            cancel(self.ec2, self.region, [request])
            if instance["State"]["Name"] in LIVE:
                with translated("ec2:TerminateInstances", self.region):
                    self.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        reason = instance.get("StateReason") or {}
        code, text = str(reason.get("Code", "")), str(reason.get("Message", ""))
        rest = code.partition(".")[2]
        # Without a request, an instance that has only stopped is the host, and another offer would be a second one.
        if rest in ZONE_CODES and (request or instance["State"]["Name"] not in LIVE):
            return Refusal(rest, " ".join(text.removeprefix(f"{code}:").split()), 500)
        raise StopError(describe_end(code, text, about))

    def _subnet(self, zone: str) -> str:
        """Return the lab's subnet in a zone, created when it is missing; empty when the VPC has no room."""
        if zone in self.place.subnets:
            identifier = self.place.subnets[zone]
            # A run that was killed may have created it only.
            if identifier not in self.place.routed and self.place.tables:
                self._route(identifier)
            return identifier
        network = free_network(self.place)
        if not network:
            return ""
        if not self.place.tables:
            raise StopError(f"{self.machine.vpc_id} has no route table with the tags of {self.name}. Create it first.")
        tags = {**self.tags, "Name": f"{self.name}-subnet"}
        with translated("ec2:CreateSubnet", self.region):
            subnet = self.ec2.create_subnet(
                VpcId=self.machine.vpc_id,
                CidrBlock=network,
                AvailabilityZone=zone,
                TagSpecifications=[{"ResourceType": "subnet", "Tags": tag_list(tags)}],
            )["Subnet"]
        identifier = str(subnet["SubnetId"])
        self.made[zone] = self.place.subnets[zone] = identifier
        self.place.taken.append(network)
        self._route(identifier)
        return identifier

    def _route(self, subnet_id: str) -> None:
        """Put a new subnet into the lab's route table."""
        end = time.monotonic() + self.patience
        while True:
            try:
                with translated("ec2:AssociateRouteTable", self.region):
                    self.ec2.associate_route_table(RouteTableId=self.place.tables[0], SubnetId=subnet_id)
                self.place.routed.append(subnet_id)
                return
            except ReadError as error:
                # EC2 sees a new subnet some seconds after it was created.
                if error.code != "InvalidSubnetID.NotFound" or time.monotonic() + 1 > end:
                    raise
            time.sleep(1)
