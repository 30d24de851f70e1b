# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether Fast DDS accepts a profile, and why not.

A separate program, with the profile as its only argument. It starts the Fast DDS discovery server, which reads the
profile first and then ends without opening a socket, as its address is invalid. It imports nothing of Ansible.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys

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


async def output_of(command: list[str], environment: dict[str, str]) -> str:
    """Return the output of a program.

    Raises:
        OSError: it cannot be started, or was killed as it did not end in time.
    """
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd="/", stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    talk = asyncio.ensure_future(program.communicate())
    await asyncio.wait([talk], timeout=SECONDS)
    if not talk.done():
        program.kill()
        await program.wait()
        raise OSError(f"{SERVER} did not end within {SECONDS} s")
    out, err = talk.result()
    return (out + err).decode("utf-8", "replace")


def main() -> int:
    """Validate a profile, print its errors, and return the exit status."""
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_PROFILES}
    command = [SERVER, "-i", "0", "-l", "", "-x", sys.argv[1]]
    try:
        found = profile_errors(asyncio.run(output_of(command, environment)))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
