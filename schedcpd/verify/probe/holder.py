# SPDX-License-Identifier: Apache-2.0
"""The process that holds a candidate: it alone has the link, so its end is the scheduler's end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from schedcpd.errors import SchedcpError
from schedcpd.host.scheduler import Scheduler
from schedcpd.host.scx import SysScx
from schedcpd.model import Tunable

ATTACH_S = 30.0  # enabling visits every task
END_S = 30.0


class Holder:
    """Forks the process, which loads and attaches at once and then answers with one line."""

    def __init__(self, data: bytes, ops: str, tunables: Mapping[str, Tunable]) -> None:
        self.since = time.clock_gettime(time.CLOCK_MONOTONIC)
        self._ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _hold(theirs, data, ops, tunables)
        theirs.close()
        self._lines = self._ours.makefile("r", encoding="utf-8")

    def read(self) -> dict[str, Any]:
        """Its next line: {"attached": true}, {"message": …}, or {} when it is gone."""
        with contextlib.suppress(OSError, ValueError):
            answer = json.loads(self._lines.readline())
            if isinstance(answer, dict):
                return answer
        return {}

    def end(self) -> dict[str, Any]:
        """Has it detach and go; its exit record, or {}. Kills it if it does not. Repeatable."""
        if self._pid == 0:
            return {}
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)
        self._ours.settimeout(END_S)
        record = self.read()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pid = 0
        self._ours.close()
        return record


def _hold(control: socket.socket, data: bytes, ops: str, tunables: Mapping[str, Tunable]) -> None:
    """The child's whole life."""
    try:
        with contextlib.closing(Scheduler(data, "candidate", ops, tunables)) as scheduler:
            scheduler.attach(SysScx().snapshot, ATTACH_S)
            _say(control, {"attached": True})
            control.recv(1)  # nothing is ever sent: this returns when the other end is closed
            record = scheduler.exit_record()
            scheduler.detach()
            if record is not None:
                what = f"{record.kind_name} ({record.kind}), {record.reason}"
                _say(control, {"what": what, "message": record.message, "dump": record.dump})
    except SchedcpError as error:
        _say(control, {"message": error.message})
    finally:
        os._exit(0)


def _say(control: socket.socket, message: Mapping[str, Any]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")
