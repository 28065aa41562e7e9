# SPDX-License-Identifier: Apache-2.0
"""A dbus-daemon of the test's own, and python-dbusmock's polkitd on it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from dbus_next import DBusError

from schedcpd.errors import SchedcpError
from schedcpd.host.dbus import Connection

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <limit name="max_message_size">33554432</limit>
  <policy context="default">
    <allow user="*"/>
    {policy}
  </policy>
  {include}
</busconfig>
"""

OPEN_POLICY = """<allow own="*"/><allow send_type="method_call"/>
    <allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/>"""

# The default policy of Debian's and upstream's system.conf.
SYSTEM_POLICY = """<deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>"""

POLKIT_MOCK = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.DBus.Mock",
)
SYSTEM_PYTHON = "/usr/bin/python3"


class PrivateBus:
    """Starts, kills and restarts a dbus-daemon that always listens on the same socket."""

    def __init__(self, directory: Path, *, policy: str = OPEN_POLICY, include: str = "") -> None:
        self.socket = directory / "bus"
        self.config = directory / "bus.conf"
        self.config.write_text(
            CONFIG.format(socket=self.socket, policy=policy, include=include), encoding="utf-8"
        )
        self.address = f"unix:path={self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self.config}", "--nofork", "--nopidfile"],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not self._listens():
            assert self._process.poll() is None, "dbus-daemon did not start"
            assert time.monotonic() < deadline, "dbus-daemon does not listen after 30 s"
            time.sleep(0.01)

    def _listens(self) -> bool:
        """Bound is not enough: the socket's file appears before it can be connected to."""
        with socket.socket(socket.AF_UNIX) as attempt:
            return attempt.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None
            self.socket.unlink(missing_ok=True)


class MockPolkit:
    """python-dbusmock's `polkitd` template in a process of its own.

    It runs under Debian's own Python (package python3-dbusmock): its libraries are not on PyPI
    as wheels.
    """

    def __init__(self, bus: PrivateBus, log: Path) -> None:
        self._bus = bus
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [SYSTEM_PYTHON, "-m", "dbusmock", "--template", "polkitd"],
                env={
                    "PATH": os.environ["PATH"],
                    "DBUS_SYSTEM_BUS_ADDRESS": self._bus.address,
                    "DBUS_SESSION_BUS_ADDRESS": self._bus.address,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                await self._mock("AllowUnknown", "b", False)
                return
            except (SchedcpError, DBusError, TimeoutError) as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = self._log.read_text(encoding="utf-8", errors="replace")
                    raise AssertionError(
                        f"no mock polkit (package python3-dbusmock?): {error}\n{text}"
                    ) from error
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    async def allow_all(self) -> None:
        await self._mock("AllowUnknown", "b", True)

    async def allow_only(self, *actions: str) -> None:
        await self._mock("AllowUnknown", "b", False)
        await self._mock("SetAllowed", "as", list(actions))

    async def hang(self, on: bool) -> None:
        await self._mock("SimulateHang", "b", on)

    async def release(self) -> None:
        """Answers the calls that hang."""
        await self.hang(False)
        await self._mock("ReleaseHangingCalls", "")

    async def _mock(self, member: str, signature: str, *values: Any) -> None:
        connection = Connection(self._bus.address)
        try:
            await connection.open()
            await connection.ask(*POLKIT_MOCK, member, signature, list(values), timeout_s=5)
        finally:
            connection.close()
