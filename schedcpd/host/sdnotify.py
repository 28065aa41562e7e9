# SPDX-License-Identifier: Apache-2.0
"""Talks to the service manager: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends states to $NOTIFY_SOCKET; does nothing where there is none (a terminal, a test)."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = self._watchdog(environ)

    @staticmethod
    def _watchdog(environ: Mapping[str, str]) -> float:
        """Seconds after which the manager acts on silence, 0.0 when it does not."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        pid = environ.get("WATCHDOG_PID", "")
        if not microseconds.isdecimal() or (pid and pid != str(os.getpid())):
            return 0.0
        return int(microseconds) / 1e6

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(text.encode(), self._address)
            except OSError:
                return  # the manager is gone or full: nothing we could do about it

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={_line(status)}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Type=notify-reload wants the moment on CLOCK_MONOTONIC, in microseconds."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        self._send("STOPPING=1")


def _line(text: str) -> str:
    return " ".join(text.split())
