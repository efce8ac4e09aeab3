#!/usr/bin/env bash
# Runs lint, types and the test suite in the image for Kubeflow, which has the current TFX line on Debian 13.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$PWD/.cache/suite
mkdir -p .cache

. tools/docker.sh
docker build --quiet --network host --file kubeflow/Dockerfile --tag segpipe:test .
docker build --quiet --network host --file tests/Dockerfile --tag segpipe:suite .

# What git tracks or would track, as it is in the work tree.
rm -rf "$tree"
mkdir -p "$tree/segpipe"
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || printf "%s\0" "$1"' sh {} |
  tar --null --files-from=- -cf - | tar -xf - -C "$tree/segpipe"
if [ -d ../shared ]; then cp -rL ../shared "$tree/shared"; fi
# A test mounts a small disk, to fill it.
docker run --rm --network host --shm-size 1g --cap-add SYS_ADMIN --security-opt apparmor=unconfined \
  --env CI --env PYTHONPATH=/srv/segpipe --volume "$tree:/srv" --workdir /srv/segpipe segpipe:suite sh -c \
  'git init -q . && ruff check . && ruff format --check . && mypy && pytest --numprocesses 2 --dist loadfile'
