# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of systemd's mount units, and which folders may be on a data volume."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

PLAIN = re.compile(r"[A-Za-z0-9:_.]")
PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+\Z")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
UNIT = re.compile(r"[A-Za-z0-9:_.@-]+[.](service|socket|target)\Z")
MODE = re.compile(r"0?[0-7]{3,4}\Z")
# Where a mount would hide what the host needs to boot, or what its processes have open.
SYSTEM = {
    f"/{name}"
    for name in (
        *(
            "bin",
            "boot",
            "dev",
            "etc",
            "home",
            "lib",
            "lib64",
            "media",
            "mnt",
            "opt",
            "proc",
            "root",
            "run",
            "sbin",
            "srv",
        ),
        *(
            "sys",
            "tmp",
            "usr",
            "usr/local",
            "usr/share",
            "var",
            "var/cache",
            "var/lib",
            "var/log",
            "var/run",
            "var/spool",
        ),
        *("var/tmp", "var/lib/dpkg", "var/lib/systemd"),
    )
}
BELOW = tuple(f"{path}/" for path in ("/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr/lib", "/var/run"))
MOST_NAMES = 3
MOUNTINFO = "/proc/self/mountinfo"


def unit_of_path(path: str, suffix: str) -> str:
    """Return the name of the unit of an absolute path, as systemd-escape prints it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    text = "-".join("".join(map(_escape, part)) for part in parts)
    if text.startswith("."):
        text = "\\x2e" + text[1:]
    return f"{text or '-'}.{suffix}"


def _escape(char: str) -> str:
    """Return a character as the name of a unit contains it."""
    return char if PLAIN.match(char) else "".join(f"\\x{octet:02x}" for octet in char.encode("utf-8"))


def find_volume_problems(path: str, directories: Sequence[Mapping[str, Any]], services: Sequence[str]) -> list[str]:
    """Return what is wrong with where a volume is mounted, and with the folders on it, one sentence for each."""
    found = _find_path_problem("data_volume_path", path)
    for one in directories:
        shown = json.dumps(dict(one), default=str)
        if not NAME.match(str(one.get("name", ""))):
            found.append(
                f"data_volume_directories has {shown}. Allowed as name: letters, digits, _ . and -, beginning with a "
                "letter or a digit, such as models. Correct the name."
            )
        if one.get("mode") is not None and not MODE.match(str(one["mode"])):
            found.append(
                f'data_volume_directories has {shown}. Allowed as mode: text in octal, such as "0755". Correct it.'
            )
        found += _find_path_problem("data_volume_directories", str(one.get("path", "")))
    names = [str(one.get("name", "")) for one in directories]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(
            f"data_volume_directories has the name {name} more than once. Allowed: each name once. Rename one."
        )
    found += _find_nested([path, *(str(one.get("path", "")) for one in directories)])
    found += [
        f"data_volume_services has {json.dumps(unit)}. Allowed: names of units, such as docker.service. Correct it."
        for unit in services
        if not UNIT.match(str(unit))
    ]
    return found


def _find_path_problem(variable: str, path: str) -> list[str]:
    """Return why nothing can be mounted at a path."""
    allowed = "Allowed: the absolute path of a folder that the system does not need, such as /data. Correct the path."
    plain = PATH.match(path) and not {".", ".."} & set(path.split("/"))
    if not plain or path in SYSTEM or path.startswith(BELOW):
        return [f"{variable} has the path {json.dumps(path)}. {allowed}"]
    return []


def _find_nested(paths: Sequence[str]) -> list[str]:
    """Return which paths are the same, or inside of each other."""
    return [
        f"{inner} is {'declared twice' if inner == outer else f'inside of {outer}'}. Allowed: data_volume_path and "
        "paths of data_volume_directories that do not contain each other. Correct one of them."
        for number, outer in enumerate(paths)
        for other, inner in enumerate(paths)
        if number != other and (inner.startswith(f"{outer}/") or (inner == outer and number < other))
    ]


def find_hidden(
    targets: Sequence[str], files: Mapping[str, Mapping[str, Any]], mounted: Sequence[str], roots: Sequence[str]
) -> list[str]:
    """Return one sentence for each target that is in use, except those where the volume is mounted as declared.

    Args:
        targets: Where something is to be mounted.
        files: What host_info has found there, and in the folders, and the list of mounts.
        mounted: Where the volume is mounted.
        roots: The path within the volume that each target is to show.
    """
    # The fourth word of a line is the part of the file system that is mounted, the fifth the mount point. The last
    # mount at a point covers the others.
    points = {words[4]: words[3] for words in map(str.split, files[MOUNTINFO].get("content", "").splitlines())}
    wanted = dict(zip(targets, roots, strict=False))
    found = []
    for target in targets:
        names = [str(PurePosixPath(path).name) for path in sorted(files) if str(PurePosixPath(path).parent) == target]
        if target in mounted:
            if points.get(target) != wanted[target]:
                found.append(
                    f"{target} shows {points.get(target)} of the volume. Allowed: {wanted[target]}, as declared. "
                    "Restore the name in data_volume_directories, or stop what uses it, unmount it and rename the "
                    "folder."
                )
            continue
        if target in points:
            found.append(
                f"{target} is a mount point of something else. Allowed: a folder where nothing is mounted. Unmount it, "
                "or correct the path."
            )
        elif names:
            shown = ", ".join([*names[:MOST_NAMES], *(["..."] if len(names) > MOST_NAMES else [])])
            found.append(
                f"{target} contains {shown}, which a mount would hide. Allowed: a folder that is empty or missing. "
                "Stop what uses it, rename it, apply the role, then copy its content to the new one with `cp -a`."
            )
        elif files[target].get("exists") and files[target].get("kind") != "directory":
            found.append(f"{target} is not a folder. Allowed: a folder that is empty or missing. Correct the path.")
    return found


def find_unit_problems(
    units: Mapping[str, Mapping[str, str]], targets: Sequence[str], services: Sequence[str]
) -> list[str]:
    """Return one sentence for each mount that is not as it should be, and each service that starts without it."""
    found = []
    for unit in (unit_of_path(target, "mount") for target in targets):
        state = units.get(unit, {})
        enabled, active = state.get("UnitFileState") or "missing", state.get("ActiveState") or "unknown"
        if (enabled, active) != ("enabled", "active"):
            found.append(
                f"{unit} should be enabled and active. It is {enabled} and {active}. See systemctl status {unit}."
            )
    for service in services:
        state = units.get(service, {})
        missing = [target for target in targets if target not in state.get("RequiresMountsFor", "").split()]
        if state.get("LoadState") == "loaded" and missing:
            found.append(f"{service} starts without {', '.join(missing)}. Apply the role.")
    return found
