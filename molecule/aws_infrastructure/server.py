# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This scenario's AWS: moto's server without hosts, with the images, parameters and quotas of a real account."""

from __future__ import annotations

import sys
from typing import Any

from moto.ec2.models.elastic_block_store import EBSBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from sandbox.cloud import seed

REGIONS = ("us-east-1", "eu-central-1")


def complete_volumes() -> None:
    """Let the volumes of an instance have what AWS tells of every volume, and moto leaves out."""
    backend: Any = EBSBackend
    create = backend.create_volume

    def create_volume(self: Any, *arguments: Any, **options: Any) -> Any:
        volume = create(self, *arguments, **options)
        volume.snapshot_id = volume.snapshot_id or ""
        if volume.volume_type == "gp3":
            volume.throughput = volume.throughput or 125
        return volume

    backend.create_volume = create_volume


if __name__ == "__main__":
    complete_volumes()
    for name in REGIONS:
        seed.seed_parameters(name)
    seed.install_quotas()
    make_server(
        "127.0.0.1", int(sys.argv[2]), DomainDispatcherApplication(create_backend_app), threaded=True
    ).serve_forever()
