#!/usr/bin/env bash
# Chromium and its driver, for the tests of pages, from Debian's or Ubuntu's packages where that needs no question.
set -euo pipefail
if command -v chromedriver > /dev/null; then exit; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "There is no chromedriver: tests of pages are skipped. Debian has it in the package chromium-driver."
  exit
fi
echo "Installing Chromium for the tests of pages …"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver > /dev/null
