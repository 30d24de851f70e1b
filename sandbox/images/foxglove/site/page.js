// Connects to port 8765 of the host that served this page, or to the address in ?ws=, and draws.
"use strict";

// The hall of compose/ros2/map, in metres.
const HALL = { left: -5, bottom: -8, width: 25, height: 26 };
const PIXELS_PER_METRE = 24;
const AGAIN_MS = 1000;

const address = new URLSearchParams(location.search).get("ws") ?? `ws://${location.hostname}:8765`;
const robot = new Robot();
const canvas = document.querySelector("canvas");
const pen = canvas.getContext("2d");
const state = document.querySelector("#state");
const text = document.querySelector("#text");
canvas.width = HALL.width * PIXELS_PER_METRE;
canvas.height = HALL.height * PIXELS_PER_METRE;

function connect() {
  const socket = new WebSocket(address, ["foxglove.sdk.v1"]);
  socket.binaryType = "arraybuffer";
  const connection = new Connection(robot, (message) => socket.send(message));
  socket.onopen = () => {
    state.textContent = `connected to ${address}`;
  };
  socket.onmessage = (event) => connection.receive(event.data);
  socket.onclose = () => {
    state.textContent = `no answer from ${address}, trying again`;
    setTimeout(connect, AGAIN_MS);
  };
}

function dot(x, y, metres, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, metres, 0, 2 * Math.PI);
  pen.fill();
}

function line(points, metres, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = metres;
  pen.beginPath();
  points.forEach(({ x, y }) => pen.lineTo(x, y));
  pen.stroke();
}

function draw() {
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  // Metres, y upwards.
  pen.setTransform(
    PIXELS_PER_METRE, 0, 0, -PIXELS_PER_METRE,
    -HALL.left * PIXELS_PER_METRE, canvas.height + HALL.bottom * PIXELS_PER_METRE,
  );
  if (robot.goal) {
    dot(robot.goal.x, robot.goal.y, 0.3, "#f5a623");
  }
  if (robot.pose) {
    const { x, y, yaw } = robot.pose;
    const { least, step, ranges } = robot.scan ?? { ranges: [] };
    ranges.forEach((range, number) => {
      if (Number.isFinite(range)) {
        const angle = yaw + least + number * step;
        dot(x + range * Math.cos(angle), y + range * Math.sin(angle), 0.08, "#d0021b");
      }
    });
    line([...robot.trail, robot.pose], 0.04, "#4a90e2");
    dot(x, y, 0.25, "#4a90e2");
    line([robot.pose, { x: x + 0.7 * Math.cos(yaw), y: y + 0.7 * Math.sin(yaw) }], 0.1, "#4a90e2");
  }
  text.textContent = robot.text;
  requestAnimationFrame(draw);
}

connect();
draw();
