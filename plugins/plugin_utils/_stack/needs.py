# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each service and profile of the stack needs of a machine."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1024


class CapacityError(ValueError):
    """An unknown profile; the message lists the known ones."""


@dataclass(frozen=True)
class Need:
    """What a part of the stack needs, as a minimum and to run well.

    Attributes:
        vram: memory of the GPU, in MiB.
        ram: memory of the machine, in MiB.
        disk: images, models and caches, in GiB.
        rt_cores: whether it requires a GPU with RT cores.
    """

    vram: tuple[int, int] = (0, 0)
    ram: tuple[int, int] = (0, 0)
    disk: tuple[int, int] = (0, 0)
    rt_cores: bool = False


# Memory of isaac_sim, riva, nim and ros2: "Memory Breakdown" in the AWS deployment guide of the Digital Twin Robotics
# Lab, its GB read as GiB. Memory of the others: their limits in compose.yaml. Disk: "Storage Requirements" there lists
# only the totals, 100 and 200; their distribution is an estimate. RT cores: the system requirements of Isaac Sim.
COMPONENTS = {
    "redis": Need(ram=(256, 256)),
    "cognitive": Need(ram=(256, 256)),
    "riva": Need(vram=(2 * GIB, 4 * GIB), ram=(2 * GIB, 2 * GIB), disk=(20, 40)),
    "nim": Need(vram=(6 * GIB, 8 * GIB), ram=(4 * GIB, 4 * GIB), disk=(25, 50)),
    "ros2": Need(ram=(2 * GIB, 2 * GIB), disk=(5, 10)),
    "isaac_sim": Need(vram=(8 * GIB, 12 * GIB), ram=(4 * GIB, 6 * GIB), disk=(40, 80), rt_cores=True),
    "foxglove": Need(ram=(128, 128)),
}
# What the default image of `nim` needs on the GPU, more than the guide's figure: by NVIDIA's own estimate 16 GB for
# 8 billion weights of 16 bits, and about 2 GiB to work with. The guide's holds for a small or quantised model.
DEFAULT_MODEL = 17 * GIB
# NIM gets at most this share of a GPU, its own default.
LARGEST_SHARE = 0.9

# The system itself with Docker, and the memory that the instance type has but Linux does not see.
HOST = Need(ram=(1 * GIB, 1 * GIB), disk=(10, 20))

# The profiles of compose.yaml.
PROFILES = {
    "sim": ("redis", "cognitive", "isaac_sim", "ros2", "foxglove"),
    "nav": ("redis", "cognitive", "ros2", "foxglove"),
    "voice": ("redis", "cognitive", "riva", "nim"),
    "full": tuple(COMPONENTS),
}

# The shared memory of the containers in the guide.
SHARED_MEMORY = 16 * GIB


def components(profile: str) -> tuple[str, ...]:
    """Return the services of a profile.

    :raises CapacityError: there is no such profile.
    """
    if profile not in PROFILES:
        raise CapacityError(f"profile is {profile!r}. Allowed: {', '.join(PROFILES)}")
    return PROFILES[profile]


def need(profile: str) -> Need:
    """Return what a profile needs, including the system itself.

    :raises CapacityError: there is no such profile.
    """
    parts = [HOST, *(COMPONENTS[name] for name in components(profile))]
    return Need(
        vram=_sum([part.vram for part in parts]),
        ram=_sum([part.ram for part in parts]),
        disk=_sum([part.disk for part in parts]),
        rt_cores=any(part.rt_cores for part in parts),
    )


def _sum(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(least for least, _well in pairs), sum(well for _least, well in pairs)
