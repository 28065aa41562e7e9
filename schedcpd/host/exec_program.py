# SPDX-License-Identifier: Apache-2.0
"""Becomes an external scheduler: `exec_program.py FD NAME ARGUMENT...` runs the open file FD.

A script of its own, run with `python3 -I -S`: it needs nothing of the package. What the scheduler
host has for itself ends here: its real-time priority, its environment, its open files. The kernel
kills the program when the host ends (PR_SET_PDEATHSIG, prctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "HOME": "/",
    "NO_COLOR": "1",
}


def main(arguments: list[str]) -> None:
    """Returns never: either the program runs or OSError ends this process with code 1."""
    parent, fd = int(arguments[0]), int(arguments[1])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the scheduler host ended")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, others do not
        signal.signal(number, signal.SIG_DFL)
    os.set_inheritable(fd, False)
    os.execve(fd, arguments[2:], ENVIRONMENT)


if __name__ == "__main__":
    main(sys.argv[1:])
