# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m cognitive``: run the service until it is stopped."""

from __future__ import annotations

import logging
import os
import sys

from aiohttp import web

from . import config, logs, places
from .app import make_app

# Long enough for the language model's remaining time, and for Redis after it.
SHUTDOWN_SECONDS = 6.0


def main() -> int:
    """Run the service; return 2 if its configuration is not valid."""
    try:
        settings = config.load(os.environ)
        known = places.read(settings.places_file)
    except (config.ConfigError, places.PlacesError) as error:
        print(f"cognitive cannot start: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    fields = {"port": settings.port, "places": known.names, "nim": settings.nim.url if settings.nim else None}
    logging.getLogger("cognitive").info("starting", extra={"fields": fields})
    app = make_app(settings, known)
    web.run_app(
        app,
        host=settings.host,
        port=settings.port,
        access_log=None,
        print=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
