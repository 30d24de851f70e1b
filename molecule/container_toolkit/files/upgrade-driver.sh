#!/bin/sh
# Installs another driver while the earlier one is loaded. The version is in the names of its libraries.
set -eu

cd /usr/lib/*-linux-gnu/nvidia/current
for library in libcuda libnvidia-ml; do
  for file in $library.so.[0-9]*.*; do cp "$file" "$library.so.${file#$library.so.}.1"; done
done
