# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Move stopped hosts to another zone by an image.

The old instance stays stopped until the new one runs and has its address, and is terminated only then. The progress
of a move is read from what exists in EC2 only, so that each step can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.errors import ReadError, translated
from .._aws.resources import read_tags
from .._lab.last_action import MOVE, MOVE_TAG
from .._launch.calls import explain
from .._launch.errors import Refusal
from .._launch.offers import Offer, Search
from .._launch.problem import Launch, describe_failures
from .._launch.read import read_place
from .._launch.request import tag_list
from .._launch.run import LIVE, LOOK, Launcher, StopError, lab_tags, read_instances
from .calls import STOPPED, STOPPING, Host, Power, Type, clear_tags
from .images import Copy, Images, is_outdated
from .move_plan import (
    BEGIN,
    CLEAN,
    END,
    Step,
    disk_mappings,
    machine_of,
    missing_disks,
    next_step,
    obstacle,
    offers_of,
    own_type,
    refuse_doubt,
    source_of,
    staying,
    tags_of,
)

PROTECTION = "DisableApiTermination"
# Seconds in which EC2 describes an instance whose launch it did not answer.
LATE = 10.0


@dataclass
class Mover:
    """Moves the hosts of a lab.

    Attributes:
        power: The calls.
        images: The images.
        lab: The lab's name.
        tags: The user's tags, for new subnets.
        types: The types to try after a host's own, in order, each with its name and its zones.
        offering: The zones that offer each type, for the hosts' own.
        zones: The zones to try first.
        failed: The reason of each offer that failed, which is not tried for the next host.
        lines: What was done, one line each.
        problems: Why a host has not moved, by its name.
        empty: The names of hosts for which AWS has no capacity in another zone either.
    """

    power: Power
    images: Images
    lab: str
    tags: dict[str, str]
    types: list[dict[str, Any]]
    offering: dict[str, list[str]]
    zones: list[str]
    failed: dict[Offer, Refusal] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    def plan(self, hosts: Sequence[Host], wanted: Sequence[str]) -> list[Step]:
        """Return what the moves of hosts need next; a host for which that cannot be decided is a problem.

        Args:
            hosts: The instances, of which two may be one host.
            wanted: The names of the hosts that are to move.

        Raises:
            StopError: An image of another origin has the name of a host's.
            ReadError: AWS did not answer.
        """
        sources = {host.id for host in hosts} | {source_of(host) for host in hosts} - {""}
        copies = self.images.read(sorted(sources))
        found = self._complete(hosts, copies)
        marked = set(self.images.leftovers(sorted(sources)).values())
        steps = []
        for name in dict.fromkeys(host.name for host in found):
            instances = [host for host in found if host.name == name]
            try:
                step = next_step(instances, name in wanted, copies, marked)
                begins = step.old if step and step.kind == BEGIN else None
                reason = obstacle(begins, self._volumes([begins])) if begins else ""
                if reason:
                    raise StopError(reason)
                steps += [step] if step else []
            except StopError as error:
                self.problems[name] = str(error)
        return steps

    def describe(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Return steps in the form that the module documents."""
        rows = []
        for step in steps:
            old = step.old
            volumes = self._volumes([old] if old else [])
            zones = [offer.zone for offer in self._offers(old)] if old and step.kind == BEGIN else []
            protected = bool(old and step.kind != CLEAN and self._protected(old))
            rows.append(
                {
                    "name": step.host.name,
                    "step": step.kind,
                    "instance_id": step.source,
                    "zone": old.zone if old else "",
                    "zones": [step.new.zone] if step.new else list(dict.fromkeys(zones)),
                    "gib": sum(int(volume["Size"]) for volume in volumes.values()),
                    "staying": staying(old) if old and step.kind != CLEAN else [],
                    "protected": protected,
                }
            )
        return rows

    def run(self, steps: Sequence[Step]) -> None:
        """Carry out steps.

        Raises:
            ReadError: AWS did not answer, or refused.
        """
        moving = [step for step in steps if step.kind == BEGIN and self._tried(step, self._copy)]
        for step in steps:
            if step.kind == CLEAN:
                self._clean(step)
            elif step.kind == END or (step in moving and self._tried(step, self._launch)):
                self._tried(step, self._end)

    def _complete(self, hosts: Sequence[Host], copies: dict[str, Copy]) -> list[Host]:
        """Return hosts with the other instance of each whose move has not ended."""
        found, known = list(hosts), {host.id for host in hosts}
        for host in hosts:
            copy = copies.get(host.id)
            others = self._made_of(host, copy) if copy else []
            source = source_of(host)
            # Any caller that may tag can name another instance.
            others += [
                row
                for row in self.power.instances([source] if source else []).values()
                if row.get("VpcId") == host.instance.get("VpcId")
            ]
            for other in others:
                if other["InstanceId"] not in known and other["State"]["Name"] in LIVE:
                    known.add(other["InstanceId"])
                    found.append(Host(host.name, other))
        return found

    def _made_of(self, host: Host, copy: Copy, wait: float = 0) -> list[dict[str, Any]]:
        """Return the instances of an image in the lab's VPC that have not ended.

        Args:
            host: The host of the image.
            copy: The image.
            wait: Seconds for EC2 to describe one whose launch it did not answer.
        """
        filters = [
            {"Name": "image-id", "Values": [copy.id]},
            {"Name": "vpc-id", "Values": [str(host.instance["VpcId"])]},
            {"Name": "instance-state-name", "Values": list(LIVE)},
        ]
        end = time.monotonic() + wait
        while True:
            found = read_instances(self.power.ec2, self.power.region, filters)
            if found or time.monotonic() + LOOK > end:
                return found
            time.sleep(LOOK)

    def _tried(self, step: Step, action: Any) -> bool:
        """Do something for a host, record why that is not possible, and return whether it was."""
        try:
            action(step)
        except StopError as error:
            host = step.host
            self.problems[host.name] = str(error)
            line = self.power.note_error(host, MOVE, str(error))
            self.lines += [line] if line else []
            return False
        return True

    def _copy(self, step: Step) -> None:
        """Begin to make the image of a host, unless there is one that is up to date."""
        host = step.host
        self.power.settle([host])
        if step.copy and is_outdated(step.copy, host):
            self.lines += self.images.remove(host.id, step.copy)
            self.lines.append(f"{host.name}: its image {step.copy.id} was older than its last start, and was deleted")
            step.copy = None
        if step.copy is None:
            if not self._offers(host):
                raise StopError(
                    f"{host.name}: no other zone offers a type for it. Nothing was changed. Allow further types with "
                    f"{self.power.prefix}further_types, or run this again later."
                )
            self.power.tag(host, {MOVE_TAG: f"leaving {host.zone}"})
            try:
                self._check_stopped(host)
                step.copy = self.images.create(host)
            except StopError:
                self.power.tag(host, {}, [MOVE_TAG])
                raise
            self.lines.append(f"{host.name}: {host.id} in {host.zone}: its image {step.copy.id} is being made")

    def _launch(self, step: Step) -> None:
        """Launch a host from its image in another zone; remove the image when that is not possible."""
        host = step.host
        if step.copy is None:
            raise StopError(f"{host.name}: has no image. Run this again.")
        step.copy = self.images.await_available(host, step.copy)
        launcher = self._launcher(host, step.copy)
        wait = 0.0
        try:
            self._check_stopped(host)
            if is_outdated(step.copy, host):
                raise StopError(
                    f"{host.name}: {host.id} has run since its image {step.copy.id} was made. The image was deleted. "
                    "Run this again."
                )
            self._refuse_other_disks(host, step.copy, "The image was deleted. Run this again.")
            places = self._places(host)
            gpus = {name: kind.gpus for name, kind in self._kinds(places).items()}
            wait = LATE
            found = launcher.try_offers(host.name, tags_of(host, step.copy, next(iter(places))), gpus)
            if found is None:
                wait = 0
                self.empty.append(host.name)
                reason = describe_failures(host.name, launcher.search.failed, self.power.prefix)
                raise StopError(f"{reason} It is still stopped in {host.zone}, and its image was deleted.")
            step.new = Host(host.name, found)
        except StopError:
            # One that is late runs soon, and the next run ends its move.
            if not self._made_of(host, step.copy, wait):
                self.lines += self.images.remove(host.id, step.copy)
                self.power.tag(host, {}, [MOVE_TAG])
            raise
        finally:
            self.failed |= launcher.search.failed
            self.lines += launcher.lines
            self.power.changes += len(launcher.tries)
            self._tidy(launcher)

    def _check_stopped(self, host: Host) -> None:
        """Check that nothing has started a host meanwhile, such as a schedule.

        Raises:
            StopError: It is not stopped.
        """
        self.power.refresh([host])
        if host.state != STOPPED:
            raise StopError(
                f"{host.name}: {host.id} is {host.state}, because another program has started it. Allowed: stopped. "
                "Stop it with playbooks/stop.yml and run this again, or leave it where it is."
            )

    def _refuse_other_disks(self, old: Host, copy: Copy, remedy: str) -> None:
        """Check that an image has each volume of its instance: AWS would create an empty one for another.

        Raises:
            StopError: A volume was attached after the image was made.
        """
        with translated("ec2:DescribeSnapshots", self.power.region):
            filters = [{"Name": "snapshot-id", "Values": list(copy.snapshots)}]
            rows = self.power.ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        copied = {row["VolumeId"] for row in rows}
        disks = [row["Ebs"]["VolumeId"] for row in old.instance.get("BlockDeviceMappings", [])]
        others = [volume for volume in disks if volume not in copied]
        if others:
            raise StopError(
                f"{old.name}: the image {copy.id} of {old.id} lacks {', '.join(others)}, attached after it was "
                f"made. {remedy}"
            )

    def _tidy(self, launcher: Launcher) -> None:
        """Delete the subnets that no instance uses."""
        try:
            launcher.clean()
        except ReadError as error:
            self.lines.append(f"an unused subnet of the lab stays until it is destroyed ({error.code})")

    def _launcher(self, host: Host, copy: Copy) -> Launcher:
        """Return what launches a host's new instance."""
        power, old = self.power, host.instance
        offers = self._offers(host)
        with translated("ec2:DescribeVpcs", power.region):
            network = power.ec2.describe_vpcs(VpcIds=[old["VpcId"]])["Vpcs"][0]["CidrBlock"]
        with translated("ec2:DescribeSubnets", power.region):
            first = power.ec2.describe_subnets(SubnetIds=[old["SubnetId"]])["Subnets"][0]["CidrBlock"]
        shutdown = self._attribute(host, "instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior")
        disks = disk_mappings(host, self._volumes([host]))
        return Launcher(
            ec2=power.ec2,
            once=power.once,
            region=power.region,
            machine=machine_of(host, copy, disks, str(shutdown or "stop"), self._protected(host)),
            place=read_place(power.ec2, power.region, name=self.lab, vpc_id=old["VpcId"], network=network, first=first),
            search=Search(offers, failed={offer: self.failed[offer] for offer in offers if offer in self.failed}),
            tags=self.tags | lab_tags(self.lab),
            name=self.lab,
            prefix=power.prefix,
            patience=power.patience,
            timeout=power.timeout,
        )

    def _places(self, host: Host) -> dict[str, list[str]]:
        """Return the types to try for a host with the zones that offer each, its own type first."""
        places = {str(item["name"]): [str(zone) for zone in item["zones"]] for item in self.types}
        own = own_type(host, places)
        return {
            own: self.offering.get(own) or places.get(own, []),
            **{key: places[key] for key in places if key != own},
        }

    def _offers(self, host: Host) -> list[Offer]:
        """Return the places to which a host can move, in order."""
        places = self._places(host)
        return offers_of(host, places, self._kinds(places), self.zones)

    def _kinds(self, names: Collection[str]) -> dict[str, Type]:
        """Return types as EC2 describes them."""
        return self.power.types(names)

    def _end(self, step: Step) -> None:
        """Complete the new instance from its old one, then remove the old one and the image."""
        new, old = step.host, step.old
        if old and step.copy:
            self._refuse_doubt(old, new, step.copy)
            self._await(new)
            lacking = missing_disks(old, new)
            if lacking:
                raise StopError(
                    f"{new.name}: {new.id} lacks the disks {', '.join(lacking)} of {old.id}. Nothing was deleted. "
                    "Attach them, or terminate the new instance and run this again."
                )
            self._tag_volumes(old, new)
            self._move_addresses(old, new)
            self._complete_attributes(old, new)
            kept = staying(old)
            self._refuse_doubt(old, new, step.copy)
            self._terminate(old)
            self.lines += [
                f"{new.name}: {volume} in {old.zone} stays and costs money, as AWS does not delete it with {old.id}. "
                f"Its copy is attached to {new.id}. Delete it once you have checked that."
                for volume in kept
            ]
            self.lines.append(f"{new.name}: moved from {old.zone} to {new.zone}: {new.id} replaces {old.id}")
        self.lines += self.images.remove(step.source, step.copy, str(new.instance.get("ImageId", "")))
        self.lines += self.power.note(new, MOVE, (MOVE_TAG, *clear_tags(new)))

    def _refuse_doubt(self, old: Host, new: Host, copy: Copy) -> None:
        """Check that an old instance, as it is now, has nothing that the new one lacks.

        Raises:
            StopError: It runs, has run, or has other volumes.
        """
        self.power.refresh([old])
        refuse_doubt(old, new, copy)
        remedy = f"Nothing was deleted. Detach it, or terminate {new.id}, then run this again."
        self._refuse_other_disks(old, copy, remedy)

    def _await(self, new: Host) -> None:
        """Wait until a new instance runs.

        Raises:
            StopError: It does not.
        """
        self.power.refresh([new])
        if new.state in (STOPPED, STOPPING):
            self.power.settle([new])
            before = {new.id: new.signature}
            refusal = self.power.start(new)
            if refusal:
                raise StopError(self.power.explain(new, refusal, "StartInstances"))
            ended = self.power.await_running([new], before)
        else:
            ended = self.power.await_running([new], {})
        if ended:
            reason = new.reason["text"] or "AWS gives no reason"
            raise StopError(f"{new.name}: {new.id} in {new.zone} is {new.state} ({reason}). Run this again.")

    def _tag_volumes(self, old: Host, new: Host) -> None:
        """Give each volume of a new instance the tags of the one that it replaces."""
        volumes = self._volumes([old, new])
        targets = {row["DeviceName"]: row["Ebs"]["VolumeId"] for row in new.instance["BlockDeviceMappings"]}
        for row in old.instance.get("BlockDeviceMappings", []):
            tags = read_tags(volumes[row["Ebs"]["VolumeId"]].get("Tags"))
            target = targets[row["DeviceName"]]
            present = read_tags(volumes[target].get("Tags"))
            lacking = {key: value for key, value in tags.items() if present.get(key) != value}
            lacking = {key: value for key, value in lacking.items() if not key.startswith("aws:")}
            if lacking:
                with translated("ec2:CreateTags", self.power.region):
                    self.power.ec2.create_tags(Resources=[target], Tags=tag_list(lacking))
                self.power.changes += 1

    def _move_addresses(self, old: Host, new: Host) -> None:
        """Assign the Elastic IP of the old instance to the new one."""
        with translated("ec2:DescribeAddresses", self.power.region):
            filters = [{"Name": "instance-id", "Values": [old.id]}]
            addresses = self.power.ec2.describe_addresses(Filters=filters)["Addresses"]
        for address in addresses:
            given = {"AllocationId": address["AllocationId"], "InstanceId": new.id, "AllowReassociation": True}
            self._must(new, "associate_address", "AssociateAddress", **given)
            self.lines.append(f"{new.name}: {address['PublicIp']} is now assigned to {new.id}")

    def _complete_attributes(self, old: Host, new: Host) -> None:
        """Copy termination protection and the source/destination check from the old instance to the new one."""
        if self._protected(old) and not self._protected(new):
            given = {"InstanceId": new.id, PROTECTION: {"Value": True}}
            self._must(new, "modify_instance_attribute", "ModifyInstanceAttribute", **given)
        if old.instance.get("SourceDestCheck") is False and new.instance.get("SourceDestCheck") is not False:
            given = {"InstanceId": new.id, "SourceDestCheck": {"Value": False}}
            self._must(new, "modify_instance_attribute", "ModifyInstanceAttribute", **given)

    def _terminate(self, old: Host) -> None:
        """Terminate an old instance, and wait until it is gone.

        Raises:
            StopError: AWS refuses.
        """
        if self._protected(old):
            given = {"InstanceId": old.id, PROTECTION: {"Value": False}}
            self._must(old, "modify_instance_attribute", "ModifyInstanceAttribute", **given)
        self._must(old, "terminate_instances", "TerminateInstances", InstanceIds=[old.id])
        end = time.monotonic() + self.power.timeout
        while True:
            self.power.refresh([old])
            if old.state not in LIVE:
                return
            if time.monotonic() + LOOK > end:
                raise StopError(f"{old.name}: {old.id} is still {old.state} after its termination. Run this again.")
            time.sleep(LOOK)

    def _clean(self, step: Step) -> None:
        """Give up the move of a host that runs again where it was."""
        host = step.host
        self.lines += self.images.remove(host.id, step.copy)
        self.power.tag(host, {}, [MOVE_TAG])
        self.lines.append(f"{host.name}: runs in {host.zone} again. The image of its move was deleted.")

    def _protected(self, host: Host) -> bool:
        """Return whether an instance is protected from termination."""
        return bool(self._attribute(host, "disableApiTermination", PROTECTION))

    def _must(self, host: Host, method: str, operation: str, **given: Any) -> None:
        """Make a call that may be made twice.

        Raises:
            StopError: AWS refuses it.
        """
        refusal = self.power.change(method, f"ec2:{operation}", **given)
        if refusal:
            about = Launch(host.name, host.type, host.zone, exists=True, prefix=self.power.prefix)
            raise StopError(explain(refusal, about, operation, self.power.region))

    def _attribute(self, host: Host, name: str, key: str) -> Any:
        """Return an attribute of an instance that its description lacks."""
        with translated("ec2:DescribeInstanceAttribute", self.power.region):
            answer = self.power.ec2.describe_instance_attribute(InstanceId=host.id, Attribute=name)
        return (answer.get(key) or {}).get("Value")

    def _volumes(self, hosts: Sequence[Host]) -> dict[str, dict[str, Any]]:
        """Return the volumes of hosts by id."""
        return volumes_of(self.power, hosts)


def volumes_of(power: Power, hosts: Sequence[Host]) -> dict[str, dict[str, Any]]:
    """Return the volumes of hosts by id.

    Raises:
        ReadError: AWS did not answer.
    """
    ids = [row["Ebs"]["VolumeId"] for host in hosts for row in host.instance.get("BlockDeviceMappings", [])]
    if not ids:
        return {}
    with translated("ec2:DescribeVolumes", power.region):
        found = power.ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": ids}])["Volumes"]
    return {volume["VolumeId"]: volume for volume in found}
