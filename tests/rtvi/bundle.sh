#!/usr/bin/env bash
# Bundles the public RTVI clients for the browser test (tests/rtvi/test_clients.py) into build/rtvi; sets up Node if it is missing.
set -euo pipefail
cd "$(dirname "$0")/page"

usable() { node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' 2>/dev/null && npm --version >/dev/null 2>&1; }

if ! usable; then
  root=()
  if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
  export DEBIAN_FRONTEND=noninteractive
  if command -v apt-get >/dev/null && "${root[@]}" true 2>/dev/null; then
    for try in 1 2 3; do
      "${root[@]}" apt-get update -qq &&
        "${root[@]}" apt-get install -y -qq --no-install-recommends nodejs >/dev/null &&
        { usable || "${root[@]}" apt-get install -y -qq --no-install-recommends npm >/dev/null; } && break
      echo "Installing Node failed (try $try of 3)." >&2
      sleep 5
    done
  fi
fi
without() {
  echo "$1; the RTVI clients are not tested." >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}

usable || without "Node 18 or newer, or npm, is missing (Debian: sudo apt-get install nodejs npm)"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || without "The clients could not be fetched from npm"
node node_modules/esbuild/bin/esbuild page.js --bundle --format=esm --log-level=warning --outfile=../../../build/rtvi/page.js
