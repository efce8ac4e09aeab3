#!/usr/bin/env bash
# Runs `make test` in a Debian 13 root, whose C library takes the current TFX line. Needs root, for chroot.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
root=$top/.cache/debian13

if [ "$(id -u)" -ne 0 ]; then
  echo "make test-current-tfx needs root, to make a Debian 13 root and enter it." >&2
  exit 1
fi
if ! command -v debootstrap > /dev/null; then
  apt-get update -qq
  apt-get install -y -qq debootstrap > /dev/null
fi
if [ ! -e "$root/.complete" ]; then
  echo "Making a Debian 13 root in .cache/debian13 …"
  rm -rf "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3,python3-venv trixie "$root" > "$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
  touch "$root/.complete"
fi
# The machine's way to the network is the root's too.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

# What git tracks or would track, as it is in the work tree; an environment from an earlier call stays.
mkdir -p "$root/srv/segpipe"
find "$root/srv/segpipe" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .tools -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || printf "%s\0" "$1"' sh {} |
  tar --null --files-from=- -cf - | tar -xf - -C "$root/srv/segpipe"
if [ -d "$top/../shared" ]; then
  mkdir -p "$root/srv/shared"
  cp -r "$top/../shared/." "$root/srv/shared/"
fi

# A mount namespace of its own: the mounts go with the process, however it ends.
exec unshare --mount --fork env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin CI="${CI:-}" LANG=C.UTF-8 \
  SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
  sh -c '
    mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/tmp" &&
    exec chroot "$1" sh -c "cd /srv/segpipe && exec make test"
  ' sh "$root"
