# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``digital-twin``: starts and stops the services of one Compose project, and reports their state.

Where the project has a systemd unit, systemd does the starting and stopping, so that its state and the services' agree
and nothing is started twice at a time. The unit calls the verbs ``up`` and ``down``. Nothing is ever built or pulled.
"""

from __future__ import annotations

import grp
import http.client
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USAGE = """\
usage: digital-twin VERB

  start           start the services and wait until they are healthy; repairs those that are not
  stop            stop them, until the next start or boot; what they have stored stays
  restart         stop, then start
  status          show each service; exit status 0: all are healthy, 1: not all, 3: none runs, 4: not known
  logs [ARGS...]  show what they wrote: a service's name, --follow, --tail 50, --since 10m
  url             show the addresses at which they are used
  say WORDS...    send the robot a command, such as: digital-twin say go home
  token           print the token that programs need to send commands

Run it with sudo. Members of the group docker need none for status, logs and url."""

DONE, FAILED, USED_WRONGLY, NOT_RUNNING, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 4, 130
QUERY_SECONDS = 30
STOP_SECONDS = 150
# For the steps before the wait: stopping unhealthy containers, creating missing ones.
CREATE_SECONDS = 90
METADATA = "http://169.254.169.254"
METADATA_SECONDS = 1.0
# The cognitive service may wait for its language model and for Redis.
SAY_SECONDS = 75
BRIDGE_PORT, STREAM_PORT = 8765, 49100


class CommandError(Exception):
    """A message for the user, in one line."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        """Save the exit status with the message."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Project:
    """A Compose project on this host."""

    name: str
    directory: Path
    wait_seconds: int

    @property
    def unit(self) -> str:
        """Name of its systemd unit."""
        return f"{self.name}.service"

    @property
    def has_unit(self) -> bool:
        """Whether systemd knows it."""
        return Path("/run/systemd/system").is_dir() and Path("/etc/systemd/system", self.unit).is_file()


@dataclass(frozen=True)
class Container:
    """The state of a service's container in Docker."""

    service: str
    identity: tuple[str, str]
    state: str
    health: str
    exit_code: int
    # Port in the container, and address and port on the host.
    ports: dict[str, tuple[str, int]]
    bridge_address: str

    @property
    def runs(self) -> bool:
        """Whether its process runs."""
        return self.state == "running"

    @property
    def is_well(self) -> bool:
        """Whether it runs and is healthy, if it has a health check."""
        return self.runs and self.health in {"healthy", ""}

    @property
    def condition(self) -> str:
        """Its state in a word or two."""
        if self.runs:
            return self.health or "running"
        return f"{self.state} ({self.exit_code})" if self.state == "exited" else self.state


def execute(command: Sequence[str], seconds: int, directory: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    """Run a command and return its result.

    Raises:
        CommandError: the program is missing, or did not end in time.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=directory, check=False)
    except FileNotFoundError:
        raise CommandError(f"{command[0]} is not installed.", UNKNOWN) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(command[:3])} has not ended within {seconds} s.", UNKNOWN) from None


def docker_output(command: Sequence[str]) -> str:
    """Return the output of a Docker command.

    Raises:
        CommandError: Docker fails.
    """
    done = execute(command, QUERY_SECONDS)
    if done.returncode:
        raise CommandError(f"Docker does not answer: {last_line(done.stderr) or 'no reason given'}", UNKNOWN)
    return done.stdout


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def compose(project: Project, *arguments: str) -> list[str]:
    """Return a command of Compose that reads the project's files, which only root can."""
    return [
        *("docker", "compose", "--ansi=never"),
        *(f"--project-directory={project.directory}", f"--project-name={project.name}"),
        *arguments,
    ]


def compose_by_name(project: Project, *arguments: str) -> list[str]:
    """Return a command of Compose that takes the containers as they are, of whichever profile."""
    return ["docker", "compose", f"--project-name={project.name}", *arguments]


def read_containers(project: Project) -> dict[str, Container]:
    """Return the project's containers by service.

    Raises:
        CommandError: Docker does not answer.
    """
    labels = [f"label=com.docker.compose.project={project.name}", "label=com.docker.compose.oneoff=False"]
    listing = ["docker", "ps", "--all", "--quiet", *(word for label in labels for word in ("--filter", label))]
    identifiers = docker_output(listing).split()
    if not identifiers:
        return {}
    found = [container_from(raw) for raw in json.loads(docker_output(["docker", "inspect", *identifiers]))]
    return {container.service: container for container in found}


def container_from(raw: dict[str, Any]) -> Container:
    """Return the relevant fields of ``docker inspect``."""
    environment = dict(entry.partition("=")[::2] for entry in raw["Config"]["Env"] or [])
    bindings = raw["HostConfig"]["PortBindings"] or {}
    return Container(
        service=raw["Config"]["Labels"]["com.docker.compose.service"],
        identity=(raw["Id"], raw["State"]["StartedAt"]),
        state=raw["State"]["Status"],
        health=raw["State"].get("Health", {}).get("Status", ""),
        exit_code=raw["State"]["ExitCode"],
        ports={port: (hosts[0]["HostIp"], int(hosts[0]["HostPort"])) for port, hosts in bindings.items() if hosts},
        bridge_address=environment.get("FOXGLOVE_BRIDGE_ADDRESS", ""),
    )


def read_wanted(project: Project) -> list[str] | None:
    """Return the services of the profile in .env, or nothing when only root may know.

    Raises:
        CommandError: Compose does not accept the project's files.
    """
    if not os.access(project.directory / ".env", os.R_OK):
        return None
    done = execute(compose(project, "config", "--services"), QUERY_SECONDS)
    if done.returncode:
        raise CommandError(f"Compose does not accept {project.directory}: {last_line(done.stderr)}", UNKNOWN)
    return sorted(done.stdout.split())


def unwell(wanted: Sequence[str], containers: dict[str, Container]) -> list[str]:
    """Return the services that are not healthy, with their states."""
    return [
        f"{service} ({containers[service].condition if service in containers else 'no container'})"
        for service in wanted
        if service not in containers or not containers[service].is_well
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show_status(project: Project) -> int:
    """Print a line for each service, and return the exit status that stands for all."""
    wanted, containers = read_wanted(project), read_containers(project)
    rows = [("SERVICE", "STATE", "HEALTH")]
    for service in sorted({*(wanted or []), *containers}):
        container = containers.get(service)
        state = "no container" if container is None else container.state
        if container is not None and container.state == "exited":
            state = container.condition
        health = (container.health or "not checked") if container is not None and container.runs else "-"
        rows.append(
            (service, state, health if wanted is None or service in wanted else f"{health}, not in this profile")
        )
    print(table(rows))
    if wanted is None:
        print("Only root can read which others belong to the profile: sudo digital-twin status")
    judged = sorted(containers) if wanted is None else wanted
    if not any(service in containers and containers[service].runs for service in judged):
        return NOT_RUNNING
    return FAILED if unwell(judged, containers) else DONE


def bring_up(project: Project) -> int:
    """Start what does not run, repair what is unhealthy, and wait until all of it is healthy.

    Raises:
        CommandError: not all of it is.
    """
    unhealthy = [each.identity[0] for each in read_containers(project).values() if each.health == "unhealthy"]
    # Compose fails at once on a service that is already unhealthy, even for lack of one that it is about to start.
    # It refuses to stop a service while another that it needs has no container; Docker does not.
    if unhealthy:
        execute(["docker", "stop", *unhealthy], STOP_SECONDS)
    up = ["up", "--detach", "--no-build", "--pull=never", "--wait", f"--wait-timeout={project.wait_seconds}"]
    done = execute(compose(project, *up), project.wait_seconds + CREATE_SECONDS, project.directory)
    wanted = read_wanted(project) or []
    failing = unwell(wanted, read_containers(project))
    if not done.returncode and not failing:
        return DONE
    reason = last_line(done.stderr) if done.returncode else "Compose reports no error"
    names = " ".join(sorted({*wanted} & {name.partition(" ")[0] for name in failing}))
    hint = f"Run `sudo digital-twin logs --tail 20 {names}` for details."
    if "No such image" in reason:
        hint = "Images are fetched and built by the role digital_twin_stack, not by this command: apply it again."
    raise CommandError(f"The services did not come up: {reason}. Not healthy: {', '.join(failing) or 'none'}. {hint}")


def take_down(project: Project) -> int:
    """Stop every container of the project.

    Raises:
        CommandError: one still runs.
    """
    done = execute(compose_by_name(project, "stop"), STOP_SECONDS)
    # Compose refuses to stop a service while another that it needs has no container.
    if left := [container.identity[0] for container in read_containers(project).values() if container.runs]:
        done = execute(["docker", "stop", *left], STOP_SECONDS)
    if running := [service for service, container in read_containers(project).items() if container.runs]:
        raise CommandError(f"These still run: {', '.join(sorted(running))}. {last_line(done.stderr)}".strip())
    return DONE


def systemctl(project: Project, verb: str) -> bool:
    """Run a verb of systemctl for the unit, and return whether it succeeded."""
    # Systemd's own limits apply, of which there are several in a row; this is for a systemd that is stuck.
    limit = 2 * (project.wait_seconds + CREATE_SECONDS + STOP_SECONDS)
    return execute(["systemctl", "--quiet", verb, project.unit], limit).returncode == 0


def start(project: Project) -> int:
    """Start the services, and report it.

    Raises:
        CommandError: not all of them came up.
    """
    before, began = read_containers(project), int(time.time())
    if not project.has_unit:
        bring_up(project)
    # A unit that is active reloads, which repairs what is not healthy and leaves the rest alone.
    elif not systemctl(project, "reload-or-restart"):
        journal = [
            "journalctl",
            "--quiet",
            f"--since=@{began}",
            f"--identifier={project.name}",
            "--output=cat",
            "--lines=1",
        ]
        reason = last_line(execute(journal, QUERY_SECONDS).stdout).removeprefix("digital-twin: ")
        raise CommandError(reason or f"{project.unit} did not start. Run `systemctl status {project.unit}` to see why.")
    after = read_containers(project)
    wanted = read_wanted(project) or []
    if failing := unwell(wanted, after):
        raise CommandError(f"Started, and no longer healthy: {', '.join(failing)}.")
    same = {c.identity for c in before.values()} == {c.identity for c in after.values()}
    print(
        f"{', '.join(wanted)}: {'healthy already' if same else 'started and healthy'}. Addresses: sudo digital-twin url"
    )
    return DONE


def stop(project: Project) -> int:
    """Stop the services, and report it.

    Raises:
        CommandError: one still runs.
    """
    before = read_containers(project)
    if project.has_unit:
        systemctl(project, "stop")
    # The unit is inactive when its own start has failed, or when Docker has started the containers itself.
    take_down(project)
    if project.has_unit:
        systemctl(project, "reset-failed")
    running = sorted(service for service, container in before.items() if container.runs)
    print(f"{', '.join(running)}: stopped." if running else "None ran already.")
    return DONE


def restart(project: Project) -> int:
    """Stop and start the services."""
    stop(project)
    return start(project)


def show_logs(project: Project, arguments: Sequence[str]) -> int:
    """Run ``docker compose logs``, without control sequences where the output is not a terminal."""
    if sys.stdout.isatty():
        return subprocess.run(compose_by_name(project, "logs", *arguments), cwd="/", check=False).returncode
    # A reader that closes the pipe ends the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    command = compose_by_name(project, "logs", "--no-color", *arguments)
    with subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            sys.stdout.buffer.write(line.replace(b"\x1b[2K", b""))
            sys.stdout.buffer.flush()
    return process.returncode


def primary_address() -> str:
    """Return the address from which packets leave this host, without sending any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def public_address() -> str:
    """Return the public address of an EC2 instance, empty without a metadata service or a public address."""
    try:
        token = get_metadata("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        answer = get_metadata("GET", "meta-data/public-ipv4", {"X-aws-ec2-metadata-token": token})
        return str(ipaddress.IPv4Address(answer))
    except (OSError, ValueError, http.client.HTTPException):
        return ""


def get_metadata(method: str, path: str, headers: dict[str, str]) -> str:
    """Return one answer of the instance's metadata service.

    Raises:
        OSError: it does not answer.
        ValueError: it rejects the request.
    """
    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
    connection = http.client.HTTPConnection(endpoint.partition("://")[2], timeout=METADATA_SECONDS)
    try:
        connection.request(method, f"/latest/{path}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(answer.reason)
        return answer.read().decode()
    finally:
        connection.close()


def endpoints_of(containers: dict[str, Container]) -> list[tuple[str, str, str, int]]:
    """Return what users open: its name, a pattern of its address, and the address and port where it listens."""
    found = []
    bridge = containers.get("ros2")
    if "foxglove" in containers and (listens := containers["foxglove"].ports.get("8080/tcp")):
        query = f"?ds=foxglove-websocket&ds.url=ws://{{host}}:{BRIDGE_PORT}" if bridge else ""
        found.append(("viewer", f"http://{{host}}:{{port}}/{query}", *listens))
    if bridge:
        found.append(("Foxglove bridge", "ws://{host}:{port}", bridge.bridge_address, BRIDGE_PORT))
    if "isaac_sim" in containers:
        what = "{host}, in the Isaac Sim WebRTC Streaming Client (ports {port}/tcp and 47998/udp)"
        found.append(("Isaac Sim stream", what, "", STREAM_PORT))
    if "cognitive" in containers and (listens := containers["cognitive"].ports.get("8001/tcp")):
        found.append(("commands", "http://{host}:{port}/command", *listens))
    if "riva" in containers and (listens := containers["riva"].ports.get("50051/tcp")):
        found.append(("speech recognition", "{host}:{port}, by gRPC", *listens))
    return found


def show_urls(project: Project) -> int:
    """Print the addresses of the running services, and how to reach them.

    Raises:
        CommandError: there are no containers.
    """
    containers = read_containers(project)
    endpoints = endpoints_of(containers)
    if not endpoints:
        raise CommandError("There are no services yet. Run `sudo digital-twin start`.", NOT_RUNNING)
    private = primary_address()
    outside = public_address() or private
    rows, hidden = [], []
    for what, pattern, address, port in endpoints:
        listens = ipaddress.ip_address(address or "::")
        if listens.is_loopback:
            hidden.append(port)
        host = str(listens)
        if listens.is_unspecified or host == private:
            host = outside
        rows.append((what, pattern.format(host=host, port=port) + (" (*)" if listens.is_loopback else "")))
    print(table(rows))
    if "cognitive" in containers:
        print("commands need a token: sudo digital-twin token. From this host: sudo digital-twin say go home")
    if hidden:
        user = os.environ.get("SUDO_USER") or os.environ.get("USER") or "USER"
        ways = " ".join(f"-L {port}:127.0.0.1:{port}" for port in sorted(hidden))
        print(f"(*) listens on 127.0.0.1 only; from your computer, open it there after: ssh {ways} {user}@{outside}")
    if not any(container.runs for container in containers.values()):
        print("None of them runs now: sudo digital-twin start")
    return DONE


def read_token(project: Project) -> str:
    """Return the token of the cognitive service.

    Raises:
        CommandError: this host has none.
    """
    try:
        return (project.directory / "secrets" / "cognitive_token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else "it is not ASCII text"
        hint = "The role digital_twin_stack writes it: apply it again."
        raise CommandError(f"The token cannot be read ({reason}). {hint}", UNKNOWN) from None


def show_token(project: Project) -> int:
    """Print the token, for programs that send commands themselves."""
    print(read_token(project))
    return DONE


def say(project: Project, words: Sequence[str]) -> int:
    """Send the robot a command, and print the cognitive service's answer.

    Raises:
        CommandError: it does not answer, or sent nothing.
    """
    text = " ".join(words)
    containers = read_containers(project)
    if "cognitive" not in containers or not containers["cognitive"].runs:
        raise CommandError("The cognitive service does not run. Run `sudo digital-twin start`.", NOT_RUNNING)
    if "8001/tcp" not in containers["cognitive"].ports:
        raise CommandError(
            "The cognitive service has no port on this host. Apply role digital_twin_stack again.", UNKNOWN
        )
    address, port = containers["cognitive"].ports["8001/tcp"]
    # In a header, as a command line is seen by every user of the host.
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {read_token(project)}"}
    host = "127.0.0.1" if ipaddress.ip_address(address or "::").is_unspecified else address
    connection = http.client.HTTPConnection(host, port, timeout=SAY_SECONDS)
    try:
        connection.request("POST", "/command", json.dumps({"text": text}), headers)
        answer = json.load(connection.getresponse())
        published = bool(answer["published"])
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        raise CommandError(f"The cognitive service does not answer on {host}:{port}: {error}", UNKNOWN) from None
    finally:
        connection.close()
    if not published:
        raise CommandError(str(answer.get("message", answer)))
    print(json.dumps(answer))
    return DONE


def check_rights(verb: str) -> None:
    """Check that the user may use a verb.

    Raises:
        CommandError: they may not.
    """
    if os.geteuid() == 0:
        return
    if verb not in {"status", "logs", "url"}:
        raise CommandError(f"This needs root: sudo digital-twin {verb}", UNKNOWN)
    try:
        allowed = grp.getgrnam("docker").gr_gid in {os.getegid(), *os.getgroups()}
    except KeyError:
        allowed = False
    if not allowed:
        raise CommandError(f"This needs root, or the group docker: sudo digital-twin {verb}", UNKNOWN)


VERBS = {
    **{"start": start, "stop": stop, "restart": restart, "status": show_status, "url": show_urls, "token": show_token},
    **{"up": bring_up, "down": take_down},
}


def main(arguments: Sequence[str]) -> int:
    """Run the command. Arguments: the project's name, seconds to wait, then the words of the user."""
    name, seconds, *typed = arguments
    project = Project(name, Path(__file__).resolve().parent, int(seconds))
    verb, rest = (typed[0], typed[1:]) if typed else ("", [])
    if verb in {"help", "--help", "-h"}:
        print(USAGE)
        return DONE
    takes_words = {"logs": show_logs, "say": say}
    if (verb == "say" and not rest) or (verb not in takes_words and (verb not in VERBS or rest)):
        print(USAGE, file=sys.stderr)
        return USED_WRONGLY
    try:
        check_rights(verb)
        return takes_words[verb](project, rest) if verb in takes_words else VERBS[verb](project)
    except CommandError as error:
        print(f"digital-twin: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
