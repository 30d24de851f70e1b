# Prints Docker engines other than the one to install: kind, path and the package that installed it, separated by tabs.
# Tests set $1 as the root folder.
root="${1:-}"

# dpkg records the path in the package, which may lack /usr. A link has the package of its target.
owner() {
  target=$(readlink -f "$root$1")
  target="${target#"$root"}"
  dpkg-query --search "$1" "${1#/usr}" "$target" "${target#/usr}" 2>/dev/null | sed -n 's/[:,].*//p' | head -n 1
}

for path in "$root"/var/lib/snapd/snaps/docker_*.snap "$root/snap/docker/current" "$root/snap/bin/docker"; do
  if [ -e "$path" ] || [ -L "$path" ]; then
    printf 'snap\t%s\t\n' "${path#"$root"}"
    break
  fi
done

if [ -e "$root/opt/docker-desktop" ]; then printf 'desktop\t/opt/docker-desktop\t\n'; fi

# An unpackaged command line before a packaged one is a wrapper.
packaged=$(owner /usr/bin/docker)
for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /opt/bin; do
  for program in dockerd docker; do
    path="$folder/$program"
    if [ -f "$root$path" ]; then
      package=$(owner "$path")
      if [ "$program" = dockerd ] || [ -n "$package" ] || [ -z "$packaged" ]; then
        printf 'program\t%s\t%s\n' "$path" "$package"
      fi
    fi
  done
done

for path in "$root"/run/user/*/docker.sock "$root"/home/*/.config/systemd/user/docker.service \
  "$root/root/.config/systemd/user/docker.service"; do
  if [ -e "$path" ]; then printf 'rootless\t%s\t\n' "${path#"$root"}"; fi
done

# An engine in a container has mounts of its own, and so has a rootless engine, which is found above.
for process in "$root"/proc/[0-9]*; do
  if [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ] &&
    [ "$(readlink "$process/ns/mnt")" = "$(readlink "$root/proc/1/ns/mnt")" ]; then
    path=$(readlink "$process/exe")
    path="${path% (deleted)}"
    printf 'running\t%s\t%s\n' "$path" "$(owner "$path")"
  fi
done
exit 0
