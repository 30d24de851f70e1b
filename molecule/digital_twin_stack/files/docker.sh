#!/bin/sh
# A fake Docker. $FAKE_DOCKER chooses its state.
case "$FAKE_DOCKER $1" in
  "missing "*) exit 127 ;;
  "silent info") echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." >&2; exit 1 ;;
  "no-compose compose") echo "docker: 'compose' is not a docker command." >&2; exit 1 ;;
  "old-compose compose") echo 2.17.3 ;;
  "containerd info") echo /var/lib/docker; echo "[[driver-type io.containerd.snapshotter.v1]]" ;;
  *" info") echo /var/lib/docker; echo "[[Backing Filesystem extfs] [Supports d_type true]]" ;;
  *" compose") echo v2.26.1 ;;
  *) echo "Error: No such image: $5" >&2; exit 1 ;;
esac
