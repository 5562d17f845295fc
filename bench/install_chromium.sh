#!/usr/bin/env bash
# Makes sure that a Chromium, and a font with Chinese, are there for the browser tests and the benchmark.
set -euo pipefail

for name in "${LECTERN_CHROMIUM:-}" chromium chromium-browser google-chrome; do
  if [ -n "$name" ] && "$name" --version >/dev/null 2>&1; then
    exit 0
  fi
done

root=()
if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
export DEBIAN_FRONTEND=noninteractive
if command -v apt-get >/dev/null && "${root[@]}" true 2>/dev/null; then
  for try in 1 2 3; do
    "${root[@]}" apt-get update -qq &&
      "${root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-liberation fonts-wqy-microhei >/dev/null && exit 0
    echo "Installing Chromium failed (try $try of 3)." >&2
    sleep 5
  done
fi
echo "Chromium is missing. Install it (Debian: sudo apt-get install chromium), or set LECTERN_CHROMIUM to its path." >&2
exit 1
