#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One measured round of the demo, run inside the micro-VM; prints one JSON object.

A parallel build of a real C program (unit `demo-build`, slice `demo-build.slice`) runs beside
nginx (unit `demo-web`, slice `demo-web.slice`) under wrk. The load generator stands for clients on
other machines, so it runs under SCHED_FIFO in every round and no sched_ext scheduler or intent
touches it. Tail latency is wrk's own 99th percentile in milliseconds; the build's time is
systemd's monotonic start and exit stamp of the unit, in seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
SCX = Path("/sys/kernel/sched_ext")


def sh(*argv: str, timeout: float = 120, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def kernel_scheduler() -> str:
    """The name of the running sched_ext scheduler as the kernel reports it, "" for none."""
    if (SCX / "state").read_text().strip() != "enabled":
        return ""
    return (SCX / "root/ops").read_text().strip()


def latency_ms(text: str, percentile: str) -> float:
    found = re.search(rf"^\s+{percentile}%\s+([0-9.]+)(us|ms|s|m)\s*$", text, re.M)
    if not found:
        sys.exit(f"wrk printed no {percentile}th percentile:\n{text}")
    return float(found[1]) * UNITS[found[2]]


def shown(unit: str) -> dict[str, str]:
    lines = sh("systemctl", "show", unit).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def start_build(source: str, jobs: int) -> None:
    tree = Path("/tmp/demo-build")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree, symlinks=True)
    sh(
        *("systemd-run", "--quiet", "--unit=demo-build", "--slice=demo-build.slice"),
        *("--property=RemainAfterExit=yes", f"--working-directory={tree}"),
        *("make", f"-j{jobs}", "MYCFLAGS=-O0"),
    )


def wait_build(limit: float) -> float:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        state = shown("demo-build.service")
        if state["SubState"] != "running":
            break
        time.sleep(0.2)
    else:
        sys.exit(f"the build did not end within {limit:.0f} s")
    if state["ExecMainStatus"] != "0":
        log = sh("journalctl", "-u", "demo-build.service", "-n", "20", check=False)
        sys.exit(f"the build failed with exit {state['ExecMainStatus']}:\n{log}")
    start = int(state["ExecMainStartTimestampMonotonic"])
    end = int(state["ExecMainExitTimestampMonotonic"])
    return (end - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="directory of the C program")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10, help="length of the load")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds before the load")
    args = parser.parse_args()

    before = kernel_scheduler()
    start_build(args.source, args.jobs)
    time.sleep(args.settle)
    during = kernel_scheduler()
    wrk = sh(
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--unit=demo-load"),
        *("--slice=demo-load.slice", "-p", "CPUSchedulingPolicy=fifo"),
        *("-p", "CPUSchedulingPriority=10"),
        # a slow answer is a latency to be measured, not an error (wrk's own limit is 2 s)
        *("wrk", "-t1", "-c4", f"-d{args.seconds}s", "--timeout", "60s"),
        *("--latency", "http://127.0.0.1:8080/"),
        timeout=args.seconds * 10 + 60,
    )
    still_building = shown("demo-build.service")["SubState"] == "running"
    seconds = wait_build(600)
    sh("systemctl", "stop", "demo-build.service")
    rps = re.search(r"Requests/sec:\s+([0-9.]+)", wrk)
    errors = re.search(r"Socket errors:.*|Non-2xx.*", wrk)
    print(
        json.dumps(
            {
                "scheduler_before": before,
                "scheduler_during": during,
                "p50_ms": latency_ms(wrk, "50"),
                "p99_ms": latency_ms(wrk, "99"),
                "rps": float(rps[1]) if rps else 0.0,
                "errors": errors[0] if errors else "",
                "build_s": seconds,
                "build_outlived_load": still_building,
            }
        )
    )


if __name__ == "__main__":
    main()
