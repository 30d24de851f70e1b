# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of the service that publishes a host's GPU metrics, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .._gpu.metrics import DEFAULT_METRICS, UNITS


class PublisherSettingsError(Exception):
    """The settings are invalid."""


@dataclass(frozen=True)
class PublisherSettings:
    """The settings of the service.

    Attributes:
        namespace: of all metrics.
        spool: folder of samples that were not sent yet.
        region: empty for the region of the metadata service.
        instance_id: value of the dimension InstanceId; empty for that of the metadata service.
        endpoint_url: of CloudWatch; empty for the region's own.
        dimensions: more of them, for every metric.
        metrics: names of ``UNITS``.
        sample_interval: seconds between samples.
        flush_interval: seconds that a request covers.
        high_resolution: whether the resolution is one second instead of one minute.
        spool_bytes: bound for the folder.
        backoff: seconds before the second attempt; doubled with each failure.
        backoff_max: upper limit of the pause.
        renew_interval: seconds without NVML after which the process ends, since only another one sees a library that
            was replaced.
    """

    namespace: str
    spool: str
    region: str = ""
    instance_id: str = ""
    endpoint_url: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=lambda: list(DEFAULT_METRICS))
    sample_interval: float = 5
    flush_interval: float = 60
    high_resolution: bool = False
    spool_bytes: int = 64 * 2**20
    backoff: float = 2
    backoff_max: float = 300
    renew_interval: float = 300


def read_settings(path: Path) -> PublisherSettings:
    """Return the settings of a file.

    Raises:
        PublisherSettingsError: it cannot be read, or its content is invalid.
    """
    advice = "Apply the role gpu_metrics again."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        settings = PublisherSettings(**document)
    except (OSError, TypeError, ValueError) as error:
        raise PublisherSettingsError(f"{path} cannot be read: {error}. {advice}") from None
    if unknown := set(settings.metrics) - UNITS.keys():
        raise PublisherSettingsError(
            f"{path}: metrics has {', '.join(sorted(unknown))}. Allowed: {', '.join(UNITS)}. {advice}"
        )
    if settings.endpoint_url and not is_endpoint(settings.endpoint_url):
        allowed = "https://HOST or http://HOST, and :PORT of 1 to 65535"
        raise PublisherSettingsError(f"{path}: endpoint_url is {settings.endpoint_url!r}. Allowed: {allowed}. {advice}")
    return settings


def is_endpoint(url: str) -> bool:
    """Return whether a URL has a host, and a valid port or none."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
