"""A Docker engine: the running one, otherwise one that is installed from the distribution and started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from sandbox.errors import SandboxError
from sandbox.locks import alone
from sandbox.settings import LABEL
from sandbox.waiting import wait_until

ENGINE_PID = Path("/run/digital-twin-dockerd.pid")
ENGINE_LOG = Path("/var/log/digital-twin-dockerd.log")
START_SECONDS = 60
APT_SECONDS = 600
APT_LOCK_SECONDS = 180
# Limits for apt, and for the engine's start.
OTHERS_SECONDS = APT_LOCK_SECONDS + 2 * APT_SECONDS + START_SECONDS

_apt = threading.Lock()


def answers() -> bool:
    """Return whether a Docker engine answers at ``DOCKER_HOST`` or the default address."""
    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, RequestException):
        return False
    return True


def outside_mtu() -> int:
    """Return the MTU in bytes of the interface that carries the default route; 1500 when there is none.

    A bridge with a larger MTU than the way out loses large packets wherever ICMP is filtered.
    """
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        interface, destination = line.split()[:2]
        if destination == "00000000":
            return int(Path(f"/sys/class/net/{interface}/mtu").read_text(encoding="ascii"))
    return 1500


def install_command(command: str, packages: list[str]) -> None:
    """Install a command unless it exists, from Debian packages without their recommendations.

    :raises SandboxError: this is not a machine of the Debian family, the user is not root, or apt failed.
    """
    with _apt:
        if shutil.which(command):
            return
        names = " ".join(packages)
        if not shutil.which("apt-get"):
            raise SandboxError(f"{command} is missing and this is not a machine of the Debian family. Install it.")
        if os.geteuid() != 0:
            raise SandboxError(
                f"{command} is missing and only root can install it. Run `sudo apt-get install {names}`."
            )
        apt_get("update", "-q")
        apt_get("install", "-y", "-q", "--no-install-recommends", *packages)


def apt_get(*arguments: str) -> None:
    """Run ``apt-get`` once no other apt-get runs; it waits for dpkg's lock only.

    :raises SandboxError: it failed, or another apt-get held its lock for three minutes.
    """
    words = ["apt-get", "-o", f"DPkg::Lock::Timeout={APT_LOCK_SECONDS}", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}

    def done() -> bool:
        result = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=APT_SECONDS, check=False
        )
        if result.returncode == 0:
            return True
        if "Could not get lock" in result.stderr:
            return False
        raise SandboxError(f"apt-get {' '.join(arguments)} failed: {result.stderr.strip()[-800:]}")

    wait_until(done, what="another apt-get to finish", seconds=APT_LOCK_SECONDS, pause=1)


def ensure() -> None:
    """Start a Docker engine unless one answers.

    :raises SandboxError: no engine answers, and none can be started here.
    """
    if answers():
        return
    with alone("engine", what="another process to start a Docker engine", seconds=OTHERS_SECONDS):
        start()


def start() -> None:
    """Start the machine's Docker engine, and install it first if it is missing.

    :raises SandboxError: it cannot be started here.
    """
    if answers():
        return
    if os.environ.get("DOCKER_HOST"):
        raise SandboxError(f"DOCKER_HOST is {os.environ['DOCKER_HOST']}, where no Docker engine answers.")
    if os.geteuid() != 0:
        raise SandboxError(
            "No Docker engine answers and only root can start one. Start Docker, run this command as root, "
            "or add your user to the docker group."
        )
    install_command("dockerd", ["docker.io", "iptables"])
    if answers():
        return
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], check=False, timeout=START_SECONDS)
        wait_until(answers, what="the Docker engine that systemd started", seconds=START_SECONDS)
        return
    start_dockerd()


def start_dockerd() -> None:
    """Start ``dockerd`` without an init system, and record that the sandbox started it."""
    own_process(ENGINE_PID)  # dockerd would refuse to start if the process id in a stale file belonged to another
    with private_log(ENGINE_LOG) as log:
        process = subprocess.Popen(
            ["dockerd", "--pidfile", str(ENGINE_PID), "--mtu", str(outside_mtu())],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def started() -> bool:
        if process.poll() is not None:
            raise SandboxError(f"dockerd ended with status {process.returncode}; its log is {ENGINE_LOG}")
        return answers()

    wait_until(started, what="the Docker engine's socket", seconds=START_SECONDS, log=ENGINE_LOG)
    ENGINE_PID.chmod(0o600)


def private_log(path: Path) -> BinaryIO:
    """Open a log for appending, readable by its owner only, even if an earlier version created it for everyone."""
    log = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")
    os.fchmod(log.fileno(), 0o600)
    return log


def stop_if_ours() -> bool:
    """Stop the engine if the sandbox started it and no sandbox uses it; return whether it was stopped."""
    # Only root could start it, so only root can stop it.
    pid = own_process(ENGINE_PID) if os.geteuid() == 0 else None
    if pid is None or not answers():
        return False
    client = docker.from_env(timeout=30)
    try:
        if client.containers.list(filters={"label": LABEL}):
            return False
        if client.containers.list():
            return False
    finally:
        client.close()
    os.kill(pid, signal.SIGTERM)
    wait_until(
        lambda: not is_dockerd(pid, ENGINE_PID),
        what=f"dockerd (process {pid}) to stop",
        seconds=START_SECONDS,
        log=ENGINE_LOG,
    )
    return True


def own_process(pidfile: Path) -> int | None:
    """Return the process id of the dockerd with a pid file; a stale file is removed."""
    try:
        pid = int(pidfile.read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except ValueError:
        pid = 0
    if is_dockerd(pid, pidfile):
        return pid
    pidfile.unlink(missing_ok=True)
    return None


def is_dockerd(pid: int, pidfile: Path) -> bool:
    """Return whether a process is a dockerd started with a pid file: the id may have been reused."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return Path(os.fsdecode(words[0])).name == "dockerd" and (b"--pidfile", os.fsencode(pidfile)) in pairwise(words)
