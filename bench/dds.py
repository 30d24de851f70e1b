# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the large samples that arrive, with and without the settings of role ros2_networking.

Two hosts, which are network namespaces of this machine, exchange samples by Cyclone DDS over a path of 1500 bytes. For
the first table the subscriber is stopped, gets 20 samples of 1 MB, and continues. For the second 2 % of all packets are
lost while 300 samples of 64 kB are sent, 100 a second. Needs root, and restores the kernel settings that it changes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / ".collections")]

from tests.support.dds import (
    COMMON_FRAGMENTS,
    COMMON_RECEIVE_BUFFER,
    GUIDE_RECEIVE_BUFFER,
    LARGE_MESSAGES,
    LOSS_SAMPLES,
    STALL_SAMPLES,
    file_uri,
    kernel_settings,
    losses,
    planned,
    stalls,
)
from tests.support.network import Network, why_impossible

ROUNDS = 5


def main() -> None:
    """Print both tables."""
    reason = why_impossible()
    if reason:
        raise SystemExit(reason)
    plan = planned(discovery="bridge")
    with tempfile.TemporaryDirectory() as folder:
        uri = file_uri(Path(folder), plan["cyclonedds"]["11"])
        buffers = kernel_settings(plan, "net.core.")
        print(f"a stopped subscriber: samples of {STALL_SAMPLES}, {ROUNDS} times")
        for name, configuration, kernel in (
            ("as installed", "", {"net.core.rmem_max": COMMON_RECEIVE_BUFFER}),
            ("kernel of the guide", "", {"net.core.rmem_max": GUIDE_RECEIVE_BUFFER}),
            ("kernel of the role", "", buffers),
            ("kernel and XML of the role", uri, buffers),
        ):
            with Network(2) as network:
                counts = stalls(network, configuration, kernel, ROUNDS)
            print(f"  {name:<44}{' '.join(f'{count:>3}' for count in counts)}", flush=True)
        print(f"2 % of packets lost: samples of {LOSS_SAMPLES} (of the second half), reliable and best effort")
        for name, configuration, kernel in (
            ("as installed", "", COMMON_FRAGMENTS),
            ("messages of 65500 bytes", LARGE_MESSAGES, COMMON_FRAGMENTS),
            ("messages of 65500 bytes, kernel of the role", LARGE_MESSAGES, kernel_settings(plan, "net.ipv4.")),
            ("kernel and XML of the role", uri, kernel_settings(plan, "net.ipv4.")),
        ):
            results = ""
            for reliable in (True, False):
                with Network(2) as network:
                    arrived, late = losses(network, configuration, kernel, reliable=reliable)
                results += f"{f'{arrived} ({late})':>12}"
            print(f"  {name:<44}{results}", flush=True)


if __name__ == "__main__":
    main()
