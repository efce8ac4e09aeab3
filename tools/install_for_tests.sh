#!/usr/bin/env bash
# What tests need beside Python: other tools' own code and ONNX Runtime Web, which are fetched; a browser, a database
# server, a clock to set, systemd's checks, curl. In CI these are installed from Debian's or Ubuntu's packages. Elsewhere
# nothing is installed outside the checkout, and tests that need what is missing are skipped.
set -euo pipefail
"$(dirname "$0")"/labeling_tools.sh
"$(dirname "$0")"/onnxruntime_web.sh || [ -z "${CI:-}" ]
missing=()
command -v chromedriver > /dev/null || missing+=(chromium chromium-driver)
command -v mariadbd > /dev/null || missing+=(mariadb-server)
[ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 ] || missing+=(libfaketime)
command -v systemd-analyze > /dev/null || missing+=(systemd)
command -v curl > /dev/null || missing+=(curl)
if [ "${#missing[@]}" -eq 0 ]; then exit; fi
if [ -z "${CI:-}" ]; then
  echo "Some tests are skipped: they need Debian's or Ubuntu's packages ${missing[*]}."
  exit
fi
echo "Installing for the tests: ${missing[*]} …"
apt-get update -qq
# The tests start servers of their own.
policy=$(mktemp)
printf '#!/bin/sh\nexit 101\n' > "$policy"
if [ ! -e /usr/sbin/policy-rc.d ]; then
  install -m 755 "$policy" /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
