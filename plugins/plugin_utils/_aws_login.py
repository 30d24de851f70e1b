# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the AWS credentials and the region of the control machine."""

from __future__ import annotations

import os
import sys
from typing import Any

try:
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import ProfileNotFound
except ImportError as error:
    MISSING_LIBRARY = str(error)
else:
    MISSING_LIBRARY = ""

from ..module_utils._aws.account import home_region
from ..module_utils._aws.errors import ReadError, translated
from ..module_utils._aws.names import REGIONS_ALLOWED, region_fault
from ..module_utils._problem import Problem, shown

# Profiles refer to one another by source_profile; a longer chain is a loop.
LONGEST_CHAIN = 10


class LoginError(Exception):
    """AWS cannot be called; the message is one line with the remedy."""


def _session() -> Any:
    """Return a session of botocore, which reads the environment and the files of the AWS clients.

    Raises:
        LoginError: boto3 is not installed.
    """
    if MISSING_LIBRARY:
        raise LoginError(
            f"boto3 is not installed for {sys.executable}, which runs Ansible ({MISSING_LIBRARY}). Run `make setup` "
            f"in a clone and activate its environment, or run `{sys.executable} -m pip install boto3`."
        )
    return botocore.session.Session()


def region_by_default() -> str:
    """Return the region that every AWS client would use, or an empty text.

    The order is that of the AWS clients: AWS_REGION, AWS_DEFAULT_REGION, then the region of the profile. A profile
    that does not exist has no region; `check` names it.

    Raises:
        LoginError: boto3 is not installed.
    """
    named = os.environ.get("AWS_REGION", "").strip()
    if named:
        return named
    session = _session()
    try:
        return str(session.get_config_variable("region") or "")
    except ProfileNotFound:
        return ""


def check(region: str) -> None:
    """Check for known causes of a failure, or of a prompt in the middle of a run, without contacting AWS.

    Args:
        region: The region of the lab; empty if not set.

    Raises:
        LoginError: boto3 is missing, the profile does not exist, needs an MFA code, or the
            region is missing or malformed.
    """
    session = _session()
    profile = session.get_config_variable("profile") or "default"
    try:
        settings = session.get_scoped_config()
    except ProfileNotFound:
        profiles = ", ".join(sorted(session.available_profiles)) or "none"
        raise LoginError(
            f"AWS credentials: the profile {shown(profile)} does not exist. This machine has the profiles: {profiles}. "
            f"Correct AWS_PROFILE, or create the profile with `aws configure --profile {profile}`."
        ) from None
    # Keys in the environment have precedence over a profile, and need no code.
    if not os.environ.get("AWS_ACCESS_KEY_ID") and _requires_a_code(session.full_config.get("profiles", {}), settings):
        raise LoginError(
            f"AWS credentials: the profile {shown(profile)} requires an MFA code, which Ansible cannot enter. Run "
            f'`eval "$(aws configure export-credentials --profile {profile} --format env)"`, which prompts for the '
            "code, then run this again in the same shell."
        )
    if not region:
        raise LoginError(
            f"AWS region: not set, neither in group_vars, in the environment nor in the profile {shown(profile)}. "
            "Set aws_infrastructure_region in group_vars/all.yml, or export AWS_REGION, such as eu-central-1."
        )
    fault = region_fault(region, "aws_infrastructure_availability_zone")
    if fault:
        raise LoginError(str(Problem("aws_infrastructure_region", shown(region), fault[0], REGIONS_ALLOWED, fault[1])))


def _requires_a_code(profiles: dict[str, dict[str, Any]], settings: dict[str, Any]) -> bool:
    """Return whether a profile, or one that it builds on, assumes a role with an MFA device.

    Args:
        profiles: All profiles by name.
        settings: Those of the profile in use.
    """
    for _step in range(LONGEST_CHAIN):
        if settings.get("role_arn") and settings.get("mfa_serial"):
            return True
        source = settings.get("source_profile")
        if not source or source not in profiles or profiles[source] is settings:
            return False
        settings = profiles[source]
    return False


def region_problem(region: str, error: ReadError) -> str:
    """Return one line if the region is the reason why AWS did not answer, or an empty text.

    A region that botocore does not know may be newer than botocore, so this runs only after a failed call. In a region
    that is not enabled, AWS answers as it does to wrong credentials.

    Args:
        region: A well-formed name.
        error: The call that failed there.
    """
    session = _session()
    partitions = session.get_available_partitions()
    known = {name for partition in partitions for name in session.get_available_regions("ec2", partition)}
    if region not in known:
        reason, allowed, remedy = "is not an AWS region", ", ".join(sorted(known)), "choose one of these"
    elif error.code == "AuthFailure" and _is_known_to_aws(home_region(region)):
        reason, allowed = "is not enabled in this account", "a region that the account has enabled"
        remedy = (
            f"choose another, or run `aws account enable-region --region-name {region}` and wait until it is enabled"
        )
    else:
        return ""
    return str(Problem("aws_infrastructure_region", shown(region), reason, allowed, remedy))


def _is_known_to_aws(region: str) -> bool:
    """Return whether AWS accepts the credentials in a region that every account has enabled."""
    try:
        with translated("sts:GetCallerIdentity", region):
            client("sts", region).get_caller_identity()
    except ReadError:
        return False
    return True


def client(service: str, region: str) -> Any:
    """Return a boto3 client that gives up within a minute.

    Args:
        service: boto3's name of the service.
        region: The region.
    """
    config = Config(connect_timeout=8, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
    connect: Any = boto3.session.Session(region_name=region).client
    return connect(service, config=config)
