# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookup aws_region."""

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_region
short_description: Get the AWS region of the environment or the profile
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the region that every AWS client on the control machine uses. In this order, E(AWS_REGION),
    E(AWS_DEFAULT_REGION), and the C(region) of the AWS profile, which is E(AWS_PROFILE) or C(default).
  - Reads the environment and C(~/.aws/config). Sends nothing to AWS.
requirements:
  - boto3, unless E(AWS_REGION) is set
"""

EXAMPLES = r"""
- name: Report the region
  ansible.builtin.debug:
    msg: "{{ lookup('digital_twin.robotics_lab.aws_region') }}"
"""

RETURN = r"""
_raw:
  description: One element, the region. Empty when neither the environment nor the profile names one.
  type: list
  elements: str
  sample: [eu-central-1]
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ..plugin_utils._aws_login import LoginError, region_by_default


class LookupModule(LookupBase):
    """Returns the region of the environment or the profile."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return the region as a list of one element; it takes no terms."""
        if terms or kwargs:
            raise AnsibleLookupError("The lookup aws_region takes no arguments.")
        try:
            return [region_by_default()]
        except LoginError as error:
            raise AnsibleLookupError(str(error)) from error
