# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves an AWS emulator without hosts, with the images, parameters and quotas of a real account.

Started by `cloud.py` as `server.py <directory> <address> <port>`; callers sign with the key of its environment.
"""

from __future__ import annotations

import os
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from sandbox.cloud import alarms, ec2_patches, metrics, seed
from sandbox.cloud.proxy import Proxy
from sandbox.keys import Key, Keys

REGIONS = ("us-east-1", "eu-central-1")

if __name__ == "__main__":
    ec2_patches.install()
    alarms.install()
    metrics.install()
    seed.install_quotas()
    for region in REGIONS:
        seed.seed_parameters(region)
    application = Proxy("molecule", DomainDispatcherApplication(create_backend_app), Keys(Key.of(os.environ)))
    make_server(sys.argv[2], int(sys.argv[3]), application, threaded=True).serve_forever()
