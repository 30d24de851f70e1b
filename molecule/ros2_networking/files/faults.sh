#!/bin/sh
# Starts a program of another domain and RMW that is limited to its host, at the ports of participant index 44, and a peer
# without a route.
set -eu

ip route add unreachable 192.0.2.7
systemd-run --unit=faulty --setenv=ROS_DOMAIN_ID=7 --setenv=RMW_IMPLEMENTATION=rmw_fastrtps_cpp \
  --setenv=ROS_LOCALHOST_ONLY=1 --service-type=notify \
  python3 -c '
import os, socket, time
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.bind(("", 17998))
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(3600)
'
