# SPDX-License-Identifier: Apache-2.0
"""How a scheduler's program ended: from its exit code and from what it said last.

scx programs print `EXIT: <reason> (<message>)` with the kernel's own reason (scx_exit_reason() of
kernel/sched/ext) when the kernel ended their scheduler, and exit with 1 when it was an error.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

from schedcpd.model import ExitKind

LAST_LINES = 20
_SHOWN_LINES = 4
_SHOWN_CHARS = 600
_REASONS = {
    "unregistered from user space": ExitKind.UNREG,
    "unregistered from BPF": ExitKind.UNREG_BPF,
    "unregistered from the main kernel": ExitKind.UNREG_KERN,
    "disabled by sysrq-S": ExitKind.SYSRQ,
    "runtime error": ExitKind.ERROR,
    "scx_bpf_error": ExitKind.ERROR_BPF,
    "runnable task stall": ExitKind.ERROR_STALL,
}
# Somebody wanted it to end; anything else is a crash.
_ASKED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT})


def end_of(code: int, lines: Iterable[str]) -> tuple[ExitKind, str]:
    """(kind, reason) of a program that ended with `code` (negative: by that signal)."""
    said = [line.partition("EXIT: ")[2] for line in lines if "EXIT: " in line]
    for words, kind in _REASONS.items():
        if said and said[-1].startswith(words) and (kind >= ExitKind.UNREG_KERN or not code):
            return kind, said[-1][:200]
    if code == 0:
        return ExitKind.UNREG, "its program ended by itself"
    if code > 0:
        return ExitKind.ERROR, f"its program ended with exit code {code}"
    number = -code
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number in _ASKED:
        return ExitKind.UNREG, f"its program was killed by {name}"
    return ExitKind.ERROR, f"its program crashed by {name}"


def last_words(lines: Iterable[str]) -> str:
    """The end of what it said, in one line."""
    words = " | ".join(list(lines)[-_SHOWN_LINES:])
    return words[-_SHOWN_CHARS:] or "it said nothing"
