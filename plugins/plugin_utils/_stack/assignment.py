# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which service gets which GPU of a machine. Pure functions."""

from __future__ import annotations

from collections.abc import Collection

# The services that use a GPU, in the order in which they get one. Of two GPUs, the language model has one for itself.
GPU_SERVICES = ("isaac_sim", "nim", "riva")


def assign(names: Collection[str], count: int) -> dict[str, int]:
    """Return the number of the GPU of each service that uses one. None of them can use several.

    Args:
        names: the services of a profile.
        count: number of GPUs; without any, all services share the number 0.
    """
    users = [name for name in GPU_SERVICES if name in names]
    return {name: number % max(count, 1) for number, name in enumerate(users)}


def devices(names: Collection[str], count: int) -> dict[str, str]:
    """Return the CDI device of each service that uses a GPU: `all` on a machine with one."""
    return {name: str(number) if count > 1 else "all" for name, number in assign(names, count).items()}
