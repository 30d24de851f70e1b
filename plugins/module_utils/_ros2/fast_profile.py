# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether Fast DDS takes a profile, and why not.

A program of its own, with the profile as its only argument. It asks Fast DDS's discovery server, which reads the
profile first, and then ends without having opened a socket, as it is told to listen at an address that is none. Nothing
of Ansible is imported here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys

SERVER = "fast-discovery-server"
# What it says once it has taken the profile.
ENDED = "Invalid listening locator address specified"
SECONDS = 30
# Profiles that Fast DDS would read besides.
OTHER_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
COMPLAINT = re.compile(r"XMLPARSER Error\] (.+?)(?: -> Function .*)?$", re.MULTILINE)


def complaints(said: str) -> list[str]:
    """Return what the server holds against the profile, or all that it says where it did not come as far as planned."""
    plain = COLOURS.sub("", said)
    found = COMPLAINT.findall(plain)
    if found or ("XMLPARSER" not in plain and ENDED in plain):
        return list(found)
    return [line.strip() for line in plain.splitlines() if line.strip()] or [f"{SERVER} said nothing"]


async def said_by(command: list[str], environment: dict[str, str]) -> str:
    """Return what a program writes until it ends.

    Raises:
        OSError: it cannot be started, or did not end in time and was killed.
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
    """Ask about a profile, write what stands against it, and return the exit status."""
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_PROFILES}
    command = [SERVER, "-i", "0", "-l", "", "-x", sys.argv[1]]
    try:
        found = complaints(asyncio.run(said_by(command, environment)))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
