#!/bin/sh
# Creates a signed repository with the package names, versions, suites and layout of Docker's. The programs are those of Debian
# 13, which also run on Debian 12. Each argument is a version of the engine to offer.
set -eu

debian=/srv/linux/debian
work=$(mktemp -d)
chmod 0755 "$work"
cd "$work"

sed s/bookworm/trixie/g /etc/apt/sources.list > /etc/apt/sources.list.d/trixie.list
printf 'Package: *\nPin: release n=trixie*\nPin-Priority: 1\n' > /etc/apt/preferences.d/trixie
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends apt-utils gpg gpg-agent > /dev/null
apt-get download -qq docker.io/trixie docker-cli/trixie containerd/trixie docker-compose/trixie runc

# repack NAME VERSIONS DEPENDS DEB [DEB]: the first package's files and maintainer scripts, with the other's files, renamed.
repack() {
  local name="$1" versions="$2" depends="$3" first="$4" more version
  shift 4
  rm -rf tree
  dpkg-deb --raw-extract "$first" tree
  for more in "$@"; do dpkg-deb --extract "$more" tree; done
  rm -rf tree/usr/share
  for version in $versions; do
    cat > tree/DEBIAN/control <<EOF
Package: $name
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: Tests <tests@localhost>
Depends: $depends
Description: stand-in for Docker's package, made from $first
EOF
    dpkg-deb --root-owner-group -Znone --build tree "$debian/pool/" > /dev/null
  done
}

mkdir -p "$debian/pool"
engine=$(printf '5:%s-1~debian.12~bookworm ' "$@")
repack docker-ce "$engine" "docker-ce-cli, containerd.io, iptables, libsystemd0, tini" docker.io_*.deb
repack docker-ce-cli "$engine" libc6 docker-cli_*.deb
repack containerd.io 1.7.24-1 "libc6, libseccomp2" containerd_*.deb runc_*.deb
repack docker-compose-plugin "2.26.1-1~debian.12~bookworm" libc6 docker-compose_*.deb

cd "$debian"
release=dists/bookworm
binary=$release/stable/binary-$(dpkg --print-architecture)
mkdir -p "$binary"
hash='-o APT::FTPArchive::MD5=no -o APT::FTPArchive::SHA1=no -o APT::FTPArchive::SHA512=no'
apt-ftparchive $hash packages pool > "$binary/Packages"
apt-ftparchive $hash -o APT::FTPArchive::Release::Codename=bookworm -o APT::FTPArchive::Release::Components=stable \
  release "$release" > "$work/Release"

export GNUPGHOME="$work/gnupg"
mkdir -m 0700 "$GNUPGHOME"
gpg --quiet --batch --passphrase '' --quick-generate-key "stand-in archive" ed25519 sign 1d
gpg --clearsign --output "$release/InRelease" "$work/Release"
gpg --armor --export > gpg
rm -rf "$work"
