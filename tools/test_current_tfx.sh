#!/usr/bin/env bash
# Runs types and tests in the image for Kubeflow, which has the current TFX line on Debian 13: all but those marked
# `one_line` or `nightly`, or those too with --all. With --prepare it makes the images, and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$PWD/.cache/suite
mkdir -p .cache

. tools/docker.sh
docker build --quiet --network host --file kubeflow/Dockerfile --tag segpipe:test .
docker build --quiet --network host --file tests/Dockerfile --tag segpipe:suite .
if [ "${1:-}" = --prepare ]; then exit; fi
markers="not kubeflow and not flink and not spark and not faults and not other_tools"
if [ "${1:-}" != --all ]; then markers="$markers and not one_line and not nightly"; fi

# What git tracks or would track, as it is in the work tree.
rm -rf "$tree"
mkdir -p "$tree/segpipe"
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || printf "%s\0" "$1"' sh {} |
  tar --null --files-from=- -cf - | tar -xf - -C "$tree/segpipe"
if [ -d ../shared ]; then cp -rL ../shared "$tree/shared"; fi
# A test mounts a small disk, to fill it.
docker run --rm --network host --shm-size 1g --cap-add SYS_ADMIN --security-opt apparmor=unconfined \
  --env CI --env PYTHONPATH=/srv/segpipe --env MARKERS="$markers" --volume "$tree:/srv" --workdir /srv/segpipe \
  segpipe:suite sh -c \
  'git init -q . && mypy && pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "$MARKERS"'
