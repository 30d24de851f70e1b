# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether Fast DDS accepts a profile, and why not.

A separate program, with the profile as its only argument. It starts the Fast DDS discovery server, which reads the
profile first and then ends without opening a socket, as its address is invalid. It imports nothing of Ansible.
"""

from __future__ import annotations

import os
import re
import sys

from .._host import NOT_FOUND, TIMED_OUT, run

SERVER = "fast-discovery-server"
# Its message after it has accepted the profile.
ENDED = "Invalid listening locator address specified"
SECONDS = 30
# Variables with other profiles.
OTHER_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ERROR = re.compile(r"XMLPARSER Error\] (.+?)(?: -> Function .*)?$", re.MULTILINE)


def profile_errors(output: str) -> list[str]:
    """Return the errors in the server's output, or all of it when the server did not come as far as planned."""
    plain = COLOURS.sub("", output)
    found = ERROR.findall(plain)
    if found or ("XMLPARSER" not in plain and ENDED in plain):
        return list(found)
    return [line.strip() for line in plain.splitlines() if line.strip()] or [f"{SERVER} printed nothing"]


def main() -> int:
    """Validate a profile, print its errors, and return the exit status."""
    for name in OTHER_PROFILES:
        os.environ.pop(name, None)
    os.chdir("/")
    done = run([SERVER, "-i", "0", "-l", "", "-x", sys.argv[1]], SECONDS)
    if done["rc"] in {NOT_FOUND, TIMED_OUT}:
        sys.stderr.write(f"{SERVER}: {done['stderr']}\n")
        return 1
    found = profile_errors(done["stdout"] + done["stderr"])
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
