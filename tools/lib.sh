# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the tools: progress with elapsed time, root, the cache directory.
# shellcheck disable=SC2034  # used by the scripts that source this file

set -euo pipefail
export LANG=C.UTF-8 LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${SCHEDCP_CACHE:-$HOME/.cache/schedcp}
: "${SCHEDCP_T0:=$(date +%s)}"
export SCHEDCP_T0

say() { printf '[%4ds] %s\n' "$(($(date +%s) - SCHEDCP_T0))" "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this step needs root or sudo: $*"
    fi
}

# Runs a command with its output kept in a file, shown only if it fails, with a line every 30 s.
quietly() {
    local title=$1 log status=0 pid waited=0
    shift
    say "$title"
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        [ $((waited % 30)) -ne 0 ] || say "  … still: $title (${waited}s)"
    done
    wait "$pid" || status=$?
    if [ "$status" -ne 0 ]; then
        cat "$log" >&2
        rm -f "$log"
        die "$title failed (exit $status)"
    fi
    rm -f "$log"
}
