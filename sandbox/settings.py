"""The paths of a sandbox's state, and the names and labels of everything it creates."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LABEL = "digital_twin"
REGION = "us-east-1"
# The address of this machine's loopback callers on the simulated internet; from a range for documentation.
PUBLIC_ADDRESS = "203.0.113.10"
REGISTRY_HOST = "registry.sandbox.internal"
REGISTRY_PORT = 5000
# The registry's port for pushes, which require the sandbox's key.
PUSH_PORT = 5001
PACKAGES_HOST = "packages.sandbox.internal"
# The address at which hosts reach the AWS API, over HTTP: an interface endpoint of their VPC.
AWS_HOST = "aws.sandbox.internal"


@dataclass(frozen=True)
class Sandbox:
    """One sandbox: several can run on a machine, distinguished by their state directories."""

    state: Path

    @classmethod
    def at(cls, state: str | os.PathLike[str] | None = None) -> Sandbox:
        """Return the sandbox of a state directory; ``SANDBOX_DIR`` or ``.sandbox`` in the checkout by default."""
        chosen = state or os.environ.get("SANDBOX_DIR") or PROJECT / ".sandbox"
        return cls(Path(chosen).resolve())

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that identify this sandbox on the machine."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def labels(self) -> dict[str, str]:
        """The Docker labels of everything this sandbox creates; clean-up uses only them."""
        return {LABEL: self.id}

    @property
    def label_filter(self) -> str:
        """The labels as a Docker list filter."""
        return f"{LABEL}={self.id}"

    def name(self, part: str) -> str:
        """Return the Docker name of one part, such as ``digital-twin-1a2b3c4d-registry``."""
        return f"digital-twin-{self.id}-{part}"

    @property
    def elastic_prefix(self) -> str:
        """The /24 of the loopback range for this sandbox's Elastic IPs, such as ``127.66.17``.

        Loopback addresses make an Elastic IP what it is to its user (an address on which the host answers, ports as
        opened by the security group) without making anything reachable from outside the machine.
        """
        digest = bytes.fromhex(self.id)
        return f"127.{64 + digest[0] % 64}.{digest[1]}"

    @property
    def log(self) -> Path:
        """The log of the cloud process."""
        return self.state / "cloud.log"

    @property
    def process_file(self) -> Path:
        """Process id and port of the cloud, as JSON."""
        return self.state / "cloud.json"

    @property
    def environment_file(self) -> Path:
        """The file to source: ``. .sandbox/env``."""
        return self.state / "env"

    @property
    def key_file(self) -> Path:
        """The file with the key for signing requests to the cloud."""
        return self.state / "key.json"

    @property
    def guest(self) -> Path:
        """The folder that the helper containers read: the edge's and the metadata service's configuration."""
        return self.state / "guest"

    @property
    def disks(self) -> Path:
        """The folder of the disks of its hosts, by which its loop devices are found."""
        return self.state / "disks"

    @property
    def aws_socket(self) -> Path:
        """The Unix socket on which the cloud serves hosts; their VPC's endpoint finds it in its own mount."""
        return self.guest / "aws.sock"

    @property
    def keys(self) -> Path:
        """The folder of the private keys that labs in this sandbox generate."""
        return self.state / "keys"
