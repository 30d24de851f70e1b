# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the SSH key of a lab without AWS."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from pathlib import Path

from .._problem import Problem, shown
from .description import Inputs

# EC2 imports these two kinds only.
PUBLIC_KEY_TYPES = ("ssh-ed25519", "ssh-rsa")
LONGEST_KEY_NAME = 255
OTHERS_MAY_READ = 0o077


def check_key(inputs: Inputs) -> list[Problem]:
    """Check where the lab's SSH key comes from: a key pair in AWS, a public key file, or a new private key."""
    return [*_check_key_name(inputs), *_check_public_key(inputs), *_check_private_key(inputs)]


def private_key_is_missing(inputs: Inputs) -> bool:
    """Return whether the role creates the lab's key and its private half is not on this machine."""
    path = inputs.private_key_file
    if inputs.key_name or inputs.public_key_file or not isinstance(path, str) or not path:
        return False
    return not Path(path).expanduser().exists()


def find_key_warnings(inputs: Inputs) -> list[str]:
    """Return what a user should know about a key of their own that is otherwise accepted."""
    path = inputs.private_key_file
    origin = "key_name" if inputs.key_name else "public_key_file"
    if not getattr(inputs, origin) or not isinstance(path, str) or not path:
        return []
    # Another check reports the text of a key without repeating it.
    if "PRIVATE KEY" in path or Path(path).expanduser().exists():
        return []
    variable = inputs.variable("private_key_file")
    return [
        f"{variable}: {shown(path)} does not exist here, and new hosts accept only the private key of "
        f"{inputs.variable(origin)}. Set {variable} to the private key, or load it into ssh-agent."
    ]


def _check_public_key(inputs: Inputs) -> list[Problem]:
    """Check the file of the public key that is to be imported."""
    allowed = "the path of a file that holds one OpenSSH public key, or empty"
    path = inputs.public_key_file
    if path is None or path == "":
        return []
    if not isinstance(path, str):
        return [inputs.problem("public_key_file", "is not text", allowed, "name one file")]
    if "PRIVATE KEY" in path:
        reason = "holds the text of a private key"
        remedy = "name the file of the public key, and consider that private key exposed"
        return [Problem(inputs.variable("public_key_file"), "", reason, allowed, remedy)]
    problems = []
    if inputs.key_name:
        reason = f"is given together with {inputs.variable('key_name')}"
        remedy = "empty one of the two: a key pair has one origin"
        problems.append(inputs.problem("public_key_file", reason, "one of the two, or neither", remedy))
    text, reason = _read_file(path)
    reason = reason or wrong_with_public_key(text)
    if reason:
        remedy = f"name the .pub file; ssh-keygen -t ed25519 -f {_private_half(path)} makes a new pair"
        problems.append(inputs.problem("public_key_file", reason, allowed, remedy))
    return problems


def _check_private_key(inputs: Inputs) -> list[Problem]:
    """Check the file of the private key, which may not exist yet."""
    allowed = "the path of a private key that only its owner may read, or where the lab may write one"
    path = inputs.private_key_file
    if path is None or path == "":
        return []
    if not isinstance(path, str):
        return [inputs.problem("private_key_file", "is not text", allowed, "name one file")]
    if "PRIVATE KEY" in path:
        reason = "holds the text of a private key"
        remedy = "put that text into a file with mode 0600 and name the file"
        return [Problem(inputs.variable("private_key_file"), "", reason, allowed, remedy)]
    file = Path(path).expanduser()
    if not file.exists():
        return []
    text, reason = _read_file(path)
    remedy = "name the private key's file"
    if not reason and "PRIVATE KEY" not in text:
        reason = "holds no private key"
    elif not reason and file.stat().st_mode & OTHERS_MAY_READ:
        reason, remedy = "is readable for others, and ssh refuses such keys", f"chmod 600 {path}"
    return [inputs.problem("private_key_file", reason, allowed, remedy)] if reason else []


def _read_file(path: str) -> tuple[str, str]:
    """Return a file's text, or why it cannot be read."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8", errors="replace"), ""
    except FileNotFoundError:
        return "", "does not exist"
    except OSError as error:
        return "", f"cannot be read ({error.strerror})"


def _private_half(path: str) -> str:
    """Return the path of the private key for a public key's path."""
    return path[: -len(".pub")] if path.endswith(".pub") else path


def _check_key_name(inputs: Inputs) -> list[Problem]:
    """Check the form of a key pair's name; AWS decides whether it exists."""
    allowed = f"the name of a key pair in the region, at most {LONGEST_KEY_NAME} characters of ASCII, or empty"
    value = inputs.key_name
    if value is None or value == "":
        return []
    if not isinstance(value, str):
        return [inputs.problem("key_name", "is not text", allowed, "name one key pair or leave it empty")]
    if not (value.isascii() and value.isprintable() and value == value.strip()) or len(value) > LONGEST_KEY_NAME:
        return [inputs.problem("key_name", "cannot be the name of a key pair", allowed, "correct the name")]
    if value.startswith(("/", "~")) or value.endswith((".pem", ".pub")):
        remedy = (
            f"name the key pair as EC2 lists it, or put a public key's path in {inputs.variable('public_key_file')}"
        )
        return [inputs.problem("key_name", "looks like a file, not like the name of a key pair", allowed, remedy)]
    return []


def wrong_with_public_key(text: str) -> str:
    """Return why a file's text is not one public key that EC2 can import, or nothing."""
    if "PRIVATE KEY" in text:
        return "holds a private key"
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return "is empty"
    if len(lines) > 1:
        return f"holds {len(lines)} lines, not one OpenSSH public key"
    words = lines[0].split()
    if not re.fullmatch(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+", words[0]):
        return "holds no OpenSSH public key"
    if words[0] not in PUBLIC_KEY_TYPES:
        return f"holds a key of type {words[0]}, and EC2 accepts only {' and '.join(PUBLIC_KEY_TYPES)}"
    try:
        blob = base64.b64decode(words[1].encode("ascii"), validate=True)
        (length,) = struct.unpack(">I", blob[:4])
        intact = blob[4 : 4 + length].decode("ascii") == words[0] and len(blob) > 4 + length
    except (IndexError, ValueError, binascii.Error, struct.error):
        intact = False
    return "" if intact else "holds a damaged public key"
