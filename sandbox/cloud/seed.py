"""Defaults of an AWS account that moto lacks: the parameters of current images, and EC2 quotas."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.servicequotas import models as quota_models
from moto.ssm.models import Parameter, ssm_backends

from sandbox.cloud.machine_images import MACHINE_IMAGES

# Code: (service, name, value). Enough vCPUs for a few hosts, so that a test can reach the limit; five addresses are
# AWS's own default.
QUOTAS = {
    "L-DB2E81BA": ("ec2", "Running On-Demand G and VT instances", 64.0),
    "L-417A185B": ("ec2", "Running On-Demand P instances", 0.0),
    "L-1216C47A": ("ec2", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 64.0),
    "L-3819A6DF": ("ec2", "All G and VT Spot Instance Requests", 64.0),
    "L-7212CCBC": ("ec2", "All P4, P3 and P2 Spot Instance Requests", 0.0),
    "L-34B43A08": ("ec2", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 64.0),
    "L-0263D0A3": ("ec2", "EC2-VPC Elastic IPs", 5.0),
}


def seed_parameters(region: str) -> None:
    """Put the public parameters into one region; the API refuses names below ``/aws/``, as AWS does."""
    parameter: Any = Parameter
    store = ssm_backends[DEFAULT_ACCOUNT_ID][region]._parameters
    for image in MACHINE_IMAGES:
        for name in image.parameters:
            if not store[name]:
                store[name].append(
                    parameter(
                        account_id=DEFAULT_ACCOUNT_ID,
                        name=name,
                        value=image.id,
                        parameter_type="String",
                        description=None,
                        allowed_pattern=None,
                        keyid=None,
                        last_modified_date=utcnow(),
                        version=1,
                        data_type="aws:ec2:image",
                    )
                )


def set_quota(code: str, value: float) -> None:
    """Change one quota's value.

    :raises KeyError: the code is not among ``QUOTAS``.
    """
    service, name = QUOTAS[code][:2]
    QUOTAS[code] = (service, name, value)


def install_quotas() -> None:
    """Add the EC2 quotas to moto's Service Quotas."""
    models: Any = quota_models
    known_before = models.ServiceQuotasBackend.get_service_quota

    def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
        service, name, value = QUOTAS.get(quota_code, ("", "", 0.0))
        if service != service_code:
            answer: dict[str, Any] = known_before(self, service_code, quota_code)
            return answer
        return {
            "ServiceCode": service,
            "QuotaCode": quota_code,
            "QuotaName": name,
            "Value": value,
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }

    models.ServiceQuotasBackend.get_service_quota = get_service_quota


def elastic_addresses(prefix: str) -> Callable[[], str]:
    """Return a source of fresh addresses in a /24 such as ``127.66.17``, in random order."""
    free = [f"{prefix}.{last}" for last in range(1, 255)]
    random.shuffle(free)

    def next_address() -> str:
        address = free.pop(0)
        free.append(address)
        return address

    return next_address
