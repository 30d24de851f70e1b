"""Where one sandbox keeps its state, and the names and labels of everything it makes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LABEL = "digital_twin"
REGION = "us-east-1"
# What a caller on this machine's loopback is called on the simulated internet; from a range for documentation.
PUBLIC_ADDRESS = "203.0.113.10"
REGISTRY_HOST = "registry.sandbox.internal"
REGISTRY_PORT = 5000
# Where the registry accepts images, from the sandbox's key alone.
PUSH_PORT = 5001
PACKAGES_HOST = "packages.sandbox.internal"
# Where hosts reach the AWS API, over HTTP: an interface endpoint of their VPC.
AWS_HOST = "aws.sandbox.internal"


@dataclass(frozen=True)
class Sandbox:
    """One sandbox: several can run side by side on a machine, told apart by their state directory."""

    state: Path

    @classmethod
    def at(cls, state: str | os.PathLike[str] | None = None) -> Sandbox:
        """Return the sandbox of a state directory; ``SANDBOX_DIR`` or ``.sandbox`` in the checkout by default."""
        chosen = state or os.environ.get("SANDBOX_DIR") or PROJECT / ".sandbox"
        return cls(Path(chosen).resolve())

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that tell this sandbox from others on the machine."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def labels(self) -> dict[str, str]:
        """The Docker labels of everything this sandbox makes; clean-up goes by them and by nothing else."""
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
        """The /24 of the loopback range in which this sandbox's Elastic IPs lie, such as ``127.66.17``.

        Loopback addresses make an Elastic IP what it is to its user (an address on which the host answers, ports as
        opened by the security group) without making anything reachable from outside the machine.
        """
        digest = bytes.fromhex(self.id)
        return f"127.{64 + digest[0] % 64}.{digest[1]}"

    @property
    def log(self) -> Path:
        """What the cloud process prints."""
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
        """The key with which callers of the cloud sign."""
        return self.state / "key.json"

    @property
    def guest(self) -> Path:
        """What the helper containers read: the edge's and the metadata service's configuration."""
        return self.state / "guest"

    @property
    def aws_socket(self) -> Path:
        """The Unix socket on which the cloud serves hosts; their VPC's endpoint finds it in its own mount."""
        return self.guest / "aws.sock"

    @property
    def keys(self) -> Path:
        """Where labs in this sandbox keep the private keys that they generate."""
        return self.state / "keys"
