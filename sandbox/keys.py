"""The random keys with which callers sign: one for the sandbox's user, one for each role of an instance."""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.errors import SandboxError
from sandbox.settings import REGION

# The service name for signing requests to the sandbox itself.
CONTROL_SERVICE = "sandbox"
KEY_BITS = 160


class Key(NamedTuple):
    """An access key, as AWS's clients use it; the token is empty unless it is an instance's temporary key."""

    id: str
    secret: str
    token: str = ""

    @classmethod
    def new(cls) -> Self:
        """Return a random key of a user."""
        return cls(f"AKIA{random_name()}", secrets.token_hex(KEY_BITS // 8))

    @classmethod
    def temporary(cls) -> Self:
        """Return a random key of an instance."""
        return cls(f"ASIA{random_name()}", secrets.token_hex(KEY_BITS // 8), secrets.token_hex(KEY_BITS // 8))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Return the key in a shell's environment.

        :raises KeyError: it is not set.
        """
        return cls(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the key in a file.

        :raises OSError, ValueError, KeyError: the file is missing or does not contain a key.
        """
        row = json.loads(path.read_text(encoding="utf-8"))
        return cls(str(row["id"]), str(row["secret"]))

    @property
    def environment(self) -> dict[str, str]:
        """The variables in which AWS's clients look for a user's key."""
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}

    def sign(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request to the sandbox itself, with its signature.

        The secret is not among them: a process that took the port of a cloud that died does not get it.
        """
        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
        SigV4Auth(Credentials(self.id, self.secret), CONTROL_SERVICE, REGION).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}


def random_name() -> str:
    """Return the random part of an access key's id."""
    return base64.b32encode(secrets.token_bytes(KEY_BITS // 8)).decode("ascii")


def ensure_key(path: Path) -> Key:
    """Return the key in a file, which is created if it is missing; only its owner can read it.

    :raises SandboxError: the file does not hold a key.
    """
    if path.exists():
        try:
            return Key.read(path)
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"{path} does not hold a key. Run `make sandbox-down`, then `make sandbox`.") from error
    key = Key.new()
    write_private(path, json.dumps({"id": key.id, "secret": key.secret}))
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can ever read."""
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    scratch.replace(path)


class Keys:
    """The keys that a cloud knows."""

    def __init__(self, own: Key) -> None:
        """Start with the key of the cloud's user; keys of instances are added."""
        self.own = own
        self._roles: dict[str, Key] = {}
        self._lock = threading.Lock()

    def of_role(self, role: str) -> Key:
        """Return the key of the instances with a role; each role has its own."""
        with self._lock:
            return self._roles.setdefault(role, Key.temporary())

    def find(self, key_id: str) -> Key | None:
        """Return the key with an id; None when it is not known."""
        with self._lock:
            return {key.id: key for key in (self.own, *self._roles.values())}.get(key_id)
