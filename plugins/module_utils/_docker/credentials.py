# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The credentials of image registries, from the files and helpers of `docker login`, as Docker Engine expects them.

Docker's SDK is not used: it waits for a credential helper without a limit, and ignores an invalid configuration.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._host import TIMED_OUT, output_of

DOCKER_HUB = "docker.io"
# Docker Hub's credentials are stored under the address of its first version.
DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
HELPER_SECONDS = 30
# The user name that a helper returns with an identity token.
IDENTITY_USER = "<token>"


class CredentialsError(Exception):
    """The credentials in the configuration cannot be used."""


@dataclass(frozen=True)
class Credentials:
    """The credentials for one registry.

    Attributes:
        authorization: the value of X-Registry-Auth; empty for none.
        secrets: the texts to remove from messages.
    """

    authorization: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def read_config(path: str) -> dict[str, Any]:
    """Return Docker's configuration; an empty one when there is no file.

    Raises:
        CredentialsError: the file cannot be read, or is not valid.
    """
    try:
        config = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(
            f"docker_config: {path} cannot be read: {error.strerror}. Correct the path, or run as root."
        ) from None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise CredentialsError(f"docker_config: {path} is not a JSON object. Recreate it with `docker login`.")
    return config


def read_credentials(registries: Collection[str], path: str) -> dict[str, Credentials]:
    """Return the credentials for registries, by registry.

    Raises:
        CredentialsError: the configuration has credentials that cannot be used.
    """
    config = read_config(path) if registries else {}
    return {registry: credentials_for(registry, config, path) for registry in registries}


def credentials_for(registry: str, config: dict[str, Any], path: str) -> Credentials:
    """Return the credentials for a registry, by the rules of the docker command.

    Raises:
        CredentialsError: there are credentials that cannot be used.
    """
    keys = DOCKER_HUB_KEYS if registry == DOCKER_HUB else (registry,)
    helpers = section(config, "credHelpers", path)
    helper = next((helpers[key] for key in keys if key in helpers), config.get("credsStore"))
    if helper:
        return credentials_of_helper(str(helper), keys[0], path)
    entries = section(config, "auths", path)
    hosts = {host_of(key): key for key in entries}
    key = next((key for key in keys if key in entries), None) or next(
        (hosts[host_of(key)] for key in keys if host_of(key) in hosts), None
    )
    entry = entries.get(key) if key is not None else None
    return credentials_of_entry(entry, keys[0], path) if isinstance(entry, dict) else Credentials()


def section(config: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """Return one section of the configuration; an empty one when it is missing.

    Raises:
        CredentialsError: it is not an object.
    """
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise CredentialsError(
            f"docker_config: {name} of {path} is not an object. Recreate the file with `docker login`."
        )
    return value


def host_of(key: str) -> str:
    """Return the host and the port of a key, which may be a URL."""
    return re.sub(r"^https?://", "", key).partition("/")[0]


def credentials_of_entry(entry: dict[str, Any], server: str, path: str) -> Credentials:
    """Return the credentials of an entry of ``auths``.

    Raises:
        CredentialsError: its ``auth`` is not valid.
    """
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise CredentialsError(
                f"docker_config: auth of {server} in {path} is not user:password in base64. "
                f"Run `docker login {server}`."
            )
        # The docker command removes these as padding.
        password = password.strip("\0")
    return credentials_of_parts(
        server, user, password, str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    )


def credentials_of_parts(
    server: str, user: str, password: str, identity_token: str, registry_token: str = ""
) -> Credentials:
    """Return credentials as the engine expects them; empty ones when all parts are empty."""
    parts = {
        "username": user,
        # The identity token replaces it.
        "password": "" if identity_token else password,
        "identitytoken": identity_token,
        "registrytoken": registry_token,
    }
    if not any(parts.values()):
        return Credentials()
    text = json.dumps({**{name: value for name, value in parts.items() if value}, "serveraddress": server})
    authorization = base64.urlsafe_b64encode(text.encode()).decode()
    return Credentials(authorization, tuple(filter(None, (password, identity_token, registry_token, authorization))))


def credentials_of_helper(helper: str, server: str, path: str) -> Credentials:
    """Return the credentials that a helper has for a registry.

    Raises:
        CredentialsError: the helper is missing, or fails.
    """
    name = f"docker-credential-{helper}"
    program = shutil.which(name) if re.fullmatch(r"[\w.-]+", helper) else None
    if program is None:
        raise CredentialsError(f"docker_config: {path} names {name} for {server}, which is not on PATH. Install it.")
    remedy = f"Run `echo {server} | {name} get` to see why."
    try:
        # A helper may wait for input in a window, and AnsibleModule.run_command has no time limit.
        status, answered, _errors = asyncio.run(output_of([program, "get"], HELPER_SECONDS, server))
    except OSError as error:
        raise CredentialsError(f"{name} cannot be run: {error.strerror}. {remedy}") from None
    if status == TIMED_OUT:
        raise CredentialsError(f"{name} did not answer for {server} within {HELPER_SECONDS} s. {remedy}")
    output = answered.decode("utf-8", "replace")
    # The text is defined by the protocol of the helpers.
    if status != 0 and "credentials not found" in output:
        return Credentials()
    try:
        answer: Any = json.loads(output) if status == 0 else None
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(
            f"{name} returned no credentials for {server} and exited with status {status}. {remedy}"
        ) from None
    if user == IDENTITY_USER:
        return credentials_of_parts(server, "", "", secret)
    return credentials_of_parts(server, user, secret, "")
