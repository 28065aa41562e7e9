# SPDX-License-Identifier: Apache-2.0
"""What the guest's kernel said while a sample ran, and what of it taints the sample."""

from __future__ import annotations

import re
from collections.abc import Iterable

LINE = re.compile(r"(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? (.*)")
GRAVE = re.compile(
    r"WARNING: |BUG: |Oops|general protection fault|Kernel panic|kernel BUG at|Call Trace:"
    r"|rcu: INFO: rcu.* (?:stall|detected)|blocked for more than \d+ seconds|soft lockup"
    r"|hard LOCKUP|Out of memory: Killed|oom-kill:"
    r"|sched_ext: .*(?:disabled|errored|runtime error|stall|[Ww]atchdog)"
)
ENDED_AS_ASKED = re.compile(r"sched_ext: .*(?:unregistered from user space)")


def messages(lines: Iterable[str]) -> tuple[str, ...]:
    """The kernel's lines among a console's, with their time stamps."""
    return tuple(line.strip() for line in lines if LINE.fullmatch(line.strip()))


def grave(lines: Iterable[str]) -> tuple[str, ...]:
    """Those that taint a sample: warnings with a stack, oopses, stalls, ejections, OOM kills."""
    return tuple(
        line for line in messages(lines) if GRAVE.search(line) and not ENDED_AS_ASKED.search(line)
    )
