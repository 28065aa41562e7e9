# SPDX-License-Identifier: Apache-2.0
"""Applies a policy and sends the daemon a signal at a moment of the swap, above everybody.

python3 in_a_swap.py POLICY MOMENT SIGNAL PID. Moments: `recorded` (the swap is in the record, the
old scheduler runs), `gap` (none runs), `enabled` (the new one runs).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SCX = Path("/sys/kernel/sched_ext")
RECORD = Path("/var/lib/schedcp/deploy.json")


def read(name: str) -> str:
    return (SCX / name).read_text().strip()


def main(policy: str, moment: str, number: int, daemon: int) -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    before, quiet = read("enable_seq"), subprocess.DEVNULL
    moments = {
        "recorded": lambda: json.loads(RECORD.read_text())["pending"] is not None,
        "gap": lambda: read("state") != "enabled",
        "enabled": lambda: read("enable_seq") != before,
    }
    subprocess.Popen(["schedctl", "apply", policy], stdin=quiet, stdout=quiet, stderr=quiet)
    end = time.monotonic() + 60
    while not moments[moment]():
        if time.monotonic() > end:
            raise SystemExit(f"there was no moment {moment}")
        time.sleep(0.001)
    os.kill(daemon, number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
