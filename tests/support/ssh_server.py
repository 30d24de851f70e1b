# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The beginning of an SSH server (RFC 4253): it proves a host key to real clients, and sees whether they accept it."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
VERSION = b"SSH-2.0-test"
SECONDS = 30


def new_key(kind: str = "ssh-ed25519") -> Key:
    """Return a new host key."""
    return ed25519.Ed25519PrivateKey.generate() if kind == "ssh-ed25519" else ec.generate_private_key(ec.SECP256R1())


def public(key: Key) -> str:
    """Return the public half as OpenSSH writes it, type and base64."""
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(*form).decode("ascii")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def integer(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


def sign(key: Key, data: bytes) -> bytes:
    """Return a signature by a host key in SSH's form."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.sign(data))
    numbers = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return string(b"ecdsa-sha2-nistp256") + string(b"".join(map(integer, numbers)))


@dataclass
class Server:
    """A listening server.

    Attributes:
        accepted: for each client that reached the key exchange, whether it accepted the host key. A client that
            does has not sent its user name yet.
    """

    key: Key
    listening: socket.socket
    accepted: list[bool] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def serve(self) -> None:
        """Serve clients one after another until the socket is closed."""
        while True:
            try:
                connection = self.listening.accept()[0]
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(SECONDS)
                self.accepted.append(self._exchange(connection, stream))

    def _exchange(self, connection: socket.socket, stream: BinaryIO) -> bool:
        """Exchange keys with a client and return whether it continues."""
        connection.sendall(VERSION + b"\r\n")
        client_version = stream.readline().rstrip(b"\r\n")
        host_key = base64.b64decode(public(self.key).split()[1])
        lists = [b"curve25519-sha256", public(self.key).split()[0].encode()]
        lists += [b"aes128-ctr"] * 2 + [b"hmac-sha2-256"] * 2 + [b"none"] * 2 + [b""] * 2
        offer = bytes([KEXINIT]) + os.urandom(16) + b"".join(map(string, lists)) + bytes(5)
        connection.sendall(packet(offer))
        client_offer = receive(stream)
        asked = receive(stream)
        assert (client_offer[0], asked[0]) == (KEXINIT, ECDH_INIT)
        theirs, ours = asked[5:], x25519.X25519PrivateKey.generate()
        ours_public = ours.public_key().public_bytes_raw()
        secret = ours.exchange(x25519.X25519PublicKey.from_public_bytes(theirs))
        hashed = [client_version, VERSION, client_offer, offer, host_key, theirs, ours_public]
        digest = hashlib.sha256(b"".join(map(string, hashed)) + integer(int.from_bytes(secret, "big"))).digest()
        reply = bytes([ECDH_REPLY]) + string(host_key) + string(ours_public) + string(sign(self.key, digest))
        connection.sendall(packet(reply))
        # Without encryption until both have sent NEWKEYS; a client that refuses the key ends instead.
        return receive(stream)[:1] == bytes([NEWKEYS])


def packet(payload: bytes) -> bytes:
    """Return a payload as a packet without encryption."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)


def receive(stream: BinaryIO) -> bytes:
    """Return the payload of the next packet, empty when the client has gone."""
    length = int.from_bytes(stream.read(4), "big")
    body = stream.read(length) if length else b""
    return body[1 : length - body[0]] if body else b""


@contextmanager
def ssh_server(key: Key) -> Iterator[Server]:
    """Serve on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(key, listening)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)
