#!/bin/sh
# Writes a tar of a minimal Debian root file system: the stand-in for debian:trixie-slim where no image registry answers.
# Usage (as root): rootfs.sh WORK_DIR OUTPUT_TAR
set -eu

work=$1
output=$2
root=$work/root
here=$(cd "$(dirname "$0")" && pwd)
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

# A chroot that is left mounted would take the host's /proc with it when the folder is removed.
trap 'umount "$root/proc" 2>/dev/null || true' EXIT

# By name and enforced: with a mirror named and no keyring found, debootstrap only warns and installs whatever it is given. The
# signatures protect, so the mirror may be asked without TLS, as apt in an image without certificates has to.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if [ ! -r "$keyring" ]; then
  echo "rootfs.sh: $keyring is missing, so Debian's signatures cannot be checked; install debian-archive-keyring" >&2
  exit 1
fi

mkdir -p "$root"
# Our own script name: debootstrap of an older release may not know trixie, and all Debian releases share one script.
debootstrap --force-check-gpg --keyring="$keyring" --variant=minbase --components=main \
  trixie "$root" http://deb.debian.org/debian /usr/share/debootstrap/scripts/sid

install -m 0644 "$here/debian.sources" "$root/etc/apt/sources.list.d/debian.sources"
rm -f "$root/etc/apt/sources.list"
install -m 0644 "$here/slim.cfg" "$root/etc/dpkg/dpkg.cfg.d/slim"
# No service may start while packages are installed: there is no init in a build.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"

mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
# Name resolution inside the chroot; Docker mounts its own file over this one later.
cat /etc/resolv.conf > "$root/etc/resolv.conf"
chroot "$root" apt-get -o Acquire::Retries=5 -o APT::Update::Error-Mode=any update
chroot "$root" apt-get -y dist-upgrade
chroot "$root" apt-get -y --purge autoremove
chroot "$root" apt-get clean
umount "$root/proc"

# What differs from run to run and is of no use in an image.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/ldconfig "$root"/var/log/* \
  "$root"/tmp/* "$root"/var/lib/dpkg/*-old "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- "$root"/etc/gshadow- \
  "$root"/etc/machine-id "$root"/var/lib/dbus/machine-id
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/doc" -depth -type d -empty -delete
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/*
: > "$root/etc/resolv.conf"
: > "$root/etc/hostname"

# Same packages, same tar: names sorted, one date, numeric owners.
tar --create --file "$output" --directory "$root" --sort=name --mtime='2025-01-01 00:00:00Z' --clamp-mtime \
  --numeric-owner --one-file-system --exclude=./dev/* .
