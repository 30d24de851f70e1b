# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that tell one another by DDS or Zenoh whom they hear: proof that samples travel both ways.

A program of its own, as the library of DDS ends the process that meets a configuration that it cannot bear. It takes
the configuration from CYCLONEDDS_URI or ZENOH_SESSION_CONFIG_URI, as every program does, and writes one object of JSON.
Nothing of Ansible is imported here.

    python -m ..._ros2_exchange --domain 0 --name robot-1 --expect robot-2,robot-3

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

TOPIC = "digital_twin_exchange"
# How often everybody speaks, and how much longer than needed, for those who have not heard it yet.
INTERVAL_SECONDS, LINGER_SECONDS = 0.2, 1.0
PARTNER = "partner of "
COMPLETE, INCOMPLETE, REFUSED = 0, 1, 2


@dataclass
class Heard:
    """What one process has heard.

    Attributes:
        name: Its own name.
        expected: The names of those that it waits for.
        sizes: The largest payload that came from each, in bytes.
        hearers: Those that have said that they hear it.
    """

    name: str
    expected: frozenset[str]
    sizes: dict[str, int] = field(default_factory=dict)
    hearers: set[str] = field(default_factory=set)

    def take(self, name: str, heard: Sequence[str], size: int) -> None:
        """Take note of what somebody says."""
        if name not in self.expected:
            return
        self.sizes[name] = max(size, self.sizes.get(name, 0))
        if self.name in heard:
            self.hearers.add(name)

    @property
    def complete(self) -> bool:
        """Whether everybody is heard, and hears."""
        return self.expected <= self.sizes.keys() & self.hearers

    def told(self) -> dict[str, Any]:
        """Return it for a reader."""
        return {
            "heard": dict(sorted(self.sizes.items())),
            "missing": sorted(self.expected - self.sizes.keys()),
            "deaf": sorted(self.expected & self.sizes.keys() - self.hearers),
        }


@dataclass(frozen=True)
class Medium:
    """How a process speaks and hears.

    Attributes:
        say: Says who speaks, whom it hears, and a payload.
        listen: Returns the words that have come since, in the same form.
        others: Returns who else takes part, as far as the medium knows.
    """

    say: Callable[[str, Sequence[str], str], None]
    listen: Callable[[], list[tuple[str, Sequence[str], str]]]
    others: Callable[[], list[dict[str, str]]]


def open_dds(domain: int) -> Medium:
    """Become a participant of a domain of DDS."""
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
    return Medium(
        lambda name, heard, payload: writer.write(word(name, list(heard), payload)),
        lambda: [(sample.name, sample.heard, sample.payload) for sample in reader.take(64)],
        lambda: describe_participants(participants.read(256)),
    )


def describe_participants(samples: Sequence[Any]) -> list[dict[str, str]]:
    """Return who the participants are of which DDS was told: host, process and address."""
    names = {"__Hostname": "host", "__ProcessName": "process", "__Pid": "pid", "__NetworkAddresses": "address"}
    found: dict[str, dict[str, str]] = {}
    for sample in samples:
        properties = {names[policy.key]: policy.value for policy in sample.qos if getattr(policy, "key", None) in names}
        if properties.get("address", "localprocess") != "localprocess":
            found[str(sample.key)] = properties
    return [found[key] for key in sorted(found)]


def open_zenoh(domain: int) -> Medium:
    """Open a session of Zenoh with the configuration that ROS 2 is given."""
    zenoh: Any = importlib.import_module("zenoh")
    session = zenoh.open(zenoh.Config.from_file(os.environ["ZENOH_SESSION_CONFIG_URI"]))
    key = f"{TOPIC}/{domain}"
    came: list[tuple[str, Sequence[str], str]] = []

    def take(sample: Any) -> None:
        name, heard, payload = json.loads(sample.payload.to_bytes())
        came.append((name, heard, payload))

    subscriber = session.declare_subscriber(key, take)

    def listen() -> list[tuple[str, Sequence[str], str]]:
        words = list(came)
        del came[: len(words)]
        return words

    def say(name: str, heard: Sequence[str], payload: str) -> None:
        session.put(key, json.dumps([name, list(heard), payload]))

    def others() -> list[dict[str, str]]:
        # The session ends with the last that refers to it, and the subscriber with it.
        return [{"address": str(router)} for router in session.info.routers_zid()] if subscriber else []

    return Medium(say, listen, others)


def exchange(arguments: argparse.Namespace) -> dict[str, Any]:
    """Speak and listen until everybody has heard everybody, or the time is over, and return what was heard."""
    started = time.monotonic()
    medium = (open_zenoh if arguments.zenoh else open_dds)(arguments.domain)
    heard = Heard(arguments.name, frozenset(arguments.expect))
    payload = "x" * arguments.payload
    until, lingering = time.monotonic() + arguments.timeout, False
    while time.monotonic() < until:
        medium.say(heard.name, sorted(heard.sizes), payload)
        time.sleep(INTERVAL_SECONDS)
        for name, hearing, text in medium.listen():
            heard.take(name, hearing, len(text))
        if heard.expected and heard.complete and not lingering:
            until, lingering = time.monotonic() + LINGER_SECONDS, True
    return {**heard.told(), "participants": medium.others(), "seconds": round(time.monotonic() - started, 1)}


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="ros2_exchange", description="Exchange samples with others.")
    parser.add_argument("--domain", type=int, default=0, help="the domain's id")
    parser.add_argument("--zenoh", action="store_true", help="by Zenoh instead of DDS")
    parser.add_argument("--name", required=True, help="the name of this process")
    parser.add_argument(
        "--expect",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        help="the names of the others, with commas between them; none to listen for all of the time",
    )
    parser.add_argument("--partner", action="store_true", help="start another process, and exchange samples with it")
    parser.add_argument("--payload", type=int, default=1000000, help="how many bytes a sample carries")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds after which it ends in any case")
    return parser.parse_args(words)


class Partner(subprocess.Popen[bytes]):
    """Another process of this program, which ends with this one."""

    def __init__(self, command: list[str]) -> None:
        """Start it without any output."""
        super().__init__(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

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


def main() -> int:
    """Exchange samples, say what was heard, and return the exit status."""
    arguments = read_arguments(sys.argv[1:])
    partner = start_partner(arguments) if arguments.partner else None
    if partner:
        arguments.expect.append(f"{PARTNER}{arguments.name}")
    try:
        told = exchange(arguments)
    except Exception as error:  # Whatever a library raises: of DDS, its own words are on standard error already.
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return REFUSED
    finally:
        if partner:
            partner.end()
    sys.stdout.write(json.dumps(told) + "\n")
    return INCOMPLETE if told["missing"] or told["deaf"] else COMPLETE


if __name__ == "__main__":
    raise SystemExit(main())
