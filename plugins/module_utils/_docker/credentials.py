# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The credentials of image registries, as docker login keeps them, in the form in which Docker Engine wants them.

Nothing of Ansible is imported here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCKER_HUB = "docker.io"
# Docker Hub's credentials are kept under an address of its first version.
DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
HELPER_SECONDS = 30
# Who a helper says has logged in when what it gives is a token.
NAMELESS = "<token>"


class CredentialsError(Exception):
    """The configuration has credentials that cannot be had from it."""


@dataclass(frozen=True)
class Credentials:
    """What to tell the engine for one registry.

    Attributes:
        authorization: the value of X-Registry-Auth; empty for none.
        secrets: what of it nobody is to read.
    """

    authorization: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def read_config(path: str) -> dict[str, Any]:
    """Return Docker's configuration; an empty one when there is no file.

    Raises:
        CredentialsError: the file cannot be read, or is none.
    """
    try:
        config = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(
            f"docker_config: {path} cannot be read: {error.strerror}. Correct the path, or run as root"
        ) from None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise CredentialsError(f"docker_config: {path} is no object of JSON. Write it anew with docker login")
    return config


def credentials_for(registry: str, config: dict[str, Any], path: str) -> Credentials:
    """Return what a configuration has for a registry, as docker itself would find it.

    Raises:
        CredentialsError: it has something, which cannot be used.
    """
    keys = DOCKER_HUB_KEYS if registry == DOCKER_HUB else (registry,)
    helpers = section(config, "credHelpers", path)
    helper = next((helpers[key] for key in keys if key in helpers), config.get("credsStore"))
    if helper:
        return ask_helper(str(helper), keys[0], path)
    entries = section(config, "auths", path)
    hosts = {host_of(key): key for key in entries}
    key = next((key for key in keys if key in entries), None) or next(
        (hosts[host_of(key)] for key in keys if host_of(key) in hosts), None
    )
    entry = entries.get(key) if key is not None else None
    return of_entry(entry, keys[0], path) if isinstance(entry, dict) else Credentials()


def section(config: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """Return one part of the configuration; an empty one when it is left out.

    Raises:
        CredentialsError: it is something else than an object.
    """
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise CredentialsError(f"docker_config: {name} of {path} is no object. Write it anew with docker login")
    return value


def host_of(key: str) -> str:
    """Return the host, and port, of a key, which may be an address of HTTP."""
    return re.sub(r"^https?://", "", key).partition("/")[0]


def of_entry(entry: dict[str, Any], server: str, path: str) -> Credentials:
    """Return the credentials of an entry of ``auths``.

    Raises:
        CredentialsError: its ``auth`` is none.
    """
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise CredentialsError(
                f"docker_config: auth of {server} in {path} is not user:password in base64. Docker login {server}"
            )
        # The engine's own client takes these for padding.
        password = password.strip("\0")
    return of_parts(
        server, user, password, str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    )


def of_parts(server: str, user: str, password: str, identity_token: str, registry_token: str = "") -> Credentials:
    """Return credentials in the form in which the engine wants them; none when there is nothing in them."""
    parts = {
        "username": user,
        # The token stands in its place.
        "password": "" if identity_token else password,
        "identitytoken": identity_token,
        "registrytoken": registry_token,
    }
    if not any(parts.values()):
        return Credentials()
    text = json.dumps({**{name: value for name, value in parts.items() if value}, "serveraddress": server})
    authorization = base64.urlsafe_b64encode(text.encode()).decode()
    return Credentials(authorization, tuple(filter(None, (password, identity_token, registry_token, authorization))))


async def answer_of(program: str, server: str) -> tuple[int, str]:
    """Return the exit status of a credential helper and what it writes about a registry.

    AnsibleModule.run_command has no bound in time, and a helper may ask a question in a window.

    Raises:
        OSError: the helper cannot be started.
        TimeoutError: it did not answer in time, and was killed.
    """
    pipe = asyncio.subprocess.PIPE
    helper = await asyncio.create_subprocess_exec(program, "get", stdin=pipe, stdout=pipe, stderr=pipe)
    talk = asyncio.ensure_future(helper.communicate(server.encode()))
    await asyncio.wait([talk], timeout=HELPER_SECONDS)
    if not talk.done():
        helper.kill()
        await helper.wait()
        raise TimeoutError
    output, _errors = talk.result()
    return helper.returncode or 0, output.decode("utf-8", "replace")


def ask_helper(helper: str, server: str, path: str) -> Credentials:
    """Return what a credential helper has for a registry.

    Raises:
        CredentialsError: there is no such helper, or it fails.
    """
    name = f"docker-credential-{helper}"
    program = shutil.which(name) if re.fullmatch(r"[\w.-]+", helper) else None
    if program is None:
        raise CredentialsError(f"docker_config: {path} names {name} for {server}, which is not on PATH. Install it")
    remedy = f"do: echo {server} | {name} get"
    try:
        status, output = asyncio.run(answer_of(program, server))
    except TimeoutError:
        raise CredentialsError(f"{name} did not answer for {server} within {HELPER_SECONDS} s; {remedy}") from None
    except OSError as error:
        raise CredentialsError(f"{name} cannot be run: {error.strerror}; {remedy}") from None
    # The words are the protocol's.
    if status != 0 and "credentials not found" in output:
        return Credentials()
    try:
        answer: Any = json.loads(output) if status == 0 else None
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(
            f"{name} gave no credentials for {server} and ended with status {status}; {remedy}"
        ) from None
    if user == NAMELESS:
        return of_parts(server, "", "", secret)
    return of_parts(server, user, secret, "")
