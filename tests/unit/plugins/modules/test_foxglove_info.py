# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it: against Foxglove's own server, and against servers that break the rules."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import foxglove
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import foxglove_info
from foxglove import Channel, Context, Schema
from foxglove.websocket import Capability
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from sandbox.ros_topics import (
    Clock,
    Header,
    LaserScan,
    Odometry,
    Point,
    Pose,
    PoseWithCovariance,
    Time,
    Twist,
    TwistWithCovariance,
    Vector3,
    rotation,
)

Run = Callable[..., dict[str, Any]]

# Long, so that a busy machine fails no test; short where the time is to expire; and in between.
SECONDS, MOMENT, WHILE = 60.0, 0.2, 2.0
MEBIBYTE = 1024 * 1024
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SDK, BRIDGE = "foxglove.sdk.v1", "foxglove.websocket.v1"
ODOMETRY, CLOCK = "nav_msgs/msg/Odometry", "rosgraph_msgs/msg/Clock"
SCHEMAS = {
    "/clock": CLOCK,
    "/odom": ODOMETRY,
    "/far": "geometry_msgs/msg/PoseStamped",
    "/scan": "sensor_msgs/msg/LaserScan",
    "/plain": ODOMETRY,
    "/silent": CLOCK,
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module and return its result."""

    def run_module(port: int, /, *topics: str, **given: object) -> dict[str, Any]:
        capsys.readouterr()
        defaults = {"host": "127.0.0.1", "port": port, "topics": topics, "seconds": SECONDS, "timeout": SECONDS}
        with patch_module_args({**defaults, **given}), pytest.raises(SystemExit):
            foxglove_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        result.pop("invocation", None)
        return result

    return run_module


def odometry(tick: int) -> bytes:
    pose = PoseWithCovariance(Pose(Point(tick, -2.0, 0.0), rotation(0.5)))
    twist = TwistWithCovariance(Twist(Vector3(3.0, 4.0, 0.0), Vector3(z=-0.25)))
    return Odometry(Header(Time(tick, 500_000_000), "odom"), "base_link", pose, twist).serialize()


def far_pose(tick: int) -> bytes:
    """A PoseStamped of a machine with its most significant byte first."""
    numbers = (float(tick), 2.0, 3.0, 0.0, 0.0, 0.0, 1.0)
    return bytes(4) + struct.pack(">iII4s7d", tick, 0, 4, b"map\0", *numbers)


def payloads(tick: int) -> dict[str, bytes]:
    """Return the message on each topic at a tick."""
    return {
        "/clock": Clock(Time(tick, 250_000_000)).serialize(),
        "/odom": odometry(tick),
        "/far": far_pose(tick),
        "/scan": LaserScan(ranges=[1.0] * 180).serialize(),
        "/plain": b'{"header": {}}',
    }


@pytest.fixture(scope="module")
def robot() -> Iterator[int]:
    """Run Foxglove's own server with a robot's topics, and return its port."""
    context = Context()
    channels = {
        topic: Channel(
            topic,
            schema=Schema(name=name, encoding="ros2msg", data=b""),
            message_encoding="json" if topic == "/plain" else "cdr",
            context=context,
        )
        for topic, name in SCHEMAS.items()
    }
    capabilities = [Capability.ConnectionGraph, Capability.Time]
    server = foxglove.start_server(name="robot", port=0, context=context, capabilities=capabilities)
    over = threading.Event()

    def drive() -> None:
        tick = 0
        while not over.wait(0.01):
            tick += 1
            server.broadcast_time(tick)
            for topic, payload in payloads(tick).items():
                channels[topic].log(payload)

    thread = threading.Thread(target=drive)
    thread.start()
    yield server.port
    over.set()
    thread.join()
    server.stop()


def test_server_and_topics(run: Run, robot: int) -> None:
    result = run(robot)
    assert not result["changed"]
    assert result["server"] == {
        "name": "robot",
        "capabilities": ["connectionGraph", "time"],
        "subprotocol": SDK,
    }
    assert result["topics"] == [
        {"topic": topic, "schema": SCHEMAS[topic], "encoding": "json" if topic == "/plain" else "cdr"}
        for topic in sorted(SCHEMAS)
    ]
    assert result["seen"] == []


def test_messages_of_the_robot(run: Run, robot: int) -> None:
    result = run(robot, "/odom", "/clock", "/far", "/scan", "/plain", messages=3, _ansible_check_mode=True)
    seen = {entry["topic"]: entry for entry in result["seen"]}
    assert list(seen) == ["/odom", "/clock", "/far", "/scan", "/plain"]
    assert {topic: entry["schema"] for topic, entry in seen.items()} == {topic: SCHEMAS[topic] for topic in seen}
    assert min(entry["count"] for entry in seen.values()) >= 3
    tick = int(seen["/odom"]["first"]["stamp"])
    assert seen["/odom"]["first"] == {
        "stamp": tick + 0.5,
        "position": [tick, -2.0, 0.0],
        "yaw": pytest.approx(0.5),
        "speed": 5.0,
        "turn": -0.25,
    }
    assert seen["/odom"]["last"]["position"][0] - tick == seen["/odom"]["count"] - 1
    clock = seen["/clock"]
    assert clock["last"]["seconds"] - clock["first"]["seconds"] == clock["count"] - 1
    assert clock["first"]["seconds"] % 1 == 0.25
    far = seen["/far"]["last"]
    assert far == {"stamp": far["position"][0], "position": [far["stamp"], 2.0, 3.0], "yaw": 0.0}
    assert [seen[topic][key] for topic in ("/scan", "/plain") for key in ("first", "last")] == [None] * 4


def test_a_topic_without_messages(run: Run, robot: int) -> None:
    (silent, clock) = run(robot, "/silent", "/clock", "/silent", seconds=MOMENT)["seen"]
    assert silent == {"topic": "/silent", "schema": CLOCK, "count": 0, "first": None, "last": None}
    assert clock["topic"] == "/clock"


def test_zero_seconds_return_the_topics(run: Run, robot: int) -> None:
    assert [entry["topic"] for entry in run(robot, "/odom", seconds=0)["seen"]] == ["/odom"]


def test_a_server_without_topics(run: Run) -> None:
    """It never advertises anything."""
    server = foxglove.start_server(name="empty", port=0, context=Context())
    try:
        result = run(server.port, timeout=WHILE)
        assert (result["server"]["name"], result["topics"]) == ("empty", [])
    finally:
        server.stop()


def greeting(*channels: dict[str, Any]) -> list[str]:
    """Return the first messages of a server."""
    server = {"op": "serverInfo", "name": "bridge", "capabilities": [], "supportedEncodings": ["cdr"]}
    return [json.dumps(server), json.dumps({"op": "advertise", "channels": list(channels)})]


def channel(number: int = 7, topic: str = "/odom", schema: str = ODOMETRY) -> dict[str, Any]:
    return {"id": number, "topic": topic, "encoding": "cdr", "schemaName": schema, "schema": ""}


def data(subscription: int, payload: bytes) -> bytes:
    return struct.pack("<BIQ", 1, subscription, 0) + payload


def test_a_bridge_of_the_older_kind(run: Run) -> None:
    """It pings and fragments its messages; its library is strict about what it receives."""
    seen: dict[str, Any] = {}
    over = threading.Event()

    def show(connection: ServerConnection) -> None:
        first, second = greeting(channel())
        connection.send(first)
        seen["pong"] = connection.ping(b"are you there").wait(SECONDS)
        connection.send(iter([second[:10], "", second[10:]]))
        (wanted,) = json.loads(connection.recv(SECONDS))["subscriptions"]
        seen["channel"] = wanted["channelId"]
        for tick in (1, 2):
            message = data(wanted["id"], odometry(tick))
            connection.send(iter([message[:5], message[5:100], message[100:]]))
        try:
            connection.recv(SECONDS)
        except ConnectionClosed as closed:
            seen["code"] = closed.rcvd and closed.rcvd.code
        over.set()

    with serve(show, "127.0.0.1", 0, subprotocols=[Subprotocol(BRIDGE)]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            result = run(server.socket.getsockname()[1], "/odom")
            assert over.wait(SECONDS)
        finally:
            server.shutdown()
            thread.join()
    assert result["server"]["subprotocol"] == BRIDGE
    (entry,) = result["seen"]
    assert (entry["count"], entry["first"]["stamp"], entry["last"]["stamp"]) == (2, 1.5, 2.5)
    assert seen == {"pong": True, "channel": 7, "code": 1000}


def frame(opcode: int, payload: bytes | str = b"", *, final: bool = True) -> bytes:
    """Return a frame as a server sends it."""
    content = payload.encode() if isinstance(payload, str) else payload
    size = bytes([len(content)]) if len(content) <= 125 else struct.pack("!BH", 126, len(content))
    return bytes([opcode | (0x80 if final else 0)]) + size + content


def welcome(key: str, subprotocol: str = SDK) -> bytes:
    """Return the answer to a handshake."""
    lines = ["HTTP/1.1 101 Switching Protocols", "upgrade: WebSocket", "connection: Upgrade"]
    lines += [f"SEC-WEBSOCKET-ACCEPT: {accept_key(key)}"]
    lines += [f"sec-websocket-protocol: {subprotocol}"] if subprotocol else []
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Odd:
    """A server that answers one handshake with prepared bytes, and records what it receives."""

    port: int = 0
    request: str = ""
    received: bytes = b""


@contextlib.contextmanager
def odd_server(answer: Callable[[str], bytes], *, ends: bool, host: str = "127.0.0.1") -> Iterator[Odd]:
    """Run a server that answers a key, and then ends the connection or waits until its client does."""
    odd = Odd()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def work(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            while "\r\n\r\n" not in odd.request:
                odd.request += connection.recv(1024).decode()
            key = odd.request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
            connection.sendall(answer(key))
            if ends:
                connection.shutdown(socket.SHUT_WR)
            # A client that leaves bytes unread resets the connection.
            with contextlib.suppress(ConnectionResetError):
                while block := connection.recv(65536):
                    odd.received += block

    with socket.create_server((host, 0), family=family) as listener:
        odd.port = listener.getsockname()[1]
        thread = threading.Thread(target=work, args=(listener,))
        thread.start()
        try:
            yield odd
        finally:
            thread.join(SECONDS)


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return the opcodes and the contents of a client's frames."""
    found = []
    while data:
        first, second = data[:2]
        assert first & 0xF0 == 0x80
        assert second & 0x80, "the frames of a client are masked"
        size, start = second & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        mask, masked = data[start : start + 4], data[start + 4 : start + 4 + size]
        found.append((first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))))
        data = data[start + 4 + size :]
    return found


GREETING = b"".join(frame(TEXT, text) for text in greeting(channel()))
TOO_LARGE = bytes([0x80 | BINARY, 127]) + struct.pack("!Q", 17 * MEBIBYTE) + bytes(17 * MEBIBYTE)
LARGEST_PART = bytes([0x80 | CONTINUATION, 127]) + struct.pack("!Q", 17 * MEBIBYTE) + bytes(17 * MEBIBYTE)
NOT_WEBSOCKET = "is not a WebSocket server: it answers"
SILENT_END = "closed the connection without a reason"
INVALID_FRAME = "sends an invalid frame"
UNCLEAR = "which is not a valid message"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", f'{NOT_WEBSOCKET} "SSH-2.0-OpenSSH_9.2"'),
        (b"HTTP/1.1 404 Not Found\r\nx: y\r\n\r\nhere", f'{NOT_WEBSOCKET} "HTTP/1.1 404 Not Found"'),
        (b"HTTP/1.1 400\r\n\r\n", f'{NOT_WEBSOCKET} "HTTP/1.1 400"'),
        (b"HTTP/1.1 200 101\r\n\r\n", f'{NOT_WEBSOCKET} "HTTP/1.1 200 101"'),
        (b"HTTP/1.1 101 Yes\r\n\r\n", f'{NOT_WEBSOCKET} "HTTP/1.1 101 Yes"'),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 3000, f'{NOT_WEBSOCKET} "HTTP/1.1 200 OK"'),
        (b"", SILENT_END),
        (b"HTTP/1.1 101 Switching", SILENT_END),
    ],
)
def test_not_a_websocket_server(run: Run, answer: bytes, reason: str) -> None:
    with odd_server(lambda _key: answer, ends=True) as odd:
        refusal = run(odd.port)["msg"]
    assert refusal.startswith(f"ws://127.0.0.1:{odd.port}: {reason}")
    assert ". " in refusal
    assert "\n" not in refusal
    assert odd.request.startswith("GET / HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{odd.port}\r\n" in odd.request
    assert "Origin:" not in odd.request


@pytest.mark.parametrize(("subprotocol", "chosen"), [("", "none"), ("chat", '"chat"')])
def test_no_subprotocol_in_common(run: Run, subprotocol: str, chosen: str) -> None:
    with odd_server(lambda key: welcome(key, subprotocol), ends=True) as odd:
        refusal = run(odd.port)["msg"]
    assert f"supports none of the offered subprotocols: it chose {chosen}. Allowed: {SDK}, {BRIDGE}. " in refusal


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", SILENT_END),
        (GREETING[:40], SILENT_END),
        (GREETING, SILENT_END),
        (frame(CLOSE), "closes the connection (no code)"),
        (GREETING + frame(CLOSE, b"\x03\xe9going\naway"), 'closes the connection (1001, "going\\naway")'),
        (TOO_LARGE, "sends a message of more than 16777216 bytes. Allowed: 16 MiB"),
        (frame(BINARY, b"x", final=False) + LARGEST_PART, "sends a message of more than 16777216 bytes"),
        (b"\xc1\x00", INVALID_FRAME),
        (frame(3, b"x"), INVALID_FRAME),
        (frame(PING, b"x", final=False), INVALID_FRAME),
        (frame(PING, b"x" * 126), INVALID_FRAME),
        (frame(CONTINUATION, b"x"), INVALID_FRAME),
        (frame(TEXT, b"x", final=False) + frame(TEXT, b"x"), INVALID_FRAME),
        (frame(TEXT, b"\xff"), "sends a text that is not UTF-8"),
        (frame(TEXT, b"hello"), f'sends "hello", {UNCLEAR}'),
        (frame(TEXT, b"[1]"), f'sends "[1]", {UNCLEAR}'),
        (frame(TEXT, b"[" * 60000), 'sends "[[['),
        (frame(TEXT, b'{"op": "serverInfo"}'), UNCLEAR),
        (frame(TEXT, b'{"op": "advertise", "channels": [{"id": 1e999}]}'), UNCLEAR),
        (GREETING + frame(BINARY, data(0, b"")[:12]), "sends a message of 12 bytes, which is too short"),
        (GREETING + frame(BINARY, data(1, b"")), "sends a message of subscription 1, which was not requested"),
        (
            GREETING + frame(BINARY, data(0, odometry(1))) + frame(BINARY, data(0, odometry(2)[:100])),
            f"the message on /odom is not a valid {ODOMETRY}: it ends after 100 of at least ",
        ),
    ],
)
def test_a_server_that_violates_the_protocol(run: Run, sent: bytes, reason: str) -> None:
    with odd_server(lambda key: welcome(key) + sent, ends=True) as odd:
        refusal = run(odd.port, "/odom")["msg"]
    assert refusal.startswith(f"ws://127.0.0.1:{odd.port}: ")
    assert reason in refusal
    assert ". " in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("answer", "patience", "reason"),
    [
        (lambda _key: b"", MOMENT, "does not answer the WebSocket handshake within 0.2 s"),
        (lambda _key: b"HTTP/1.1 101 ", MOMENT, "does not answer the WebSocket handshake within 0.2 s"),
        (lambda key: welcome(key) + GREETING[:50], WHILE, "sends no serverInfo within 2 s"),
    ],
)
def test_a_server_that_stops_sending(run: Run, answer: Callable[[str], bytes], patience: float, reason: str) -> None:
    with odd_server(answer, ends=False) as odd:
        assert reason in run(odd.port, timeout=patience)["msg"]


def test_irrelevant_messages_are_ignored(run: Run) -> None:
    """Time, status, services, and unknown messages."""
    status = json.dumps({"op": "status", "level": 2, "message": "hot"})
    sent = [frame(PONG), frame(BINARY), frame(BINARY, b"\x02" + bytes(8)), frame(BINARY, b"\x63"), frame(TEXT, status)]
    sent += [frame(TEXT, '{"op": "advertiseServices", "services": []}'), frame(TEXT, '{"op": "new"}'), GREETING]
    with odd_server(lambda key: welcome(key) + b"".join(sent), ends=False) as odd:
        assert run(odd.port)["topics"] == [{"topic": "/odom", "schema": ODOMETRY, "encoding": "cdr"}]


def test_a_topic_that_disappears_and_returns(run: Run) -> None:
    """A restarted node has another channel, which is subscribed to as well."""
    sent: list[str | bytes] = [*greeting(channel(6, "/clock", CLOCK), channel(7)), data(0, odometry(1))]
    sent += ['{"op": "unadvertise", "channelIds": [7]}', json.dumps({"op": "advertise", "channels": [channel(9)]})]
    # A message that was sent before the channel was closed still counts.
    sent += [data(0, odometry(2)), data(1, odometry(3))]
    frames = [frame(BINARY if isinstance(message, bytes) else TEXT, message) for message in sent]
    with odd_server(lambda key: welcome(key) + b"".join(frames), ends=False) as odd:
        result = run(odd.port, "/odom", messages=3)
    (seen,) = result["seen"]
    assert (seen["count"], seen["first"]["stamp"], seen["last"]["stamp"]) == (3, 1.5, 3.5)
    assert [entry["topic"] for entry in result["topics"]] == ["/clock", "/odom"]
    *subscribed, (opcode, code) = frames_of(odd.received)
    assert (opcode, code) == (CLOSE, b"\x03\xe8")
    assert [json.loads(text)["subscriptions"] for _opcode, text in subscribed] == [
        [{"id": 0, "channelId": 7}],
        [{"id": 1, "channelId": 9}],
    ]


def test_a_topic_that_is_not_advertised(run: Run) -> None:
    """The other topics are subscribed to meanwhile; the message lists 30 of them."""
    channels = [channel(number, f"/robot_{number:02}") for number in range(32)]
    sent = b"".join(frame(TEXT, text) for text in greeting(*channels))
    with odd_server(lambda key: welcome(key) + sent, ends=False) as odd:
        refusal = run(odd.port, *(channel["topic"] for channel in channels), "/odom", "/scan", timeout=WHILE)["msg"]
    names = ", ".join(f'"/robot_{number:02}"' for number in range(30))
    assert refusal == (
        f'ws://127.0.0.1:{odd.port}: does not advertise "/odom", "/scan" within 2 s. Allowed: an advertised topic '
        f"({names}, 2 more). Start the node that publishes it, or use one of these."
    )
    (_opcode, text), _close = frames_of(odd.received)
    assert [entry["channelId"] for entry in json.loads(text)["subscriptions"]] == list(range(32))


def loopbacks() -> list[str]:
    """Return the loopback addresses of this machine: not every machine has IPv6."""
    found = ["127.0.0.1"]
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return found
    return [*found, "::1"]


@pytest.mark.parametrize("host", loopbacks())
def test_ipv4_and_ipv6(run: Run, host: str) -> None:
    with odd_server(lambda key: welcome(key) + GREETING, ends=False, host=host) as odd:
        assert run(odd.port, host=host)["server"]["name"] == "bridge"
    written = f"[{host}]" if ":" in host else host
    assert f"\r\nHost: {written}:{odd.port}\r\n" in odd.request


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_host_with_one_address_that_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = closed_port()
    with odd_server(lambda key: welcome(key) + GREETING, ends=False) as odd:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in (closed, odd.port, closed)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_kind: addresses)
        assert run(odd.port, host="lab")["server"]["name"] == "bridge"


def test_no_server(run: Run) -> None:
    port = closed_port()
    assert run(port)["msg"] == (
        f"ws://127.0.0.1:{port}: cannot be reached (Connection refused). Allowed: a server that answers. Start the "
        "server, open its port, or set another host and port."
    )
    assert run(port, host="a..b")["msg"].startswith(f"ws://a..b:{port}: cannot be reached (")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"host": ""}, 'host: "" is not valid. Allowed: a name or an address. '),
        ({"port": 65536}, "port: 65536 is not valid. Allowed: 1 to 65535. "),
        ({"topics": [""]}, 'topics: [""] is not valid. '),
        ({"seconds": -1}, "seconds: -1.0 is not valid. Allowed: 0 to 60. "),
        ({"seconds": "nan"}, "seconds: NaN is not valid. "),
        ({"messages": 0}, "messages: 0 is not valid. Allowed: 1 or more. "),
        ({"timeout": 0}, "timeout: 0.0 is not valid. Allowed: more than 0 and at most 600. "),
        ({"timeout": "inf", "seconds": 61}, "seconds: 61.0 is not valid. "),
    ],
)
def test_invalid_options(run: Run, given: dict[str, Any], reason: str) -> None:
    result = run(8765, **given)
    assert result["failed"]
    assert reason in result["msg"]
    assert result["msg"].count("is not valid") == len(given)


def test_the_library_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foxglove_info, "find_spec", lambda _name: None)
    message = run(8765)["msg"]
    assert "websocket-client" in message
    assert "`apt install python3-websocket`" in message


def test_a_redirect_is_not_followed(run: Run) -> None:
    answer = b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n"
    with odd_server(lambda _key: answer, ends=True) as odd:
        assert f'{NOT_WEBSOCKET} "HTTP/1.1 301 Moved"' in run(odd.port)["msg"]


def test_a_wrong_accept_key(run: Run) -> None:
    with odd_server(lambda key: welcome(f"{key}x"), ends=True) as odd:
        assert f'{NOT_WEBSOCKET} "HTTP/1.1 101 Switching Protocols"' in run(odd.port)["msg"]
