#!/bin/sh
# Creates the image bare:bones of a shell, sleep, and the libraries that these and nvidia-smi are linked with.
set -eu

root=$(mktemp -d)
cd "$root"
mkdir -p usr/bin etc
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$folder"; mkdir -p "usr/$folder"; done
cp -L /bin/sh /bin/sleep usr/bin/
ldd /bin/sh /bin/sleep "$(command -v nvidia-smi)" | grep -o '/lib[^ ]*' | sort -u | while read -r library; do
  mkdir -p "usr$(dirname "$library")"
  cp -L "$library" "usr$library"
done
tar -cf - . | docker import - bare:bones
rm -rf "$root"
