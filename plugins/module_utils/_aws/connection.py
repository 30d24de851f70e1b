# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connect modules of this collection to AWS by the options that all modules of amazon.aws have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

# AnsibleAWSModule reports a missing botocore before anything here is called.
with contextlib.suppress(ImportError):
    from botocore.config import Config

from ansible_collections.amazon.aws.plugins.module_utils.botocore import boto3_inventory_conn, get_aws_connection_info

from .._problem import Problem
from .errors import ReadError, describe_error, translated


def connector(module: Any, attempts: int = 4) -> Callable[[str, str], Any]:
    """Return a function that creates the client of a service (boto3's name) in a region.

    Args:
        module: An AnsibleAWSModule, whose options have the endpoint and the credentials.
        attempts: How often a call is made at most.
    """
    _region, endpoint, settings = get_aws_connection_info(module)
    # Enough for a slow link, and few enough to report an unreachable endpoint within a minute.
    config = Config(connect_timeout=8, read_timeout=20, retries={"mode": "standard", "total_max_attempts": attempts})

    def connect(service: str, region: str) -> Any:
        return boto3_inventory_conn("client", service, region, endpoint, config=config, **settings)

    return connect


def client_of(module: Any, service: str, action: str) -> Any:
    """Return the client of a service in a module's region; messages name the action that it is needed for.

    Raises:
        ReadError: The options or the environment do not describe a connection.
    """
    region = region_of(module)
    with translated(action, region):
        return connector(module)(service, region)


def run_module(module: Any, work: Callable[[Any], dict[str, Any]], *refused: type[Exception]) -> None:
    """Exit a module with the result of its work, or fail with one line for each problem."""
    try:
        result = work(module)
    except refused as error:
        module.fail_json(msg=str(error))
    except ReadError as error:
        module.fail_json(msg=str(describe_error(error)))
    module.exit_json(**result)


def region_of(module: Any) -> str:
    """Return the region that a module's options or the environment name, or fail."""
    region, _endpoint, _settings = get_aws_connection_info(module)
    if not region:
        allowed = "an AWS region such as us-east-1"
        module.fail_json(msg=str(Problem("region", "", "is not set", allowed, "set it, or AWS_REGION")))
    return str(region)
