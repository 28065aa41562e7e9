#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one sample in the guest: docs/schedbench/contract.md. POSIX; also runs under busybox.
#
# Beside it lie `env`, `parts` and the scripts arm-start, arm-stop, setup, run and check, written by
# schedbench/guestfiles.py, and `bin/` with the drivers. Exits 0 if the sample was taken to its end,
# whatever the workload's exit codes were; they are in the markers.
set -u
here=${0%/*}
PATH=$here/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root LC_ALL=C TZ=UTC
export PATH HOME LC_ALL TZ
# shellcheck source=/dev/null
. "$here/env"
CPUS=$(nproc)
SCHEDBENCH_CGROUP=/run/schedbench/parts
SCHEDBENCH_DIR=/run/schedbench/work
SCHEDBENCH_OUTPUT=/run/schedbench/printed
export CPUS SCHEDBENCH_CGROUP SCHEDBENCH_DIR SCHEDBENCH_OUTPUT
cgroups=/sys/fs/cgroup
out=/run/schedbench/parts.out

# The name of the sched_ext scheduler that is enabled now, or nothing.
scheduler() {
    [ "$(cat /sys/kernel/sched_ext/state 2>/dev/null)" != enabled ] ||
        cat /sys/kernel/sched_ext/root/ops 2>/dev/null
}

# What a script printed, each line after a mark of its own, so that none can pass for a marker.
printed() { head -c 262144 "$1" | awk '{ print "| " $0 }'; }

# A script that is not timed: its output, then the marker with its exit code, which is returned.
script() { # MARKER FILE [KEY=VALUE...]
    name=$1 file=$2 out=/run/schedbench/$1.out
    shift 2
    rm -f "$out" # what an earlier script left running keeps the file it has
    (cd "$SCHEDBENCH_DIR" && exec /bin/sh -eu "$here/$file" >"$out" 2>&1 </dev/null)
    code=$?
    printed "$out"
    mark "$name" "code=$code" "scheduler=$(scheduler)" "$@"
    return $code
}

make_parts() {
    mount | grep -q " $cgroups type cgroup2" || mount -t cgroup2 cgroup2 "$cgroups" || return
    echo "+cpu +memory" >"$cgroups/cgroup.subtree_control" || return
    mkdir -p "$cgroups/schedbench" "$SCHEDBENCH_CGROUP" || return
    echo "+cpu +memory" >"$cgroups/schedbench/cgroup.subtree_control" || return
    while read -r part cgroup weight; do
        folder=$cgroups/schedbench/$cgroup
        mkdir "$folder" && echo "$weight" >"$folder/cpu.weight" &&
            ln -s "$folder" "$SCHEDBENCH_CGROUP/$part" || return
    done <"$here/parts"
}

# Nothing of the workload outlives it.
end_parts() {
    while read -r part _; do
        echo 1 >"$SCHEDBENCH_CGROUP/$part/cgroup.kill"
    done <"$here/parts"
}

mkdir -p /run/schedbench "$SCHEDBENCH_DIR"
mount -t tmpfs -o mode=0755 schedbench "$SCHEDBENCH_DIR" || exit 3
make_parts >"$out" 2>&1
code=$?
printed "$out"
mark parts "code=$code" "cpus=$CPUS"
[ $code = 0 ] || exit 3

if script arm arm-start; then
    if script setup setup; then
        repeat=1
        while [ $repeat -le "$REPEATS" ]; do
            (cd "$SCHEDBENCH_DIR" &&
                mark -run $repeat "$SCHEDBENCH_OUTPUT" /bin/sh -eu "$here/run") || exit 3
            printed "$SCHEDBENCH_OUTPUT"
            mark ran repeat=$repeat
            script checked check "repeat=$repeat" || break
            repeat=$((repeat + 1))
        done
    fi
    end_parts
    script stopped arm-stop
fi
mark finished
