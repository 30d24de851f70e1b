# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what the account holds: `save.py <file>`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3

from tests.support.account import holdings

if __name__ == "__main__":
    connect: Any = boto3.client
    Path(sys.argv[1]).write_text(json.dumps(sorted(holdings(connect))), "utf-8")
