"""The sandbox's command line: ``python -m sandbox up``."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from sandbox import builds, engine, lifecycle
from sandbox.cloud import process
from sandbox.cloud.faults import KINDS
from sandbox.errors import SandboxError
from sandbox.keys import Key
from sandbox.settings import Sandbox

CLOCK_SECONDS = 300
PACES = {
    "creating": "a new volume is available",
    "snapshot": "a snapshot has completed",
    "modifying": "a modified volume has its new size",
    "optimizing": "it can then be modified again",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = argparse.ArgumentParser(
        prog="python -m sandbox", description="A cloud on this machine, for trying and testing."
    )
    root.add_argument("--state", help="state directory (default: $SANDBOX_DIR, else .sandbox in the checkout)")
    commands = root.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the sandbox, or reuse the running one")
    down = commands.add_parser("down", help="stop the sandbox and remove everything that it created")
    down.add_argument("--keep-engine", action="store_true", help="keep a Docker engine that the sandbox started")
    commands.add_parser("status", help="report what runs")
    commands.add_parser("running", help="exit with status 0 if the sandbox runs")
    commands.add_parser("images", help="only build the hosts' images, for the role tests")
    commands.add_parser("tools", help="install the programs that the tests need in addition to Python and Docker")
    serve = commands.add_parser("serve", help="run the cloud in the foreground")
    serve.add_argument("--port", type=int, required=True)
    fault = commands.add_parser("fault", help="make AWS fail; without options list the faults")
    fault.add_argument("kind", nargs="?", choices=(*KINDS, "clear"))
    fault.add_argument("--service", default="*", help="such as ec2")
    fault.add_argument("--action", default="*", help="such as RunInstances")
    fault.add_argument("--count", type=int, default=0, help="calls to hit; 0: no limit")
    fault.add_argument("--probability", type=float, default=1.0, help="of a matching call being hit")
    fault.add_argument("--zones", nargs="*", default=[], help="only these availability zones")
    fault.add_argument("--types", nargs="*", default=[], help="only these instance types")
    fault.add_argument("--seconds", type=float, default=30.0, help="how long a timeout or a stalled call lasts")
    quota = commands.add_parser("quota", help="change a service quota")
    quota.add_argument("code", help="such as L-DB2E81BA")
    quota.add_argument("value", type=float)
    add_market(commands)
    clock = commands.add_parser("clock", help="the clock of EventBridge Scheduler; it fires what is due")
    verbs = clock.add_subparsers(dest="verb", required=True)
    verbs.add_parser("set", help="stop the clock at a time").add_argument("time", help="such as 2026-03-29T00:59:00Z")
    verbs.add_parser("advance", help="move the clock").add_argument("by", help="such as 90s, 15m, 2h or 1d")
    verbs.add_parser("reset", help="follow the machine's clock again")
    pace = commands.add_parser("pace", help="how long AWS's changes of volumes take; what is not named takes no time")
    for name, what in PACES.items():
        pace.add_argument(f"--{name}", type=float, default=0.0, help=f"seconds until {what}")
    commands.add_parser("schedules", help="report the schedules, and the calls that they made")
    return root


def add_market(commands: Any) -> None:
    """Add the commands that do what EC2 does of its own accord."""
    spot = commands.add_parser("spot", help="EC2's spot market; without a verb list the requests")
    verbs = spot.add_subparsers(dest="verb")
    interrupt = verbs.add_parser("interrupt", help="interrupt a running spot instance")
    interrupt.add_argument("name", help="an instance or a request")
    interrupt.add_argument("--reason", choices=("no-capacity", "price"), default="no-capacity")
    interrupt.add_argument("--notice", type=float, default=120.0, help="seconds between notice and interruption")
    fulfil = verbs.add_parser("fulfil", help="start an interrupted instance, or launch that of an open request")
    fulfil.add_argument("name", help="an instance or a request")
    rebalance = verbs.add_parser("rebalance", help="send a rebalance recommendation")
    rebalance.add_argument("name", help="an instance or a request")
    price = verbs.add_parser("price", help="change a spot price")
    price.add_argument("type", help="such as g5.xlarge")
    price.add_argument("price", type=float, help="dollars an hour")
    price.add_argument("--zone", default="", help="only in this availability zone")
    event = commands.add_parser("event", help="schedule an event for an instance, such as system-reboot")
    event.add_argument("name", help="an instance")
    event.add_argument("code", help="the event's code; none cancels all events")
    event.add_argument("--seconds", type=float, default=3600.0, help="until it begins")


def control_request(arguments: argparse.Namespace) -> tuple[str, str, Any]:
    """Return the method, path and data of a command that only controls the cloud."""
    given = vars(arguments)
    match arguments.command:
        case "quota":
            return "POST", "quotas", {arguments.code: arguments.value}
        case "spot" | "schedules" if given.get("verb") is None:
            return "GET", arguments.command, None
        case "spot":
            names = ("name", "reason", "notice", "type", "price", "zone")
            return "POST", f"spot/{arguments.verb}", {name: given[name] for name in names if name in given}
        case "event":
            code = "" if arguments.code == "none" else arguments.code
            return "POST", "maintenance", {"name": arguments.name, "code": code, "seconds": arguments.seconds}
        case "clock":
            return "POST", f"clock/{arguments.verb}", {name: given[name] for name in ("time", "by") if name in given}
        case "pace":
            return "POST", "volumes/pace", {name: given[name] for name in PACES}
    raise SandboxError(f"command: {arguments.command!r} has no request")


def run(arguments: argparse.Namespace) -> None:
    """Run one command."""
    sandbox = Sandbox.at(arguments.state)
    match arguments.command:
        case "up":
            url = lifecycle.up(sandbox)
            print(f"The sandbox answers on {url}; to use it: . {sandbox.environment_file}")
        case "down":
            lifecycle.down(sandbox, keep_engine=arguments.keep_engine)
        case "status":
            print(json.dumps({"endpoint": process.endpoint(sandbox), "state": str(sandbox.state), "id": sandbox.id}))
        case "running":
            print(running(sandbox))
        case "images":
            engine.ensure()
            client = docker.from_env(timeout=lifecycle.ENGINE_ANSWER_SECONDS)
            builds.ensure_all(
                client,
                [*builds.HOSTS.values(), builds.REGISTRY, builds.ARCHIVE, *builds.SERVICES, *builds.SIMULATORS],
            )
        case "tools":
            engine.install_command("docker", ["docker.io"])
            engine.install_command("redis-server", ["redis-server"])
            engine.install_command("ssh", ["openssh-client"])
            engine.install_command("cc", ["gcc", "libc6-dev"])
            engine.install_command("c++", ["g++"])
            # For the interfaces of ROS 2 that are compiled.
            if not Path(sysconfig.get_path("include"), "Python.h").is_file():
                engine.install_command("python3-config", ["python3-dev"])
            engine.install_command("ip", ["iproute2"])
            engine.install_command("iptables", ["iptables"])
            engine.install_command("nft", ["nftables"])
            engine.install_command("ddsperf", ["cyclonedds-tools"])
            engine.install_command("fast-discovery-server", ["fastdds-tools"])
            engine.install_command("chromium", ["chromium"])
            engine.install_command("systemd-analyze", ["systemd"])
            engine.install_command("sfdisk", ["fdisk"])
            engine.install_command("growpart", ["cloud-guest-utils"])
            engine.install_command("mkfs.ext4", ["e2fsprogs"])
            engine.install_command("mkfs.xfs", ["xfsprogs"])
        case "serve":
            process.serve(sandbox, arguments.port)
        case "fault":
            fault(running(sandbox), Key.read(sandbox.key_file), arguments)
        case _:
            request = control_request(arguments)
            # A clock that moves far makes many calls.
            answer = process.control(running(sandbox), Key.read(sandbox.key_file), *request, seconds=CLOCK_SECONDS)
            if answer:
                print(json.dumps(answer, indent=1))


def running(sandbox: Sandbox) -> str:
    """Return the URL of the running cloud.

    :raises SandboxError: it is not running.
    """
    url = process.endpoint(sandbox)
    if url is None:
        raise SandboxError(f"No sandbox runs with the state directory {sandbox.state}. Run `make sandbox`.")
    return url


def fault(url: str, key: Key, arguments: argparse.Namespace) -> None:
    """Add, clear or list faults."""
    if arguments.kind is None:
        print(json.dumps(process.control(url, key, "GET", "faults"), indent=1))
    elif arguments.kind == "clear":
        process.control(url, key, "DELETE", "faults")
    else:
        names = ("kind", "service", "action", "count", "probability", "zones", "types", "seconds")
        process.control(url, key, "POST", "faults", {name: getattr(arguments, name) for name in names})


def engine_failure(error: Exception) -> str:
    """Return the message about an error of the Docker engine."""
    hint = f"; its log is {engine.ENGINE_LOG}" if engine.ENGINE_PID.exists() else ""
    return f"The Docker engine failed: {' '.join(str(error).split())}{hint}"


def main() -> int:
    """Run one command; an error is printed as one sentence, with status 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("werkzeug", "botocore", "docker", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        run(parser().parse_args())
    except SandboxError as error:
        message = str(error)
    except subprocess.TimeoutExpired as error:
        message = f"{shlex.join(error.cmd)} did not end within {error.timeout:.0f} s"
    # For a streamed answer, such as that of a build, docker does not translate urllib3's exceptions.
    except (DockerException, RequestException, HTTPError) as error:
        message = engine_failure(error)
    else:
        return 0
    print(f"sandbox: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
