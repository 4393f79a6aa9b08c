#!/usr/bin/env bash
# A Chromium for page.py, from the system's packages. Python needs no package of its own.
# Prints "skipped: …" and ends well where it cannot install one.
set -euo pipefail

command -v python3 > /dev/null || { echo "skipped: python3 is not installed, pages are not opened in a browser"; exit 0; }
for name in "${CHROMIUM:-chromium}" chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" > /dev/null; then
        echo "browser: $(command -v "$name")"
        exit 0
    fi
done
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
    echo "skipped: no Chromium, and no right to install one"
    exit 0
fi
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null 2>&1; }
install || { apt-get update -qq > /dev/null 2>&1 && install; } || { echo "skipped: apt-get cannot install chromium"; exit 0; }
echo "browser: $(command -v chromium)"
