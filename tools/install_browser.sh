#!/usr/bin/env bash
# Chromium and its driver, for the tests of pages: in CI from Debian's or Ubuntu's packages. Elsewhere nothing is
# installed outside the checkout, and without them these tests are skipped.
set -euo pipefail
if command -v chromedriver > /dev/null; then exit; fi
if [ -z "${CI:-}" ]; then
  echo "There is no chromedriver: tests of pages are skipped. Debian and Ubuntu have it in the package chromium-driver."
  exit
fi
echo "Installing Chromium for the tests of pages …"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver > /dev/null
