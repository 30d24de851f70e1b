"""Starts the sandbox from nothing, and removes it again."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import urllib.request

import docker
from docker import DockerClient
from docker.errors import NotFound
from docker.models.containers import Container

from sandbox import builds, engine
from sandbox.cloud import block_devices, process
from sandbox.cloud.disk_images import remove_images
from sandbox.cloud.hosts import INSTANCE_LABEL, helper, remove_cgroup
from sandbox.errors import SandboxError
from sandbox.keys import Key, ensure_key, write_private
from sandbox.settings import PROJECT, PUSH_PORT, REGION, Sandbox
from sandbox.waiting import wait_until

ENGINE_ANSWER_SECONDS = 600
REGISTRY_SECONDS = 30
PUSHED = "pushed.txt"
PORT_LABEL = "digital_twin.port"
# Any key is accepted here. Ansible masks a secret in every message and path, so its text must not occur elsewhere.
NGC_API_KEY = "nvapi-canary-5e0c27d2"


def up(sandbox: Sandbox) -> str:
    """Start the sandbox, reusing the parts that run; return the cloud's URL."""
    own_folder(sandbox)
    for folder in (sandbox.guest, sandbox.keys):
        folder.mkdir(exist_ok=True)
    if process.runs(sandbox) and not sandbox.key_file.exists():
        raise SandboxError(
            f"The cloud of {sandbox.state} was started by an older version, which accepts every caller. "
            "Run `make sandbox-down`, then `make sandbox`."
        )
    key = ensure_key(sandbox.key_file)
    engine.ensure()
    engine.install_command("ssh", ["openssh-client"])
    client = docker.from_env(timeout=ENGINE_ANSWER_SECONDS)
    try:
        # The other distribution's host is built when an instance first needs it.
        builds.ensure_all(
            client,
            [builds.HOSTS["debian13"], builds.REGISTRY, builds.ARCHIVE, *builds.SERVICES, *builds.SIMULATORS],
        )
        url = process.endpoint(sandbox)
        if url is None:
            # Hosts of a crashed cloud have lost their state.
            process.stop(sandbox)
            remove_all(sandbox, client)
            remove_disks(sandbox)
        publish(sandbox, client, ensure_registry(sandbox, client, key), key)
        ensure_packages(sandbox, client)
        ensure_edge(sandbox, client)
        if url is None:
            url = process.start(sandbox)
    finally:
        client.close()
    write_environment(sandbox, url, key)
    return url


def own_folder(sandbox: Sandbox) -> None:
    """Create the state directory, which no other user can enter.

    :raises SandboxError: it belongs to another user.
    """
    sandbox.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = sandbox.state.stat().st_uid
    if owner != os.geteuid():
        raise SandboxError(
            f"{sandbox.state} belongs to the user with id {owner}, and must belong to the user with id {os.geteuid()}, "
            "who starts the sandbox. Set SANDBOX_DIR to another directory."
        )
    sandbox.state.chmod(0o700)


def down(sandbox: Sandbox, *, keep_engine: bool = False) -> None:
    """Stop this sandbox and remove only its own objects.

    :param keep_engine: keep a Docker engine that a sandbox has started.
    """
    process.stop(sandbox)
    if engine.answers():
        client = docker.from_env(timeout=ENGINE_ANSWER_SECONDS)
        try:
            remove_all(sandbox, client)
        finally:
            client.close()
        if not keep_engine:
            engine.stop_if_ours()
    remove_disks(sandbox)
    if sandbox.state.exists():
        shutil.rmtree(sandbox.state)


def remove_all(sandbox: Sandbox, client: DockerClient) -> None:
    """Remove this sandbox's containers, networks and volumes, found by their label."""
    mine: dict[str, str | list[str] | bool] = {"label": sandbox.label_filter}
    for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
        with contextlib.suppress(NotFound):
            container.remove(force=True, v=True)
        if INSTANCE_LABEL in container.labels:
            remove_cgroup(container.attrs["Config"]["Hostname"])
    remove_images(sandbox, client)
    for network in client.networks.list(filters=mine):
        network.remove()
    for volume in client.volumes.list(filters=mine):
        volume.remove(force=True)
    for stale in sandbox.guest.glob("imds/*.json"):
        stale.unlink()


def remove_disks(sandbox: Sandbox) -> None:
    """Remove the disks of this sandbox's hosts, also of a cloud that crashed; the hosts no longer exist."""
    block_devices.release_all(sandbox.disks)
    if sandbox.disks.exists():
        shutil.rmtree(sandbox.disks)


def find(sandbox: Sandbox, client: DockerClient, part: str) -> Container | None:
    """Return one of the sandbox's own containers if it runs; a stopped one is removed."""
    try:
        container: Container = client.containers.get(sandbox.name(part))
    except NotFound:
        return None
    if container.status == "running":
        return container
    container.remove(force=True, v=True)
    return None


def ensure_registry(sandbox: Sandbox, client: DockerClient, key: Key) -> str:
    """Start the image registry unless it runs; return its address on this machine, for pushes with the key.

    Hosts pull from another port, on which nothing can be written: other users of this machine reach both.
    """
    registry = find(sandbox, client, "registry")
    if registry is None:
        port = process.free_port(None)
        registry = client.containers.run(
            builds.REGISTRY.tag,
            ["bash", "/usr/local/sbin/serve"],
            name=sandbox.name("registry"),
            labels={**sandbox.labels, PORT_LABEL: str(port)},
            ports={f"{PUSH_PORT}/tcp": ("127.0.0.1", port)},
            environment={"SANDBOX_USER": key.id, "SANDBOX_PASSWORD": key.secret},
            detach=True,
        )
    address = f"127.0.0.1:{registry.labels[PORT_LABEL]}"
    login = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    request = urllib.request.Request(f"http://{address}/v2/", headers={"Authorization": f"Basic {login}"})

    def answers() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait_until(answers, what=f"the image registry on {address}", seconds=REGISTRY_SECONDS)
    return address


def ensure_packages(sandbox: Sandbox, client: DockerClient) -> None:
    """Start the archive that replaces the vendors' archives unless it runs; only hosts reach it."""
    if find(sandbox, client, "packages"):
        return
    client.containers.run(builds.ARCHIVE.tag, name=sandbox.name("packages"), labels=sandbox.labels, detach=True)


def publish(sandbox: Sandbox, client: DockerClient, address: str, key: Key) -> None:
    """Push the stack's images to the registry if they have changed."""
    record = sandbox.state / PUSHED
    pushed = set(record.read_text(encoding="utf-8").splitlines()) if record.exists() else set()
    wanted = {image.published: image.tag for image in (*builds.SERVICES, *builds.SIMULATORS)}
    wanted |= {name: tag for tag, name in builds.PUBLISHED_ALSO.items()}
    login = {"username": key.id, "password": key.secret}
    lines = {f"{address} {name} {client.images.get(tag).id}": (name, tag) for name, tag in wanted.items()}
    for line in lines.keys() - pushed:
        name, tag = lines[line]
        repository, version = name.rsplit(":", 1)
        client.images.get(tag).tag(f"{address}/{repository}", version)
        repository_there = f"{address}/{repository}"
        for event in client.images.push(repository_there, version, stream=True, decode=True, auth_config=login):
            if "error" in event:
                raise SandboxError(f"{name} could not be pushed to the registry on {address}: {event['error']}")
        client.images.remove(f"{address}/{repository}:{version}")
    record.write_text("\n".join(sorted(lines)), encoding="utf-8")


def ensure_edge(sandbox: Sandbox, client: DockerClient) -> None:
    """Start the internet gateway, which answers on the Elastic IPs, unless it runs."""
    if find(sandbox, client, "edge"):
        return
    client.containers.run(
        builds.HOSTS["debian13"].tag,
        ["python3", "-m", "sandbox.guest.edge", "/state/edge.json"],
        name=sandbox.name("edge"),
        labels=sandbox.labels,
        network_mode="host",
        detach=True,
        **helper(sandbox),
    )


def environment(sandbox: Sandbox, url: str, key: Key) -> dict[str, str]:
    """Return the environment with which the collection's commands use a cloud as AWS."""
    inventory = PROJECT / "inventory"
    return {
        **key.environment,
        "NGC_API_KEY": NGC_API_KEY,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SANDBOX_DIR": str(sandbox.state),
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_INVENTORY": f"{inventory / 'aws_ec2.yml'},{inventory / 'sandbox'}",
    }


def write_environment(sandbox: Sandbox, url: str, key: Key) -> None:
    """Write the file to source, with which the collection's commands use the sandbox as AWS."""
    lines = ["# Source this: the collection's commands then work against the sandbox as they would against AWS."]
    lines += ["unset AWS_PROFILE AWS_SESSION_TOKEN AWS_SECURITY_TOKEN"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment(sandbox, url, key).items()]
    lines += [f"export PATH={shlex.quote(str(PROJECT / '.venv' / 'bin'))}:$PATH"]
    write_private(sandbox.environment_file, "\n".join(lines) + "\n")
