// Reads Foxglove's WebSocket: the list of topics, and from some of them the robot's position, its goal and its
// lidar. Messages are CDR, little endian, as ROS 2 sends them.
"use strict";

const TOPICS = ["/clock", "/amcl_pose", "/goal_pose", "/scan"];
const MESSAGE_DATA = 1;
const MESSAGE_HEADER = 1 + 4 + 8;
const CDR_HEADER = 4;
// The length of the robot's trail, and the distance between its points in metres.
const TRAIL_POINTS = 500;
const TRAIL_STEP = 0.1;

// Reads one value after the other, each aligned to its own size from the end of the header.
class Cdr {
  constructor(view) {
    this.view = view;
    this.at = CDR_HEADER;
  }

  align(size) {
    this.at += (size - ((this.at - CDR_HEADER) % size)) % size;
  }

  uint32() {
    this.align(4);
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  float32() {
    this.align(4);
    this.at += 4;
    return this.view.getFloat32(this.at - 4, true);
  }

  float64() {
    this.align(8);
    this.at += 8;
    return this.view.getFloat64(this.at - 8, true);
  }

  skipString() {
    const length = this.uint32();
    this.at += length;
  }

  time() {
    const seconds = this.uint32();
    return seconds + this.uint32() / 1e9;
  }

  header() {
    this.time();
    this.skipString();
  }

  pose() {
    const [x, y] = [this.float64(), this.float64(), this.float64()];
    const [i, j, k, w] = [this.float64(), this.float64(), this.float64(), this.float64()];
    return { x, y, yaw: Math.atan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k)) };
  }

  floats() {
    return Array.from({ length: this.uint32() }, () => this.float32());
  }
}

// The state of the robot, which messages update.
class Robot {
  constructor() {
    this.time = null;
    this.pose = null;
    this.goal = null;
    this.scan = null;
    this.trail = [];
  }

  hear(topic, cdr) {
    if (topic === "/clock") {
      this.time = cdr.time();
      return;
    }
    cdr.header();
    if (topic === "/amcl_pose") {
      this.pose = cdr.pose();
      this.remember(this.pose);
    } else if (topic === "/goal_pose") {
      this.goal = cdr.pose();
    } else if (topic === "/scan") {
      const [least, , step] = [cdr.float32(), cdr.float32(), cdr.float32()];
      // Two times, and the nearest and the farthest valid distance.
      for (let skipped = 0; skipped < 4; skipped += 1) {
        cdr.float32();
      }
      this.scan = { least, step, ranges: cdr.floats() };
    }
  }

  remember({ x, y }) {
    const last = this.trail.at(-1);
    if (!last || Math.hypot(x - last.x, y - last.y) > TRAIL_STEP) {
      this.trail = [...this.trail, { x, y }].slice(-TRAIL_POINTS);
    }
  }

  get text() {
    if (!this.pose) {
      return "waiting for the robot";
    }
    const { x, y } = this.pose;
    return `x ${x.toFixed(2)} m, y ${y.toFixed(2)} m, at ${(this.time ?? 0).toFixed(1)} s`;
  }
}

// One connection: the caller passes what was received, and a function that sends.
class Connection {
  constructor(robot, send) {
    this.robot = robot;
    this.send = send;
    this.topics = new Map();
  }

  receive(data) {
    if (typeof data === "string") {
      this.received(JSON.parse(data));
      return;
    }
    const view = new DataView(data);
    if (view.getUint8(0) !== MESSAGE_DATA) {
      return;
    }
    const topic = this.topics.get(view.getUint32(1, true));
    if (topic) {
      this.robot.hear(topic, new Cdr(new DataView(data, MESSAGE_HEADER)));
    }
  }

  received(message) {
    if (message.op !== "advertise") {
      return;
    }
    const wanted = message.channels.filter((channel) => TOPICS.includes(channel.topic) && channel.encoding === "cdr");
    const subscriptions = wanted.map((channel) => {
      this.topics.set(channel.id, channel.topic);
      return { id: channel.id, channelId: channel.id };
    });
    if (subscriptions.length) {
      this.send(JSON.stringify({ op: "subscribe", subscriptions }));
    }
  }
}
