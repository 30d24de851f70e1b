# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A participant of Cyclone DDS: ``cyclone.py DOMAIN reliable|best_effort``; its configuration is in CYCLONEDDS_URI."""

# No postponed annotations here: the library reads the types of the fields.
import sys
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from tests.support.nodes.order_loop import serve


@dataclass
class Sample(IdlStruct, typename="Sample"):
    """A sample.

    Attributes:
        number: counts from 0.
        data: fills the sample up to its size.
    """

    number: uint32
    data: str


class Cyclone:
    """One participant with a writer, and a reader that ignores this writer."""

    def __init__(self, domain: int, *, reliable: bool) -> None:
        reliability = Policy.Reliability.Reliable(duration(seconds=10)) if reliable else Policy.Reliability.BestEffort
        qos = Qos(reliability, Policy.History.KeepLast(1000), Policy.IgnoreLocal.Participant)
        self._participant = DomainParticipant(domain)
        topic = Topic(self._participant, "samples", Sample)
        self._writer = DataWriter(self._participant, topic, qos=qos)
        self._reader = DataReader(self._participant, topic, qos=qos)

    def peers(self) -> int:
        """Return the number of participants that are matched in both directions."""
        return min(len(self._writer.get_matched_subscriptions()), len(self._reader.get_matched_publications()))

    def write(self, number: int, size: int) -> None:
        """Send one sample."""
        self._writer.write(Sample(number, "x" * size))

    def take(self) -> set[int]:
        """Return the numbers of the received samples."""
        return {sample.number for sample in self._reader.take(1000) if isinstance(sample, Sample)}


if __name__ == "__main__":
    serve(lambda: Cyclone(int(sys.argv[1]), reliable=sys.argv[2] == "reliable"))
