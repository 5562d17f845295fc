#!/bin/sh
# What the container runs: run.py. Where LECTERN_METRICS_KEY_FILE names a place, Prometheus finds a key of its own there.
set -eu
cd "${LECTERN_HOME:-/app}"
place=${LECTERN_METRICS_KEY_FILE:-}
if [ "${1:-}" = serve ] && [ -n "$place" ]; then
  if [ ! -s "$place" ] || ! python run.py keys list | grep -q ' prometheus$'; then
    told=$(mktemp)
    key=$(python run.py keys add --role service --name prometheus 2>"$told") || { cat "$told" >&2; exit 1; }
    rm -f "$told"
    printf %s "$key" >"$place"
    chmod 0644 "$place" # Prometheus has another user; nothing but the two has this volume
  fi
fi
exec python run.py "$@"
