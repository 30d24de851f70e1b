# Asks apt which of several sets of packages it can install, and changes nothing.
# $1: the pin file of this role, in whose place each set has its own pin. Other arguments: the held packages that the role releases.
# Standard input: one set per line. `final` or `maybe`, source packages with commas, version of the driver, arguments of apt.
# Prints for each set apt's output, each line after a bar, and then `set STATUS`. A final set that can be installed is the last one.
set -u
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

pin=$(basename "$1")
shift
eval "$(apt-config shell status Dir::State::status/f parts Dir::Etc::preferencesparts/d)"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/preferences.d"
if [ -d "$parts" ]; then cp -R "$parts/." "$work/preferences.d/"; fi
awk -v released=" $* " '
  /^Package: / { release = index(released, " " $2 " ") > 0 }
  release && /^Status: hold / { sub("hold", "install") }
  { print }' "$status" > "$work/status" || exit 1

while read -r kind sources version packages; do
  {
    echo "Package:$(echo ",$sources" | sed 's/,/ src:/g')"
    echo "Pin: version $version-*"
    echo "Pin-Priority: 1001"
  } > "$work/preferences.d/$pin"
  # The options of the role's own installation. apt's cache would be of these files, and its planner writes a log.
  echo "$packages" | xargs apt-get --simulate --quiet --yes --allow-downgrades --allow-change-held-packages -o APT::Install-Recommends=no \
    -o "Dir::State::status=$work/status" -o "Dir::Etc::preferencesparts=$work/preferences.d" -o Dir::Cache::pkgcache= -o "Dir::Log=$work" \
    install > "$work/output" 2>&1
  result=$?
  sed 's/^/|/' "$work/output"
  echo "set $result"
  if [ "$kind" = final ] && [ "$result" -eq 0 ]; then break; fi
done
exit 0
