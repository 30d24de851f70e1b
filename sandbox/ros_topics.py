"""ROS 2's messages and topics over plain DDS, for the simulators that run without ROS.

Names, fields and their order are those of ROS 2, so that its nodes and these can communicate.
"""

# No postponed annotations here: the library reads the types of the fields.
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from cyclonedds.core import DDSException, InstanceState, Policy, Qos, ReadCondition, SampleState, ViewState, WaitSet
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, float32, float64, int32, sequence, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

# How long a sample may wait for a receiver that is full, in milliseconds; then it is dropped.
PATIENCE_MS = 10
# The size of a reader's queue, in samples.
MOST = 100
NANO = 1_000_000_000

Covariance = Annotated[Sequence[float], array(float64, 36)]
Floats = Annotated[Sequence[float], sequence(float32)]


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    """A time."""

    sec: int32 = 0
    nanosec: uint32 = 0


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    """Time and frame."""

    stamp: Time = field(default_factory=Time)
    frame_id: str = ""


@dataclass
class Clock(IdlStruct, typename="rosgraph_msgs::msg::dds_::Clock_"):
    """The simulation's time."""

    clock: Time = field(default_factory=Time)


@dataclass
class Vector3(IdlStruct, typename="geometry_msgs::msg::dds_::Vector3_"):
    """Three numbers."""

    x: float64 = 0.0
    y: float64 = 0.0
    z: float64 = 0.0


@dataclass
class Point(IdlStruct, typename="geometry_msgs::msg::dds_::Point_"):
    """A point, in metres."""

    x: float64 = 0.0
    y: float64 = 0.0
    z: float64 = 0.0


@dataclass
class Quaternion(IdlStruct, typename="geometry_msgs::msg::dds_::Quaternion_"):
    """A rotation."""

    x: float64 = 0.0
    y: float64 = 0.0
    z: float64 = 0.0
    w: float64 = 1.0


@dataclass
class Pose(IdlStruct, typename="geometry_msgs::msg::dds_::Pose_"):
    """A position and a rotation."""

    position: Point = field(default_factory=Point)
    orientation: Quaternion = field(default_factory=Quaternion)


@dataclass
class PoseStamped(IdlStruct, typename="geometry_msgs::msg::dds_::PoseStamped_"):
    """A pose in a frame."""

    header: Header = field(default_factory=Header)
    pose: Pose = field(default_factory=Pose)


@dataclass
class PoseWithCovariance(IdlStruct, typename="geometry_msgs::msg::dds_::PoseWithCovariance_"):
    """A pose and its covariance."""

    pose: Pose = field(default_factory=Pose)
    covariance: Covariance = field(default_factory=lambda: [0.0] * 36)


@dataclass
class PoseWithCovarianceStamped(IdlStruct, typename="geometry_msgs::msg::dds_::PoseWithCovarianceStamped_"):
    """The same in a frame."""

    header: Header = field(default_factory=Header)
    pose: PoseWithCovariance = field(default_factory=PoseWithCovariance)


@dataclass
class Twist(IdlStruct, typename="geometry_msgs::msg::dds_::Twist_"):
    """Speeds, in metres and radians a second."""

    linear: Vector3 = field(default_factory=Vector3)
    angular: Vector3 = field(default_factory=Vector3)


@dataclass
class TwistWithCovariance(IdlStruct, typename="geometry_msgs::msg::dds_::TwistWithCovariance_"):
    """Speeds and their covariance."""

    twist: Twist = field(default_factory=Twist)
    covariance: Covariance = field(default_factory=lambda: [0.0] * 36)


@dataclass
class Odometry(IdlStruct, typename="nav_msgs::msg::dds_::Odometry_"):
    """The robot's estimated pose and speed."""

    header: Header = field(default_factory=Header)
    child_frame_id: str = ""
    pose: PoseWithCovariance = field(default_factory=PoseWithCovariance)
    twist: TwistWithCovariance = field(default_factory=TwistWithCovariance)


@dataclass
class Transform(IdlStruct, typename="geometry_msgs::msg::dds_::Transform_"):
    """The pose of one frame in another."""

    translation: Vector3 = field(default_factory=Vector3)
    rotation: Quaternion = field(default_factory=Quaternion)


@dataclass
class TransformStamped(IdlStruct, typename="geometry_msgs::msg::dds_::TransformStamped_"):
    """The same, with the frames' names."""

    header: Header = field(default_factory=Header)
    child_frame_id: str = ""
    transform: Transform = field(default_factory=Transform)


@dataclass
class TFMessage(IdlStruct, typename="tf2_msgs::msg::dds_::TFMessage_"):
    """Several transforms."""

    transforms: Annotated[Sequence[TransformStamped], sequence(TransformStamped)] = field(default_factory=list)


@dataclass
class LaserScan(IdlStruct, typename="sensor_msgs::msg::dds_::LaserScan_"):
    """Distances around the robot, in metres; infinity beyond the range."""

    header: Header = field(default_factory=Header)
    angle_min: float32 = 0.0
    angle_max: float32 = 0.0
    angle_increment: float32 = 0.0
    time_increment: float32 = 0.0
    scan_time: float32 = 0.0
    range_min: float32 = 0.0
    range_max: float32 = 0.0
    ranges: Floats = field(default_factory=list)
    intensities: Floats = field(default_factory=list)


# Every topic the simulators know, without its slash.
TOPICS: dict[str, type[IdlStruct]] = {
    "clock": Clock,
    "odom": Odometry,
    "tf": TFMessage,
    "scan": LaserScan,
    "amcl_pose": PoseWithCovarianceStamped,
    "goal_pose": PoseStamped,
    "cmd_vel": Twist,
}
# The default QoS of a ROS 2 node, except that a program does not receive its own messages.
QOS = Qos(
    Policy.Reliability.Reliable(duration(milliseconds=PATIENCE_MS)),
    Policy.History.KeepLast(MOST),
    Policy.IgnoreLocal.Participant,
)


class Bus:
    """One participant of a DDS domain; its library's configuration is in CYCLONEDDS_URI."""

    def __init__(self, domain: int) -> None:
        """Join the domain."""
        self._participant = DomainParticipant(domain)
        self._topics: dict[str, Topic[Any]] = {}
        self._heard = WaitSet(self._participant)

    def _topic(self, name: str) -> Any:
        if name not in self._topics:
            self._topics[name] = Topic(self._participant, f"rt/{name}", TOPICS[name])
        return self._topics[name]

    def writer(self, name: str) -> "Writer":
        """Return a publisher of a topic."""
        return Writer(DataWriter(self._participant, self._topic(name), qos=QOS))

    def reader(self, name: str) -> "Reader":
        """Return a subscriber of a topic."""
        reader = DataReader(self._participant, self._topic(name), qos=QOS)
        self._heard.attach(ReadCondition(reader, SampleState.Any | ViewState.Any | InstanceState.Any))
        return Reader(reader)

    def wait(self, seconds: float) -> None:
        """Wait until one of the readers has a message, or until the timeout."""
        self._heard.wait(duration(milliseconds=int(seconds * 1000)))


class Writer:
    """Publishes on one topic."""

    def __init__(self, writer: Any) -> None:
        """Store the library's writer."""
        self._writer = writer

    def write(self, message: IdlStruct) -> None:
        """Publish a message; a receiver that hangs misses it, and the others are not delayed."""
        try:
            self._writer.write(message)
        except DDSException as error:
            if error.code != DDSException.DDS_RETCODE_TIMEOUT:
                raise


class Reader:
    """Receives one topic."""

    def __init__(self, reader: Any) -> None:
        """Store the library's reader."""
        self._reader = reader

    def take(self) -> list[Any]:
        """Return the messages that have arrived since the last time, oldest first."""
        # An invalid sample reports that a publisher has left.
        return [sample for sample in self._reader.take(MOST) if isinstance(sample, IdlStruct)]


def moment(nanoseconds: int) -> Time:
    """Return a time from nanoseconds."""
    return Time(nanoseconds // NANO, nanoseconds % NANO)


def rotation(yaw: float) -> Quaternion:
    """Return a rotation about the vertical."""
    return Quaternion(0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
