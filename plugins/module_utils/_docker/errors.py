# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Classifies the engine's errors of a pull: the remedy, and whether another attempt may help.

The patterns match what dockerd reports with either of its image stores, and what registries answer.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

# As image indexes name them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "i686": "386"}
PLATFORM = re.compile(r"\b(?:linux|windows)/[\w.]+(?:/v\d+)?")


@dataclass(frozen=True)
class Kind:
    """One kind of error.

    Attributes:
        pattern: a regular expression that the engine's error message matches.
        statuses: the HTTP statuses that mean it, where no pattern of any kind matches.
        remedy: a sentence; it may use {registry}, {host}, {name}, {config} and {platform}.
        retryable: whether another attempt may help.
        with_login: the remedy where credentials were used already; empty for the same.
    """

    pattern: str
    remedy: str
    retryable: bool = False
    statuses: tuple[int, ...] = ()
    with_login: str = ""


LOGIN = (
    "No credentials for {registry} are in {config}. Run `docker login {registry}` as a user who may pull it, "
    "or correct the name."
)
# The first match applies.
KINDS = (
    Kind(
        r"no space left|disk quota exceeded|not enough (?:disk )?space",
        "Free disk space where the engine stores images. `docker system df` shows what uses it.",
    ),
    Kind(
        r"(?:register|extract|unpack|apply)(?:ing)? (?:the )?(?:image )?layer.*(?:permission denied|not permitted)"
        r"|read-only file system|input/output error|structure needs cleaning",
        "The engine cannot write its images. `journalctl -k` and `journalctl -u docker` show why.",
    ),
    Kind(
        r"proxy authentication required|HTTP 407|\b407 Proxy",
        "The proxy requires a user and a password. Add them to "
        "the URL of the engine's proxy, which `docker info` shows.",
        statuses=(407,),
    ),
    Kind(
        r"proxyconnect|proxy (?:error|refused)|socks connect",
        "The engine's proxy blocks the connection. Check the proxy that `docker info` shows.",
        retryable=True,
    ),
    Kind(
        r"toomanyrequests|too many requests|rate.?limit|HTTP 429|\b429\b.{0,3}too",
        "{registry} limits pulls without a login. Run `docker login {registry}`, or pull from a mirror.",
        retryable=True,
        statuses=(429,),
        with_login="{registry} limits the pulls of this account. Run it again later, or pull from a mirror.",
    ),
    Kind(
        r"no matching manifest|no match for platform|no child with platform|cannot be used on this platform"
        r"|does not match the (?:specified|expected) platform|does not provide the (?:specified )?platform"
        r"|was found but does not match",
        "{name} has no image for {platform}. Choose another image, or a machine of another architecture.",
    ),
    Kind(
        r"gave HTTP response to HTTPS client|not look like a TLS handshake|wrong version number",
        "{registry} does not use HTTPS. Add it to the engine's insecure-registries, or correct its port.",
    ),
    Kind(
        r"expired or is(?: not)? (?:not )?yet valid|certificate has expired",
        "The certificate of {registry} is not valid at this time. Check the clock of this host, then the certificate.",
    ),
    Kind(
        r"x509:.*(?:valid for|doesn't contain|not valid for|legacy Common Name)",
        "The certificate of {registry} is for another name. Correct the registry's name, or the certificate.",
    ),
    Kind(
        r"x509:|failed to verify certificate|bad certificate|unknown (?:certificate )?authority|certificate required"
        r"|tls: handshake failure|self[- ]signed",
        "The engine does not trust {registry}. Put the certificate of its authority into "
        "/etc/docker/certs.d/{registry}/ca.crt.",
    ),
    Kind(
        r"no such host|server misbehaving|name resolution|lookup \S+.*(?:timeout|refused|unreachable)",
        "This host cannot resolve the name. Check it and the resolver with `getent hosts {host}`.",
        retryable=True,
    ),
    Kind(
        r"unauthorized|unauthenticated|access denied|denied:|is denied|: denied\b|forbidden|authentication required"
        r"|no basic auth|authori[sz]ation failed|insufficient_scope|incorrect username|payment required"
        r"|not authorized|may require|HTTP 40[123]\b|\b40[123] (?:unauth|forbid|payment)",
        LOGIN,
        statuses=(401, 402, 403),
        with_login=(
            "The credentials from {config} do not suffice. Run `docker login {registry}` as a user who may pull it, "
            "or correct the name."
        ),
    ),
    Kind(
        r"looking for beginning of value|media type:? \"?text/html|<html",
        "Something else answers instead of {registry}, such as a proxy or a login page. Run `curl -i https://{registry}/v2/`.",
    ),
    Kind(
        r"schema ?1|schema version 1|unsupported (?:manifest )?media ?type|unsupported schema|mediaType in manifest",
        "The engine cannot read the format of this image. Update Docker, or choose another tag.",
    ),
    Kind(
        r"manifest unknown|manifest for .* not found|no such manifest|tag does not exist|unknown manifest",
        "{registry} has no such tag or digest. Correct what follows the image's name.",
    ),
    Kind(
        r"verification failed|digest mismatch|(?:verify|invalid|unexpected|wrong).*(?:digest|checksum)"
        r"|failed commit on ref|gzip: invalid|archive/tar|invalid tar header|unexpected (?:EOF|size)|corrupt",
        "The download is damaged or incomplete. Run it again. "
        "If the error remains, check the proxies and mirrors on the way.",
        retryable=True,
    ),
    Kind(
        r"timeout|timed out|deadline exceeded|Client\.Timeout",
        "{registry} does not answer in time. Check with `curl -i https://{registry}/v2/` that this host reaches it.",
        retryable=True,
    ),
    Kind(
        r"connection refused|no route to host|network is (?:unreachable|down)|host is down|connection reset|broken pipe"
        r"|server closed|use of closed",
        "Check with `curl -i https://{registry}/v2/` that this host reaches {registry}, and that its port is right.",
        retryable=True,
    ),
    Kind(
        r"HTTP 5\d\d|\b50\d (?:internal|bad|service|gateway)|unexpected HTTP status|internal server error|bad gateway"
        r"|service unavailable|gateway time",
        "{registry} reports an internal error. Run it again later.",
        retryable=True,
    ),
    Kind(
        r"name unknown|name.?(?:is )?not known|repository .*not (?:found|exist)|not found|invalid reference"
        r"|must be lowercase|invalid repository|HTTP 404\b|404 Not",
        "{registry} has no such image. Correct the name.",
        statuses=(400, 404),
    ),
)
OTHER = Kind("", "Run it again.", retryable=True)


def kind_of(reason: str, status: int) -> Kind:
    """Return the kind of an error.

    Args:
        reason: the engine's error message.
        status: its HTTP status, or 0.
    """
    matching = (kind for kind in KINDS if re.search(kind.pattern, reason, re.IGNORECASE))
    return next(matching, next((kind for kind in KINDS if status in kind.statuses), OTHER))


def remedy_for(kind: Kind, reason: str, name: str, registry: str, config: str, *, with_login: bool) -> str:
    """Return the remedy for an error, as a sentence.

    Args:
        reason: the engine's error message.
        name: the image.
        config: the file with the credentials.
        with_login: whether it has credentials for this registry.
    """
    named = PLATFORM.search(reason)
    machine = platform.machine()
    text = kind.with_login if with_login and kind.with_login else kind.remedy
    return text.format(
        registry=registry,
        host=registry.partition(":")[0],
        name=name,
        config=config,
        platform=named.group() if named else f"linux/{ARCHITECTURES.get(machine, machine)}",
    )
