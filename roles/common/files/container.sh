# Makes an image of programs of this host, and runs a script with its name in IMAGE. Removes the image and its containers.
# No registry is needed. Arguments: the script, the programs to pack, -- and the programs of which only the libraries are packed.
# Prints a JSON object with what `report NAME COMMAND...` of the script adds: the exit status and the output on one line.
set -eu
script=$1
shift
image=
folder=$(mktemp -d)

clean() {
  if [ -n "$image" ]; then
    docker ps --all --quiet --filter "ancestor=$image" | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
    docker image rm "$image" >/dev/null
  fi
  rm -rf "$folder"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

# Docker may lose what a container prints just before it ends, so callers check the exit status.
report() {
  name=$1
  shift
  status=0
  "$@" >"$folder/output" 2>&1 || status=$?
  output=$(tr '\000-\040' ' ' <"$folder/output" | sed 's/  */ /g; s/^ //; s/ $//; s/[\\"]/\\&/g')
  printf '%s"%s": {"rc": %s, "output": "%s"}' "$separator" "$name" "$status" "$output"
  separator=', '
}

packed=$(while [ $# -gt 0 ] && [ "$1" != -- ]; do command -v "$1"; shift; done)
needed=$(for program; do [ "$program" = -- ] || command -v "$program"; done)
libraries=$(echo "$needed" | xargs ldd | sed -n 's,^[[:space:]]\(.* => \)\{0\,1\}\(/[^ ]*\) (.*,\2,p' | sed 's,^/lib,/usr/lib,')
cd /
for link in bin lib lib64 sbin; do [ ! -L "$link" ] || echo "$link"; done | tar -cf "$folder/image.tar" --files-from=-
printf '%s\n' "$packed" /etc/ld.so.conf "$libraries" | sed '/^$/d; s,^/bin,/usr/bin,; s,^/,,' | sort -u |
  tar -rhf "$folder/image.tar" --files-from=-
image=$(docker import "$folder/image.tar")
rm "$folder/image.tar"

export IMAGE="$image"
printf '{'
separator=
eval "$script"
printf '}\n'
