# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of ``local_aws``, whose environment has moto's settings. It prints its port."""

from __future__ import annotations

import json
import os

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from sandbox.cloud import alarms, ec2_patches, metrics, seed
from sandbox.cloud.proxy import Proxy
from sandbox.keys import Key, Keys


def main() -> None:
    """Serve until the process is terminated."""
    seed.install_quotas()
    ec2_patches.install()
    alarms.install()
    metrics.install()
    key = Key(*json.loads(os.environ["TEST_AWS_KEY"]))
    application = Proxy("test", DomainDispatcherApplication(create_backend_app), Keys(key))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
