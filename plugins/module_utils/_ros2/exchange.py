# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that exchange samples by DDS or Zenoh and report from which processes samples arrive, in both directions.

A separate program, as the DDS library ends a process whose configuration it rejects. It takes the configuration from
CYCLONEDDS_URI or ZENOH_SESSION_CONFIG_URI, as every program does, and writes one JSON object. It imports nothing of
Ansible.

    python -m ..._ros2.exchange --domain 0 --name robot-1 --expect robot-2,robot-3

With --background it returns at once and prints a folder. Later, --collect FOLDER prints how the program ended.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._host import TIMED_OUT, run

TOPIC = "digital_twin_exchange"
# Each process sends at this interval, and for so long after it is complete, as others may not have heard it yet.
INTERVAL_SECONDS, LINGER_SECONDS = 0.2, 1.0
# How many seconds the program may run beyond its own timeout, such as to start.
GRACE_SECONDS = 30
PARTNER = "partner of "
COMPLETE, INCOMPLETE, REFUSED = 0, 1, 2
RESULT = "result.json"


@dataclass
class ExchangeRecord:
    """The samples that one process has received.

    Attributes:
        name: Its own name.
        expected: The names of the others that it waits for.
        sizes: The largest payload from each, in bytes.
        hearers: Those that have reported that they hear it.
    """

    name: str
    expected: frozenset[str]
    sizes: dict[str, int] = field(default_factory=dict)
    hearers: set[str] = field(default_factory=set)

    def add(self, name: str, heard: Sequence[str], size: int) -> None:
        """Add a sample of another process."""
        if name not in self.expected:
            return
        self.sizes[name] = max(size, self.sizes.get(name, 0))
        if self.name in heard:
            self.hearers.add(name)

    @property
    def complete(self) -> bool:
        """Whether all expected processes are heard, and hear this one."""
        return self.expected <= self.sizes.keys() & self.hearers

    def report(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {
            "heard": dict(sorted(self.sizes.items())),
            "missing": sorted(self.expected - self.sizes.keys()),
            "deaf": sorted(self.expected & self.sizes.keys() - self.hearers),
        }


@dataclass(frozen=True)
class Transport:
    """How a process sends and receives.

    Attributes:
        send: Sends the sender's name, the names that it hears, and a payload.
        receive: Returns the samples since the last call, in the same form.
        others: Returns the other participants that the library knows.
    """

    send: Callable[[str, Sequence[str], str], None]
    receive: Callable[[], list[tuple[str, Sequence[str], str]]]
    others: Callable[[], list[dict[str, str]]]


def open_dds(domain: int) -> Transport:
    """Open a participant of a DDS domain."""
    modules = {
        name: importlib.import_module(f"cyclonedds.{name}")
        for name in ("builtin", "core", "domain", "idl", "idl.types", "pub", "sub", "topic", "util")
    }
    participant = modules["domain"].DomainParticipant(domain)
    fields = {"name": str, "heard": modules["idl.types"].sequence[str], "payload": str}
    word = modules["idl"].make_idl_struct("Word", "digital_twin::Word", fields)
    policy = modules["core"].Policy
    reliable = policy.Reliability.Reliable(modules["util"].duration(seconds=1))
    qos = modules["core"].Qos(reliable, policy.History.KeepLast(64))
    topic = modules["topic"].Topic(participant, TOPIC, word)
    writer = modules["pub"].DataWriter(participant, topic, qos=qos)
    reader = modules["sub"].DataReader(participant, topic, qos=qos)
    builtin = modules["builtin"]
    participants = builtin.BuiltinDataReader(participant, builtin.BuiltinTopicDcpsParticipant)
    return Transport(
        lambda name, heard, payload: writer.write(word(name, list(heard), payload)),
        lambda: [(sample.name, sample.heard, sample.payload) for sample in reader.take(64)],
        lambda: describe_participants(participants.read(256)),
    )


def describe_participants(samples: Sequence[Any]) -> list[dict[str, str]]:
    """Return host, process and address of the participants that DDS has discovered."""
    names = {"__Hostname": "host", "__ProcessName": "process", "__Pid": "pid", "__NetworkAddresses": "address"}
    found: dict[str, dict[str, str]] = {}
    for sample in samples:
        properties = {names[policy.key]: policy.value for policy in sample.qos if getattr(policy, "key", None) in names}
        if properties.get("address", "localprocess") != "localprocess":
            found[str(sample.key)] = properties
    return [found[key] for key in sorted(found)]


def open_zenoh(domain: int) -> Transport:
    """Open a Zenoh session with the configuration of ROS 2."""
    zenoh: Any = importlib.import_module("zenoh")
    session = zenoh.open(zenoh.Config.from_file(os.environ["ZENOH_SESSION_CONFIG_URI"]))
    key = f"{TOPIC}/{domain}"
    received: list[tuple[str, Sequence[str], str]] = []

    def take_sample(sample: Any) -> None:
        name, heard, payload = json.loads(sample.payload.to_bytes())
        received.append((name, heard, payload))

    subscriber = session.declare_subscriber(key, take_sample)

    def receive() -> list[tuple[str, Sequence[str], str]]:
        samples = list(received)
        del received[: len(samples)]
        return samples

    def send(name: str, heard: Sequence[str], payload: str) -> None:
        session.put(key, json.dumps([name, list(heard), payload]))

    def others() -> list[dict[str, str]]:
        # The session and the subscriber end with their last reference.
        return [{"address": str(router)} for router in session.info.routers_zid()] if subscriber else []

    return Transport(send, receive, others)


def exchange(arguments: argparse.Namespace) -> dict[str, Any]:
    """Send and receive until all have heard all, or the time is over, and return the record."""
    started = time.monotonic()
    transport = (open_zenoh if arguments.zenoh else open_dds)(arguments.domain)
    record = ExchangeRecord(arguments.name, frozenset(arguments.expect))
    payload = "x" * arguments.payload
    until, lingering = time.monotonic() + arguments.timeout, False
    while time.monotonic() < until:
        transport.send(record.name, sorted(record.sizes), payload)
        time.sleep(INTERVAL_SECONDS)
        for name, hearing, text in transport.receive():
            record.add(name, hearing, len(text))
        if record.expected and record.complete and not lingering:
            until, lingering = time.monotonic() + LINGER_SECONDS, True
    return {**record.report(), "participants": transport.others(), "seconds": round(time.monotonic() - started, 1)}


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="ros2_exchange", description="Exchange samples with others.")
    parser.add_argument("--domain", type=int, default=0, help="the domain's id")
    parser.add_argument("--zenoh", action="store_true", help="by Zenoh instead of DDS")
    parser.add_argument("--name", default="", help="the name of this process")
    parser.add_argument(
        "--expect",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        help="the names of the others, separated by commas; empty to listen until the timeout",
    )
    parser.add_argument(
        "--partner", action="store_true", help="start a second process on this host, and exchange samples with it too"
    )
    parser.add_argument("--payload", type=int, default=1000000, help="size of a sample in bytes")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds after which it ends in any case")
    parser.add_argument("--background", action="store_true", help="return at once, and print a folder for --collect")
    parser.add_argument("--collect", type=Path, help="wait for the program of this folder, print how it ended")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(words)


class Partner(subprocess.Popen[bytes]):
    """Another process of this program, which ends with this one unless it is detached."""

    def __init__(self, command: list[str], *, detached: bool = False) -> None:
        """Start it without input and output, and detached in a session of its own."""
        quiet = subprocess.DEVNULL
        super().__init__(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=detached)

    def end(self) -> None:
        """End it, and wait until it has ended."""
        self.terminate()
        self.wait()


def start_partner(arguments: argparse.Namespace) -> Partner:
    """Start another process of this program that expects this one."""
    options = {
        "--domain": arguments.domain,
        "--name": f"{PARTNER}{arguments.name}",
        "--expect": arguments.name,
        "--payload": arguments.payload,
        "--timeout": arguments.timeout,
    }
    command = [sys.executable, "-m", __spec__.name, *(str(word) for option in options.items() for word in option)]
    command += ["--zenoh"] if arguments.zenoh else []
    return Partner(command)


def start_background(words: Sequence[str]) -> None:
    """Start this program in a session of its own, and print the folder for its result."""
    folder = tempfile.mkdtemp(prefix="ros2-exchange.")
    words = [word for word in words if word != "--background"]
    command = [sys.executable, "-m", __spec__.name, "--record", folder, *words]
    Partner(command, detached=True)
    sys.stdout.write(folder)


def record_result(words: Sequence[str], folder: Path, timeout: float) -> None:
    """Run this program, and write its exit status and output into the folder."""
    own = words.index("--record")
    command = [sys.executable, "-m", __spec__.name, *words[:own], *words[own + 2 :]]
    done = run(command, timeout + GRACE_SECONDS)
    status = REFUSED if done["rc"] == TIMED_OUT else done["rc"]
    result = {"rc": status, "stdout": done["stdout"], "stderr": done["stderr"].strip()}
    part = folder / "result.part"
    part.write_text(json.dumps(result), "utf-8")
    part.rename(folder / RESULT)


def collect_result(folder: Path, timeout: float) -> int:
    """Print the result in a folder once it is complete, remove the folder, and return the exit status."""
    until = time.monotonic() + timeout + 2 * GRACE_SECONDS
    while not (folder / RESULT).exists() and time.monotonic() < until:
        time.sleep(INTERVAL_SECONDS)
    complete = (folder / RESULT).exists()
    text = (folder / RESULT).read_text("utf-8") if complete else "the program has not written its result"
    (sys.stdout if complete else sys.stderr).write(text)
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    return COMPLETE if complete else REFUSED


def main() -> int:
    """Exchange samples, print the record, and return the exit status."""
    words = sys.argv[1:]
    arguments = read_arguments(words)
    if arguments.collect:
        return collect_result(arguments.collect, arguments.timeout)
    if arguments.background:
        start_background(words)
        return COMPLETE
    if arguments.record:
        record_result(words, arguments.record, arguments.timeout)
        return COMPLETE
    partner = start_partner(arguments) if arguments.partner else None
    if partner:
        arguments.expect.append(f"{PARTNER}{arguments.name}")
    try:
        report = exchange(arguments)
    except Exception as error:  # Of any kind. The DDS library has already written its own message.
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return REFUSED
    finally:
        if partner:
            partner.end()
    sys.stdout.write(json.dumps(report) + "\n")
    return INCOMPLETE if report["missing"] or report["deaf"] else COMPLETE


if __name__ == "__main__":
    raise SystemExit(main())
