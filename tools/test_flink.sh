#!/usr/bin/env bash
# Runs the tests on a Flink cluster of this machine: Flink from PyPI, Beam's job server from Maven Central. Java, Maven and
# `ip` are installed where they are missing (as root, on Debian and Ubuntu); all else is in .cache/flink.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/flink
mkdir -p "$cache"
if [ "$(id -u)" -ne 0 ]; then
  echo "This needs root: each task manager gets a network namespace of its own." >&2
  exit 1
fi
missing=()
command -v java > /dev/null || missing+=(default-jre-headless)
command -v mvn > /dev/null || missing+=(maven)
command -v ip > /dev/null || missing+=(iproute2)
if [ "${#missing[@]}" -ne 0 ]; then
  echo "Installing ${missing[*]} …"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi
uv=.tools/bin/uv
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"
if [ ! -d "$cache/distribution/pyflink/lib" ]; then
  echo "Fetching Flink …"
  "$uv" pip install --quiet --no-deps --python .venv/bin/python --target "$cache/distribution" \
    apache-flink-libraries==1.19.1
fi
if [ ! -e "$cache/job-server.jar" ]; then
  echo "Fetching Beam's job server for Flink …"
  mvn --quiet --batch-mode --file tests/flink/job_server.xml -Dmaven.repo.local="$cache/maven" \
    -DbuildDirectory="$cache/build" package > "$cache/maven.log" 2>&1 || { tail -n 20 "$cache/maven.log" >&2; exit 1; }
  mv "$cache/build/job-server-1.jar" "$cache/job-server.jar"
  rm -rf "$cache/build" "$cache/maven"
fi
.venv/bin/pytest -m flink tests/flink
