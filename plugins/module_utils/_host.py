# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads packages, units, files, users and the output of commands of this host. Nothing here changes the host."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import signal
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

PACKAGE_FIELDS = {
    "version": "${Version}",
    "status": "${db:Status-Status}",
    "want": "${db:Status-Want}",
    "architecture": "${Architecture}",
    "source": "${source:Package}",
    "maintainer": "${Maintainer}",
}
UNIT_PROPERTIES = [
    "Id", "Names", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "Job", "MainPID", "StatusText",
    "FragmentPath", "DropInPaths", "NeedDaemonReload", "ActiveEnterTimestamp",
]  # fmt: skip
UNSETTLED = {"activating", "deactivating", "reloading"}
# Exists where systemd runs.
SYSTEMD = Path("/run/systemd/system")
POLL_SECONDS = 1.0
MAGIC = set("*?[")
# The exit statuses of the shell and timeout(1).
NOT_FOUND = 127
TIMED_OUT = 124
# sudo often leaves out the folders of the system's programs.
FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class CommandError(Exception):
    """A program that the module itself needs has failed; the text is its error message."""


async def output_of(argv: Sequence[str], timeout: float, stdin: str) -> tuple[int, bytes, bytes]:
    """Return the exit status and the output of a command, or kill it with what it has started."""
    path = ":".join([os.environ.get("PATH", ""), *FOLDERS])
    # Files, not pipes: a process that leaves the group would keep a pipe open.
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        program = await asyncio.create_subprocess_exec(
            *argv,
            stdin=given,
            stdout=out,
            stderr=err,
            env={**os.environ, "LC_ALL": "C", "PATH": path},
            start_new_session=True,
        )
        end = asyncio.ensure_future(program.wait())
        await asyncio.wait([end], timeout=timeout)
        if not end.done():
            os.killpg(program.pid, signal.SIGKILL)
            await end
            return TIMED_OUT, b"", f"no answer within {timeout:g} s".encode()
        out.seek(0)
        err.seek(0)
        return end.result(), out.read(), err.read()


def run(argv: Sequence[str], timeout: float, stdin: str = "") -> dict[str, Any]:
    """Run a command, and return its exit status and output."""
    try:
        status, *texts = asyncio.run(output_of(argv, timeout, stdin))
    except OSError as error:
        status, texts = NOT_FOUND, [b"", f"{argv[0]}: {error.strerror}".encode()]
    out, err = (text.decode(errors="replace") for text in texts)
    return {"rc": status, "stdout": out, "stdout_lines": out.splitlines(), "stderr": err}


def read_packages(patterns: list[str], timeout: float) -> dict[str, dict[str, Any]]:
    """Return what dpkg records of packages, by name."""
    if not patterns:
        return {}
    form = "\t".join(["${Package}", *PACKAGE_FIELDS.values()]) + "\n"
    asked = run(["dpkg-query", "--show", f"--showformat={form}", *patterns], timeout)
    # Status 1: dpkg does not know some of them.
    if asked["rc"] not in {0, 1}:
        raise CommandError(f"dpkg-query failed with status {asked['rc']}: {asked['stderr'].strip()}")
    packages: dict[str, dict[str, Any]] = {}
    for line in asked["stdout_lines"]:
        name, *values = line.split("\t")
        package: dict[str, Any] = dict(zip(PACKAGE_FIELDS, values, strict=True))
        package["hold"] = package.pop("want") == "hold"
        # Of a package in several architectures, the installed one counts.
        if packages.get(name, {}).get("status") != "installed":
            packages[name] = package
    return packages


def read_units(names: list[str], properties: list[str], settle: float, timeout: float) -> dict[str, dict[str, str]]:
    """Return the properties of units, by the name that was asked for, once none of them is about to change."""
    if not names or not SYSTEMD.is_dir():
        return {}
    wanted = ",".join(dict.fromkeys([*UNIT_PROPERTIES, *properties]))
    ends = time.monotonic() + settle
    while True:
        asked = run(["systemctl", "show", f"--property={wanted}", "--", *names], timeout)
        if asked["rc"] != 0:
            raise CommandError(f"systemctl show failed with status {asked['rc']}: {asked['stderr'].strip()}")
        blocks = [
            dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
            for block in asked["stdout"].strip("\n").split("\n\n")
        ]
        units = dict(zip(names, blocks, strict=True))
        settled = not any(unit.get("ActiveState") in UNSETTLED or unit.get("Job") for unit in units.values())
        if settled or time.monotonic() >= ends:
            return units
        time.sleep(POLL_SECONDS)


def expand(paths: list[str]) -> list[str]:
    """Return paths, with patterns replaced by what matches them."""
    found: list[str] = []
    for path in paths:
        found += sorted(map(str, Path("/").glob(path.lstrip("/")))) if set(path) & MAGIC else [path]
    return found


def read_file(path: str, *, content: bool) -> dict[str, Any]:
    """Return the state of a path."""
    link = str(Path(path).readlink()) if Path(path).is_symlink() else ""
    try:
        status = Path(path).stat()
    except OSError as error:
        # A link that leads to itself leads nowhere.
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise
        return {"exists": False, "link": link}
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory"}.get(stat.S_IFMT(status.st_mode), "other")
    found = {
        "exists": True,
        "link": link,
        "kind": kind,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
        "modified": status.st_mtime,
    }
    # Files of /proc and /sys are regular as well.
    if content and kind == "file":
        try:
            found["content"] = Path(path).read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return {"exists": False, "link": link}
    return found


def read_files(paths: list[str], texts: list[str]) -> dict[str, dict[str, Any]]:
    """Return the state of each path, and the content of text files."""
    contents = expand(texts)
    return {path: read_file(path, content=path in contents) for path in dict.fromkeys([*expand(paths), *contents])}


def read_users(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the users that exist, by name."""
    users = {}
    for name in names:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        groups = []
        for number in os.getgrouplist(name, user.pw_gid):
            try:
                groups.append(grp.getgrgid(number).gr_name)
            except KeyError:
                groups.append(str(number))
        users[name] = {
            "uid": user.pw_uid,
            "gid": user.pw_gid,
            "home": user.pw_dir,
            "shell": user.pw_shell,
            "groups": groups,
        }
    return users


def read_groups(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the groups that exist, by name."""
    local = {line.partition(":")[0] for line in Path("/etc/group").read_text("utf-8", "replace").splitlines()}
    groups = {}
    for name in names:
        try:
            groups[name] = {"gid": grp.getgrnam(name).gr_gid, "local": name in local}
        except KeyError:
            continue
    return groups


def check_commands(commands: dict[str, Any]) -> list[str]:
    """Return what is wrong with the commands, a sentence each."""
    problems = []
    for name, command in commands.items():
        if not isinstance(command, dict) or not command.keys() <= {"argv", "stdin"}:
            problems.append(f"commands has {name}, which must be a mapping with argv and optionally stdin.")
        elif not isinstance(command.get("argv"), list) or not command["argv"]:
            problems.append(f"commands has {name}, whose argv must be a list of words.")
    return problems
