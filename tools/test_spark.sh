#!/usr/bin/env bash
# Runs the tests on a Spark cluster of this machine: Spark from PyPI, Beam's job server from Maven Central. As root; Java,
# Maven and `ip` are installed where they are missing (on Debian and Ubuntu); everything else is in .cache/spark.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/spark
mkdir -p "$cache"
source tools/cluster_tools.sh
need_commands java mvn ip
fetch_distribution pyspark==3.5.7
build_job_server spark
.venv/bin/pytest -m spark tests/spark
