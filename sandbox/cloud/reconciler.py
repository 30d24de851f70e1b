"""Keeps one simulated host per moto instance, and its routes, in step with the emulator's state.

moto changes an instance's state at once; a host takes time. Until the host has followed, its state is reported as the
transitional one (pending, stopping, shutting-down).
"""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker.errors import DockerException
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.iam.models import iam_backends

from sandbox.cloud import image_api, market, volumes
from sandbox.cloud.hosts import Hosts, Instance
from sandbox.cloud.machine_images import machine_image
from sandbox.keys import Key, Keys
from sandbox.nvml import PROFILES
from sandbox.settings import PUBLIC_ADDRESS, Sandbox

LOG = logging.getLogger(__name__)
LOOPBACK = "127.0.0.0/8"
WIDEST_RANGE = 128  # ports of one rule that the edge listens on; a rule for all traffic would mean 65,536 listeners

PENDING, RUNNING, SHUTTING_DOWN = ("pending", 0), ("running", 16), ("shutting-down", 32)
TERMINATED, STOPPING, STOPPED = ("terminated", 48), ("stopping", 64), ("stopped", 80)
# moto's new state: the state to report until the host has reached it.
ON_THE_WAY = {RUNNING[0]: PENDING, STOPPED[0]: STOPPING, TERMINATED[0]: SHUTTING_DOWN}
ARRIVED = {PENDING[0]: RUNNING, STOPPING[0]: STOPPED, SHUTTING_DOWN[0]: TERMINATED}


def instances() -> Iterator[Any]:
    """Yield moto's instances of every region that was used."""
    for backend in list(ec2_backends[DEFAULT_ACCOUNT_ID].values()):
        for reservation in list(backend.reservations.values()):
            yield from reservation.instances


def images() -> dict[str, Any]:
    """Return moto's images of instances by id."""
    backends = list(ec2_backends[DEFAULT_ACCOUNT_ID].values())
    return {image.id: image for backend in backends for image in list(backend.amis.values()) if image_api.disks(image)}


def elastic_ip(instance: Any) -> str:
    """Return the Elastic IP that an instance has, empty when it has none."""
    for address in instance.ec2_backend.addresses:
        if address.instance is instance or (address.eni is not None and address.eni.instance is instance):
            return str(address.public_ip)
    return ""


def routes(instance: Any) -> Iterable[dict[str, Any]]:
    """Return the edge's routes to a running instance: its security groups' TCP rules at its Elastic IP."""
    address = elastic_ip(instance)
    if not address or instance.state != RUNNING[0]:
        return []
    sources: dict[int, set[str]] = {}
    for group in {*instance.security_groups, *instance.nics[0].group_set}:
        for rule in group.ingress_rules:
            if rule.ip_protocol != "tcp" or int(rule.to_port) - int(rule.from_port) > WIDEST_RANGE:
                continue
            for port in range(int(rule.from_port), int(rule.to_port) + 1):
                sources.setdefault(port, set()).update(admitted(rule.ip_range.get("CidrIp")))
    target = instance.nics[0].private_ip_address
    return [
        {"address": address, "port": port, "target": target, "sources": sorted(cidrs)}
        for port, cidrs in sorted(sources.items())
        if cidrs
    ]


def admitted(cidr: str | None) -> list[str]:
    """Return the networks that a rule admits at the edge, where a caller on this machine comes from loopback."""
    if not cidr:
        return []
    here = ipaddress.ip_address(PUBLIC_ADDRESS) in ipaddress.ip_network(cidr, strict=False)
    return [cidr, LOOPBACK] if here else [cidr]


def public_key(instance: Any) -> str:
    """Return the public half of an instance's key pair, empty without one."""
    pair = instance.ec2_backend.key_pairs.get(instance.key_name)
    return str(pair.material_public.decode().strip()) if pair else ""


def user_data(instance: Any) -> str:
    """Return an instance's user-data as text."""
    return str(instance.user_data.decode()) if instance.user_data else ""


def gpus(instance: Any) -> str:
    """Return the profiles of an instance's GPUs, one word each; a GPU that is not simulated is left out."""
    found = INSTANCE_TYPES.get(instance.instance_type, {}).get("GpuInfo", {}).get("Gpus", [])
    return " ".join(" ".join([gpu["Name"]] * gpu["Count"]) for gpu in found if gpu["Name"] in PROFILES)


def metadata(instance: Any, keys: Keys) -> dict[str, Any]:
    """Return an instance's metadata."""
    nic = instance.nics[0]
    region, address = instance.ec2_backend.region_name, nic.private_ip_address
    public = elastic_ip(instance)
    document: dict[str, Any] = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.ami_launch_index),
        "hostname": instance.private_dns_name,
        "instance-id": instance.id,
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": address,
        "mac": nic.mac_address,
        "placement": {
            "availability-zone": instance.availability_zone,
            "region": region,
        },
        "security-groups": "\n".join(group.name for group in instance.security_groups),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    document |= market.metadata(instance)
    if public:
        document["public-ipv4"] = public
    if key := public_key(instance):
        document["public-keys"] = {f"0={instance.key_name}": {"openssh-key": key}}
    if instance.metadata_options.instance_metadata_tags == "enabled":
        document["tags"] = {"instance": {tag["key"]: tag["value"] for tag in instance.get_tags()}}
    role = role_of(instance)
    if role:
        document["iam"] = {"security-credentials": {role: json.dumps(credentials(keys.of_role(role)))}}
    identity = {
        "accountId": DEFAULT_ACCOUNT_ID,
        "architecture": instance.architecture,
        "availabilityZone": instance.availability_zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "privateIp": address,
        "region": region,
    }
    return {
        "http_tokens": instance.metadata_options.http_tokens,
        "hop_limit": instance.metadata_options.http_put_response_hop_limit,
        "user_data": user_data(instance),
        "meta-data": document,
        "dynamic": {"instance-identity": {"document": json.dumps(identity)}},
    }


def role_of(instance: Any) -> str:
    """Return the name of the role in an instance's profile, empty without one."""
    profile = instance.iam_instance_profile or {}
    arn = profile.get("Arn", "")
    name = profile.get("Name") or arn.rpartition("/")[2]
    for known in iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values():
        if known.name == name and known.roles:
            return str(known.roles[0].name)
    return ""


def credentials(key: Key) -> dict[str, str]:
    """Return a role's key in the form in which the metadata service returns it."""
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "Token": key.token,
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": "2036-01-01T00:00:00Z",
    }


class Reconciler:
    """Follows moto's instances with real hosts; one worker for each host, so that hosts boot in parallel."""

    def __init__(self, sandbox: Sandbox, hosts: Hosts, keys: Keys) -> None:
        """Follow the instances of one sandbox's cloud."""
        self._sandbox = sandbox
        self._hosts = hosts
        self._keys = keys
        self._busy: set[str] = set()
        self._copied: set[str] = set()
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="host")

    def follow(self) -> None:
        """Set transitional states and start the hosts' changes; called after each call that changes EC2."""
        with self._lock:
            self._follow_images()
            for instance in instances():
                if instance.id in self._busy:
                    continue
                state = instance.state
                if state in ON_THE_WAY and self._differs(instance, state):
                    self._show(instance, ON_THE_WAY[state])
                    self._busy.add(instance.id)
                    self._pool.submit(self._bring, instance, state)
            self._publish_routes()

    def reboot(self, ids: Iterable[str]) -> None:
        """Reboot hosts, as RebootInstances does: at some point soon, without a change of state."""
        for instance_id in ids:
            self._pool.submit(self._guarded, self._hosts.reboot, instance_id)

    def _follow_images(self) -> None:
        """Copy the disks of new images of hosts, which are pending until then; remove those of deregistered ones."""
        found = images()
        for image_id in found.keys() - self._copied:
            image = found[image_id]
            self._copied.add(image_id)
            if self._hosts.find(image.instance_id) is not None:
                image.state = "pending"
                self._pool.submit(self._copy, image)
        for image_id in self._copied - found.keys():
            self._copied.remove(image_id)
            self._pool.submit(self._guarded, self._hosts.images.remove, image_id)

    def _copy(self, image: Any) -> None:
        """Copy the disks of an image's host, then show it as available; runs in the pool."""
        try:
            self._hosts.images.make(image.id, image.instance_id)
            image.state = "available"
        except Exception:  # the image must not stay pending forever
            LOG.exception("%s could not be made of %s", image.id, image.instance_id)
            image.state = "failed"

    def _differs(self, instance: Any, state: str) -> bool:
        container = self._hosts.find(instance.id)
        if state == TERMINATED[0]:
            return container is not None
        running = container is not None and container.status == "running"
        return running != (state == RUNNING[0]) and not (state == STOPPED[0] and container is None)

    def _show(self, instance: Any, state: tuple[str, int]) -> None:
        instance._state.name, instance._state.code = state

    def _bring(self, instance: Any, state: str) -> None:
        """Bring one host to a state, then show that state; runs in the pool."""
        try:
            if state == RUNNING[0]:
                self._boot(instance)
            elif state == STOPPED[0]:
                self._hosts.stop(instance.id)
                volumes.unload(instance.id)
            else:
                try:
                    self._hosts.remove(instance.id)
                finally:
                    volumes.unload(instance.id)
        except Exception as error:  # the instance must not stay pending forever
            LOG.exception("%s could not be brought to %s", instance.id, state)
            instance.state_reason.message = f"Server.InternalError: {error}"
            instance.state_reason.code = "Server.InternalError"
            with self._lock:
                self._show(instance, TERMINATED)
                self._busy.discard(instance.id)
            return
        with self._lock:
            # A caller may have requested another state meanwhile, which is handled next.
            if instance.state in ARRIVED:
                self._show(instance, ARRIVED[instance.state])
            self._busy.discard(instance.id)
            self.follow()

    def _boot(self, instance: Any) -> None:
        """Create an instance's host unless it exists, and boot it."""
        if self._hosts.find(instance.id) is None:
            image = machine_image(image_api.origin(instance, instance.image_id))
            nic = instance.nics[0]
            self._hosts.prepare(image.host)
            with self._lock:  # two hosts must not get the same address
                wanted = int(ipaddress.ip_address(nic.private_ip_address).packed[-1])
                address = self._hosts.place(instance.vpc_id, wanted)
                nic.private_ip_address = address
                nic.private_ip_addresses[0]["PrivateIpAddress"] = address
                self._hosts.create(
                    Instance(
                        id=instance.id,
                        vpc_id=instance.vpc_id,
                        hostname=instance.private_dns_name.split(".")[0],
                        host=image.host,
                        user=image.user,
                        address=address,
                        public_key=public_key(instance),
                        user_data=user_data(instance),
                        gpus=gpus(instance),
                        image_id=instance.image_id if instance.image_id != image.id else "",
                    )
                )
            # Without the lock, as it may take long.
            self._hosts.fill(instance.id, instance.image_id)
        self._hosts.describe(instance.private_ip_address, metadata(instance, self._keys))
        volumes.load(instance)
        self._hosts.start(instance.id)

    def _guarded(self, action: Any, instance_id: str) -> None:
        try:
            action(instance_id)
        except DockerException:
            LOG.exception("%s", instance_id)

    def _publish_routes(self) -> None:
        """Configure the edge's routes, and the metadata service for new Elastic IPs."""
        rows = [row for instance in instances() for row in routes(instance)]
        path = self._sandbox.guest / "edge.json"
        text = json.dumps(rows, indent=1)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            scratch = path.with_suffix(".new")
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
        for instance in instances():
            if instance.state == RUNNING[0] and instance.nics:
                self._hosts.describe(instance.nics[0].private_ip_address, metadata(instance, self._keys))

    def close(self) -> None:
        """Wait for running changes."""
        self._pool.shutdown(wait=True, cancel_futures=True)
