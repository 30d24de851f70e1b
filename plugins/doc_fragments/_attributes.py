# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attributes that the modules of this collection document alike."""

from __future__ import annotations


class ModuleDocFragment:
    """The attributes of modules that change nothing (INFO), and of those that change something (DOCUMENTATION)."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and return the changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in check mode, in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode with the same options, the second run returns changed=false.
    support: full
"""

    INFO = r"""
attributes:
  check_mode:
    description: Changes nothing, so that it does the same in check mode.
    support: full
  diff_mode:
    description: It changes nothing, so there is no diff.
    support: N/A
  idempotent:
    description: Changes nothing.
    support: full
"""
