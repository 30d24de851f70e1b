"""Simulates NVIDIA's nvidia-ctk and nvidia-container-runtime, depending on the name under which it is called.

It describes a host's simulated GPUs: the driver files of Debian's packages, the simulation in place of the files that
would access the hardware, and the folders that hold its state. A container that requested one GPU of several gets only
that device, but its nvidia-smi lists all GPUs: the simulation does not read devices.
"""

from __future__ import annotations

import argparse
import grp
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSION = "@VERSION@"
# The first with specifications of version 0.7.0, which has additionalGids.
FIRST_WITH_GROUPS = (1, 19, 1)
FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
KIND = "nvidia.com/gpu"
# The driver's modules create these on demand, not at boot.
CONTROL_NODES = [Path(f"/dev/nvidia{name}") for name in ("-modeset", "-uvm", "-uvm-tools", "ctl")]
SIMULATION = Path("/usr/local/lib/sandbox-nvml")
STATE = (Path("/var/lib/sandbox-nvml"), Path("/run/sandbox-nvml"))
LIBRARIES = Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH"))
READ_ONLY = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
READ_WRITE = ["rw", *READ_ONLY[1:]]

Edits = dict[str, Any]


class ToolkitError(Exception):
    """What the real programs would log before they exit with 1."""


def ask_driver(*arguments: str) -> str:
    """Return the output of nvidia-smi.

    :raises ToolkitError: there is no driver, or it does not work.
    """
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError as error:
        raise ToolkitError("failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND") from error
    if done.returncode != 0:
        raise ToolkitError(f"failed to initialize NVML: {done.stdout.strip().splitlines()[0]}")
    return done.stdout


def mounts(driver: str) -> Iterator[tuple[Path, Path, list[str]]]:
    """Yield the driver files for a container: the host's path, the container's path, and the options."""
    for pattern in (f"lib*.so.{driver}", f"nvidia/*/lib*.so.{driver}"):
        for library in sorted(LIBRARIES.glob(pattern)):
            if not library.is_symlink():
                yield library, library, READ_ONLY
    # The real programs look for a library by its soname next to these; here nothing creates such a link.
    yield SIMULATION / "libnvidia-ml.so.1", LIBRARIES / "libnvidia-ml.so.1", READ_ONLY
    yield SIMULATION / "nvidia-smi", Path("/usr/bin/nvidia-smi"), READ_ONLY
    for folder in STATE:
        yield folder, folder, READ_WRITE


def specification() -> dict[str, Any]:
    """Return the CDI specification of this host's GPUs.

    :raises ToolkitError: there is no driver, or it does not work.
    """
    gpus = re.findall(r"(?m)^GPU (\d+): .*UUID: (GPU-[^)]+)\)$", ask_driver("-L"))
    if not gpus:
        raise ToolkitError("no GPUs were found")
    driver = ask_driver("--query-gpu=driver_version", "--format=csv,noheader").splitlines()[0]
    has_groups = tuple(map(int, VERSION.split("."))) >= FIRST_WITH_GROUPS
    # Whose group owns the nodes of a real host's displays; here no node has another group than root's.
    groups: Edits = {"additionalGids": [grp.getgrnam("video").gr_gid]} if has_groups else {}
    devices = []
    for index, uuid in gpus:
        edits = {"deviceNodes": [{"path": f"/dev/nvidia{index}"}], **groups}
        devices += [{"name": name, "containerEdits": edits} for name in (index, uuid)]
    everything = [{"path": f"/dev/nvidia{index}"} for index, _uuid in gpus]
    devices.append({"name": "all", "containerEdits": {"deviceNodes": everything, **groups}})
    common: Edits = {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [{"path": str(node)} for node in CONTROL_NODES if node.exists()],
        "mounts": [
            {"hostPath": str(here), "containerPath": str(there), "options": options}
            for here, there, options in mounts(driver)
        ],
    }
    return {
        "cdiVersion": "0.7.0" if has_groups else "0.5.0",
        "kind": KIND,
        "devices": devices,
        "containerEdits": common,
    }


def generate(output: str) -> None:
    """Write the specification, in the part of YAML that is JSON; to standard output when there is no path."""
    text = f"---\n{json.dumps(specification(), indent=2)}\n"
    if not output:
        sys.stdout.write(text)
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole files only: an engine may be reading the old one.
    scratch = path.with_name(f".{path.name}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def create_device_nodes() -> None:
    """Create the missing nodes, with the numbers of /dev/null because there is no kernel module.

    :raises ToolkitError: there is no driver, or it does not work.
    """
    ask_driver("-L")
    for node in CONTROL_NODES:
        if not node.exists():
            os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            node.chmod(0o666)


def list_devices() -> None:
    """Print the devices of all specifications on this host."""
    names = []
    for path in (path for folder in FOLDERS for path in sorted(folder.glob("*.yaml"))):
        text = path.read_text(encoding="utf-8").removeprefix("---\n")
        found = json.loads(text)
        names += [f"{found['kind']}={device['name']}" for device in found["devices"]]
    sys.stderr.write(f'time="0" level=info msg="Found {len(names)} CDI devices"\n')
    sys.stdout.writelines(f"{name}\n" for name in sorted(names))


def ctk(arguments: list[str]) -> int:
    """Be nvidia-ctk."""
    parser = argparse.ArgumentParser(prog="nvidia-ctk")
    parser.add_argument("--version", action="version", version=f"NVIDIA Container Toolkit CLI version {VERSION}")
    subjects = parser.add_subparsers(required=True)
    system = subjects.add_parser("system").add_subparsers(dest="command", required=True)
    nodes = system.add_parser("create-device-nodes")
    nodes.add_argument("--control-devices", action="store_true")
    nodes.add_argument("--load-kernel-modules", action="store_true")
    cdi = subjects.add_parser("cdi").add_subparsers(dest="command", required=True)
    cdi.add_parser("list")
    generator = cdi.add_parser("generate")
    generator.add_argument("--output", default=os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", ""))
    chosen = parser.parse_args(arguments)
    if chosen.command == "create-device-nodes":
        if chosen.control_devices:
            create_device_nodes()
    elif chosen.command == "list":
        list_devices()
    else:
        generate(chosen.output)
    return 0


def edits_for(wanted: list[str]) -> Iterator[Edits]:
    """Yield the edits for a container with these devices.

    :raises ToolkitError: there is no such device.
    """
    known = specification()
    devices = {device["name"]: device["containerEdits"] for device in known["devices"]}
    if missing := [name for name in wanted if name not in devices]:
        raise ToolkitError(f"unresolvable CDI devices {', '.join(f'{KIND}={name}' for name in missing)}")
    for name in wanted:
        yield devices[name]
    yield known["containerEdits"]


def edit(config: dict[str, Any], edits: Edits) -> None:
    """Apply edits to the configuration of an OCI bundle."""
    config["process"].setdefault("env", []).extend(edits.get("env", []))
    if groups := edits.get("additionalGids"):
        config["process"].setdefault("user", {}).setdefault("additionalGids", []).extend(groups)
    linux = config.setdefault("linux", {})
    for node in edits.get("deviceNodes", []):
        found = Path(node["path"]).stat()
        number = {"type": "c", "major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}
        linux.setdefault("devices", []).append(
            {
                "path": node["path"],
                **number,
                "fileMode": found.st_mode & 0o7777,
                "uid": found.st_uid,
                "gid": found.st_gid,
            }
        )
        linux.setdefault("resources", {}).setdefault("devices", []).append({"allow": True, **number, "access": "rwm"})
    config.setdefault("mounts", []).extend(
        {
            "source": mount["hostPath"],
            "destination": mount["containerPath"],
            "type": "bind",
            "options": mount["options"],
        }
        for mount in edits.get("mounts", [])
    )


def runtime(arguments: list[str]) -> int:
    """Run as nvidia-container-runtime: runc, with GPUs for a container whose environment requests them.

    :raises ToolkitError: a requested GPU is missing, or runc is.
    """
    runc = shutil.which("runc")
    if runc is None:
        raise ToolkitError("error constructing low-level runtime: no runtime binary found from candidate list: [runc]")
    if {"create", "run"} & set(arguments):
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("--bundle", "-b", type=Path, default=Path())
        path = parser.parse_known_args(arguments)[0].bundle / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        environment = dict(item.split("=", 1) for item in config["process"].get("env", []))
        wanted = environment.get("NVIDIA_VISIBLE_DEVICES", "")
        if wanted not in {"", "none", "void"}:
            for edits in edits_for(wanted.split(",")):
                edit(config, edits)
            path.write_text(json.dumps(config), encoding="utf-8")
    return subprocess.run([runc, *arguments], close_fds=False, check=False).returncode


def main() -> int:
    """Run the program under whose name this file was called."""
    program, *arguments = sys.argv
    try:
        return (ctk if Path(program).name == "nvidia-ctk" else runtime)(arguments)
    except ToolkitError as error:
        sys.stderr.write(f'time="0" level=error msg="{error}"\n')
        return 1


if __name__ == "__main__":
    sys.exit(main())
