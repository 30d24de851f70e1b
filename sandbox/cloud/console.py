"""The console output of instances: EC2 returns the output of the instance, moto the same text for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.responses.general import General

LARGEST = 65536  # the size in bytes of the console output that EC2 preserves, the newest


def install(read: Callable[[str], bytes]) -> None:
    """Answer GetConsoleOutput in this process.

    :param read: returns the output of an instance's host so far; empty without one.
    """

    def get_console_output(self: Any) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        nitro = INSTANCE_TYPES.get(instance.instance_type, {}).get("Hypervisor") == "nitro"
        if self._get_bool_param("Latest", False) and not nitro:
            refused = "This instance type does not support retrieving the latest console logs."
            raise EC2ClientError("UnsupportedOperation", refused)
        # A serial console ends its lines with both.
        text = read(instance.id).replace(b"\n", b"\r\n")[-LARGEST:].decode("utf-8", "replace")
        result = {"InstanceId": instance.id, "Timestamp": utcnow()}
        if text:
            result["Output"] = Base64EncodedString.from_raw_string(text)
        return ActionResult(result)

    responses: Any = General
    responses.get_console_output = get_console_output
