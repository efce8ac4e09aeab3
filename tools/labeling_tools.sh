#!/usr/bin/env bash
# Installs the own code of labeling tools and other tools for tests, in an environment of its own: .tools/labeling-tools.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=constraints/labeling-tools.txt
ready=.tools/labeling-tools/ready
if [ -e "$ready" ] && [ "$ready" -nt "$requirements" ]; then exit; fi
echo "Installing other tools' own code for the tests …"
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"
.tools/bin/uv venv --quiet --clear --python .venv/bin/python .tools/labeling-tools
.tools/bin/uv pip install --quiet --python .tools/labeling-tools/bin/python --no-deps --requirement "$requirements"
touch "$ready"
