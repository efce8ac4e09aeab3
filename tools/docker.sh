# Sourced by scripts that need Docker: an engine that runs, and Debian's base image. What is missing is installed, started
# and made here, which needs root on Debian or Ubuntu.
base=debian:trixie-slim

if ! docker info > /dev/null 2>&1; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "This needs Docker: start its engine, or run this as root, which installs Debian's docker.io." >&2
    exit 1
  fi
  if ! command -v dockerd > /dev/null; then
    echo "Installing Docker …"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io > /dev/null
  fi
  echo "Starting Docker …"
  dockerd > .cache/dockerd.log 2>&1 &
  engine=$!
  trap 'kill "$engine"; wait "$engine" || true' EXIT
  for _ in $(seq 120); do
    if docker info > /dev/null 2>&1; then break; fi
    if ! kill -0 "$engine" 2> /dev/null; then break; fi
    sleep 0.5
  done
  docker info > /dev/null || { tail -n 20 .cache/dockerd.log >&2; exit 1; }
fi

if ! docker image inspect "$base" > /dev/null 2>&1 && ! docker pull --quiet "$base" 2> /dev/null; then
  echo "Making $base, which cannot be pulled here …"
  if ! command -v debootstrap > /dev/null; then
    apt-get update -qq
    apt-get install -y -qq debootstrap > /dev/null
  fi
  root=$(mktemp -d)
  debootstrap --variant=minbase --include=ca-certificates trixie "$root" > .cache/debootstrap.log 2>&1 ||
    { tail -n 20 .cache/debootstrap.log >&2; exit 1; }
  # The machine's way to the network is the image's, too.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | docker import - "$base" > /dev/null
  rm -rf "$root"
fi
