"""Simulated EC2 hosts: one systemd container each, configured by the metadata service."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from sandbox.builds import HOSTS, ensure_all
from sandbox.cloud import block_devices
from sandbox.cloud.disk_images import DiskImages, disk_of
from sandbox.engine import outside_mtu
from sandbox.errors import SandboxError
from sandbox.settings import AWS_HOST, PACKAGES_HOST, PROJECT, REGISTRY_HOST, Sandbox

METADATA_ADDRESS = "169.254.169.254"
INSTANCE_LABEL = "digital_twin.instance"
VPC_LABEL = "digital_twin.vpc"
ADDRESS_LABEL = "digital_twin.address"
FIRST_HOST = 5  # below: the router, the registry, the package archive and the metadata service
# The metadata service and the AWS endpoint of a VPC, in one container that ends when either ends.
SERVICES = """
python3 -m sandbox.guest.imds /state/imds &
python3 -m sandbox.guest.endpoint "$1" "/state/$2" &
wait -n
"""
# Capabilities over the machine itself (its modules, clock, memory, files and security modules) that no host needs.
# Not every machine can grant the first.
NOT_FOR_HOSTS = ["SYS_RESOURCE", "SYS_MODULE", "SYS_BOOT", "SYS_TIME", "SYS_RAWIO", "SYS_PACCT", "DAC_READ_SEARCH"]
NOT_FOR_HOSTS += ["MAC_ADMIN", "MAC_OVERRIDE"]
STOP_SECONDS = 20
# Volumes are loop devices, whose major number is 7, and a host has those for which it has a node.
LOOP_DEVICES = "b 7:* rmw"
DISKS = Path("/var/lib/sandbox-disks")  # in a host: its disks from the next boot on
CONSOLE = "/var/log/cloud-init-output.log"
# The pool of the sandboxes' networks; the first free /24 is used. 172.29 to 172.31 are rare in offices and homes.
POOL = [ipaddress.ip_network(f"172.{second}.0.0/16") for second in (29, 30, 31)]
HYBRID_CGROUP = Path("/sys/fs/cgroup/unified")


def cgroup_root() -> Path:
    """Return the machine's unified cgroup hierarchy, which systemd 257 requires.

    :raises SandboxError: the machine has version 1 only.
    """
    for root in (HYBRID_CGROUP, Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists():
            return root
    raise SandboxError("This machine has no unified cgroup hierarchy (cgroup v2), without which systemd does not boot.")


def helper(sandbox: Sandbox) -> dict[str, Any]:
    """Return the options of a container that runs a module of ``sandbox.guest`` and reads this sandbox's state."""
    return {
        "stop_signal": "SIGKILL",
        "working_dir": "/code",
        "volumes": {
            str(PROJECT / "sandbox/guest"): {"bind": "/code/sandbox/guest", "mode": "ro"},
            str(sandbox.guest): {"bind": "/state", "mode": "ro"},
        },
    }


@dataclass(frozen=True)
class Instance:
    """The parameters of a host.

    :param host: its image, a key of ``sandbox.builds.HOSTS``.
    :param user: the user that cloud-init creates.
    :param address: its private address, from ``Hosts.place``.
    :param gpus: the profiles of its GPUs, one word each.
    :param image_id: the image with its disks, if that was made of a host; empty for a new host.
    """

    id: str
    vpc_id: str
    hostname: str
    host: str
    user: str
    address: str
    public_key: str
    user_data: str
    gpus: str
    image_id: str = ""


class Hosts:
    """The containers, networks and volumes behind the instances of one sandbox."""

    def __init__(self, sandbox: Sandbox, client: DockerClient) -> None:
        """Manage the hosts of one sandbox through one engine."""
        self._sandbox = sandbox
        self._client = client
        self.images = DiskImages(sandbox, client)
        self._metadata = sandbox.guest / "imds"
        self._metadata.mkdir(parents=True, exist_ok=True)

    def find(self, instance_id: str) -> Container | None:
        """Return an instance's container, running or not."""
        try:
            container: Container = self._client.containers.get(self._sandbox.name(instance_id))
        except NotFound:
            return None
        return container

    def known(self) -> set[str]:
        """Return the ids of all instances that have a container."""
        containers = self._client.containers.list(all=True, filters={"label": self._sandbox.label_filter})
        return {c.labels[INSTANCE_LABEL] for c in containers if INSTANCE_LABEL in c.labels}

    def ensure_network(self, vpc_id: str) -> Network:
        """Return the bridge of one VPC, created with its services.

        These are the metadata service, the AWS endpoint, the registry and the package archive.
        """
        name = self._sandbox.name(vpc_id)
        for network in self._client.networks.list(names=[name]):
            return network
        network = self._create_network(name, {**self._sandbox.labels, VPC_LABEL: vpc_id})
        for part, alias in (("registry", REGISTRY_HOST), ("packages", PACKAGES_HOST)):
            network.connect(self._client.containers.get(self._sandbox.name(part)), aliases=[alias])
        imds = self._client.containers.create(
            HOSTS["debian13"].tag,
            ["bash", "-c", SERVICES, "services", AWS_HOST, self._sandbox.aws_socket.name],
            name=self._sandbox.name(f"imds-{vpc_id}"),
            labels={**self._sandbox.labels, VPC_LABEL: vpc_id},
            network=name,
            **helper(self._sandbox),
        )
        network.disconnect(imds)
        network.connect(imds, link_local_ips=[METADATA_ADDRESS], aliases=[AWS_HOST])
        imds.start()
        return network

    def _create_network(self, name: str, labels: dict[str, str]) -> Network:
        """Create a bridge on the first /24 of the pool that the machine does not use yet."""
        for block in POOL:
            for subnet in block.subnets(new_prefix=24):
                pool = IPAMPool(subnet=str(subnet))
                try:
                    return self._client.networks.create(
                        name,
                        driver="bridge",
                        labels=labels,
                        ipam=IPAMConfig(pool_configs=[pool]),
                        options={"com.docker.network.driver.mtu": str(outside_mtu())},
                    )
                except APIError as error:
                    if "overlaps" not in str(error) and "conflicts" not in str(error):
                        raise
        raise SandboxError(f"No free /24 is left in {', '.join(map(str, POOL))} for a sandbox network.")

    def describe(self, address: str, document: dict[str, Any]) -> None:
        """Configure the metadata service for the instance with this private address."""
        path = self._metadata / f"{address}.json"
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(document), encoding="utf-8")
        scratch.chmod(0o600)
        scratch.replace(path)

    def place(self, vpc_id: str, wanted: int) -> str:
        """Return a free address on a VPC's bridge, its last octet ``wanted`` or the next free one."""
        network = self.ensure_network(vpc_id)
        block = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])
        containers = self._client.containers.list(all=True, filters={"label": f"{VPC_LABEL}={vpc_id}"})
        taken = {container.labels.get(ADDRESS_LABEL) for container in containers}
        candidates = (str(block[octet]) for octet in range(max(wanted, FIRST_HOST), 255))
        return next(address for address in candidates if address not in taken)

    def create(self, instance: Instance) -> None:
        """Create an instance's container; ``start`` boots it."""
        network = self.ensure_network(instance.vpc_id)
        disk = self._client.volumes.create(disk_of(self._sandbox, instance.id), labels=self._sandbox.labels)
        root = self.images.find(instance.image_id) if instance.image_id else ""
        api = self._client.api
        privileges = api.create_host_config(
            network_mode=network.name,
            cap_add=["ALL"],
            cap_drop=NOT_FOR_HOSTS,
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            cgroupns="host",
            # A host that reboots itself is started again; one that was stopped is not.
            restart_policy={"Name": "unless-stopped"},
            tmpfs={"/run": "", "/run/lock": ""},
            device_cgroup_rules=[LOOP_DEVICES],
            binds={
                str(cgroup_root()): {"bind": "/sys/fs/cgroup", "mode": "rw"},
                # overlay2 needs a real filesystem below it
                disk.name: {"bind": "/var/lib/docker", "mode": "rw"},
            },
        )
        # The address is fixed, because Docker would reuse a stopped host's address.
        endpoint = api.create_endpoint_config(ipv4_address=instance.address)
        networking: Any = {"EndpointsConfig": {network.name: endpoint}}
        api.create_container(
            root or HOSTS[instance.host].tag,
            name=self._sandbox.name(instance.id),
            hostname=instance.hostname,
            labels={
                **self._sandbox.labels,
                INSTANCE_LABEL: instance.id,
                VPC_LABEL: instance.vpc_id,
                ADDRESS_LABEL: instance.address,
            },
            environment={"SANDBOX_METADATA": "1", "SANDBOX_GPUS": instance.gpus},
            networking_config=networking,
            host_config=privileges,
        )
        container = self._client.containers.get(self._sandbox.name(instance.id))
        container.put_archive("/", seed(instance))

    def fill(self, instance_id: str, image_id: str) -> None:
        """Give a new host the engine's data of the image that it was launched from, if that was made of a host."""
        if self.images.find(image_id):
            self.images.copy(image_id, instance_id)

    def prepare(self, host: str) -> None:
        """Build a host's image unless it exists, which takes a minute the first time.

        :raises SandboxError: it could not be built.
        """
        ensure_all(self._client, [HOSTS[host]])

    def start(self, instance_id: str) -> None:
        """Boot a host."""
        self._client.containers.get(self._sandbox.name(instance_id)).start()

    def console(self, instance_id: str) -> bytes:
        """Return a host's console output: cloud-init's log, because a container has no console."""
        container = self.find(instance_id)
        if container is None:
            return b""
        try:
            archive = b"".join(container.get_archive(CONSOLE)[0])
        except NotFound:
            return b""
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            log = files.extractfile(files.next() or tarfile.TarInfo())
            return log.read() if log else b""

    def stop(self, instance_id: str) -> None:
        """Shut a host down as its power button would."""
        if container := self.find(instance_id):
            container.stop(timeout=STOP_SECONDS)

    def reboot(self, instance_id: str) -> None:
        """Shut a host down and start it again."""
        self._client.containers.get(self._sandbox.name(instance_id)).restart(timeout=STOP_SECONDS)

    def write_disks(self, instance_id: str, table: str) -> None:
        """Write the disks that a host has from its next boot on."""
        if container := self.find(instance_id):
            container.put_archive(str(DISKS.parent), archive_of({DISKS.name: table}))

    def plug(self, instance_id: str, row: str) -> None:
        """Make a disk's node and links in a running host.

        :raises SandboxError: the host did not do so.
        """
        self._change_disks(instance_id, "plug", *row.split())

    def unplug(self, instance_id: str, name: str) -> None:
        """Remove a disk's node and links from a running host.

        :raises SandboxError: the host did not do so.
        """
        self._change_disks(instance_id, "unplug", name)

    def _change_disks(self, instance_id: str, *arguments: str) -> None:
        container = self.find(instance_id)
        process = container.attrs["State"]["Pid"] if container else 0
        if not process:  # it reboots, and has its disks afterwards
            return
        # Not by the engine: what it runs in a host that boots may be killed.
        command = ["nsenter", "--mount", "--target", str(process), "/usr/local/sbin/host-disks", *arguments]
        try:
            block_devices.program(*command)
        except OSError as error:
            raise SandboxError(f"{instance_id}: {error}") from error

    def remove(self, instance_id: str) -> None:
        """Remove a host with its disk, and its VPC's bridge when it was the last one there."""
        container = self.find(instance_id)
        if container is None:
            return
        vpc_id, hostname = container.labels[VPC_LABEL], container.attrs["Config"]["Hostname"]
        container.remove(force=True, v=True)
        with contextlib.suppress(NotFound):
            self._client.volumes.get(disk_of(self._sandbox, instance_id)).remove(force=True)
        remove_cgroup(hostname)
        if not self._client.containers.list(all=True, filters={"label": [f"{VPC_LABEL}={vpc_id}", INSTANCE_LABEL]}):
            self.remove_network(vpc_id)

    def remove_network(self, vpc_id: str) -> None:
        """Remove a VPC's bridge with its metadata service and AWS endpoint."""
        with contextlib.suppress(NotFound):
            self._client.containers.get(self._sandbox.name(f"imds-{vpc_id}")).remove(force=True, v=True)
        for network in self._client.networks.list(names=[self._sandbox.name(vpc_id)], greedy=True):
            for name in [entry["Name"] for entry in network.attrs["Containers"].values()]:
                network.disconnect(name, force=True)
            network.remove()


def remove_cgroup(hostname: str) -> None:
    """Remove a host's empty folders from the machine's cgroup tree, deepest first."""
    root = cgroup_root() / "digital-twin" / hostname
    for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    with contextlib.suppress(OSError):
        root.rmdir()


def seed(instance: Instance) -> bytes:
    """Return an archive for cloud-init's first boot: identity, user, key and user-data."""
    user = {
        "name": instance.user,
        "shell": "/bin/bash",
        "lock_passwd": True,
        "groups": ["adm"],
        "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
    }
    identity = {
        "instance-id": instance.id,
        "local-hostname": instance.hostname,
        "public-keys": [instance.public_key] if instance.public_key else [],
    }
    files = {
        "etc/cloud/cloud.cfg.d/98-user.cfg": "#cloud-config\n" + json.dumps({"system_info": {"default_user": user}}),
        "var/lib/cloud/seed/nocloud/meta-data": json.dumps(identity),
        "var/lib/cloud/seed/nocloud/user-data": instance.user_data,
    }
    return archive_of(files)


def archive_of(files: dict[str, str]) -> bytes:
    """Return an archive of files that only root reads."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
