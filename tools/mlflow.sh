#!/usr/bin/env bash
# Installs MLflow with its server for tests, in an environment of its own: .tools/mlflow.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=constraints/mlflow.txt
ready=.tools/mlflow/ready
if [ -e "$ready" ] && [ "$ready" -nt "$requirements" ]; then exit; fi
echo "Installing MLflow's server for the tests …"
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"
.tools/bin/uv venv --quiet --clear --python .venv/bin/python .tools/mlflow
.tools/bin/uv pip install --quiet --python .tools/mlflow/bin/python --no-deps --requirement "$requirements"
touch "$ready"
