# SPDX-License-Identifier: Apache-2.0
"""A minimal client of QEMU's machine protocol (docs/interop/qmp-spec.rst)."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

from schedcpd.errors import MicroVmError

LINE_LIMIT = 1 << 20


class Qmp:
    """One QMP session. Commands are answered in order; events are dropped."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._lock = asyncio.Lock()

    @classmethod
    async def over(cls, sock: socket.socket, *, timeout_s: float = 30.0) -> Qmp:
        """Greets on a connected socket. Raises MicroVmError if QEMU does not answer in time."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)
        qmp = cls(reader, writer)
        try:
            async with asyncio.timeout(timeout_s):
                await qmp._message()
        except TimeoutError as error:
            raise MicroVmError("QEMU does not answer on its control socket") from error
        await qmp.command("qmp_capabilities")
        return qmp

    async def command(self, name: str, *, timeout_s: float = 30.0, **arguments: Any) -> Any:
        """Runs one command and returns its result. Raises MicroVmError on an error or silence."""
        async with self._lock:
            message = {"execute": name, "arguments": arguments}
            try:
                async with asyncio.timeout(timeout_s):
                    self._writer.write(json.dumps(message).encode() + b"\n")
                    await self._writer.drain()
                    while True:
                        answer = await self._message()
                        if "error" in answer:
                            raise MicroVmError(f"QEMU refused {name}: {answer['error']['desc']}")
                        if "return" in answer:
                            return answer["return"]
            except TimeoutError as error:
                raise MicroVmError(f"QEMU did not answer {name} in {timeout_s:.0f} s") from error
            except OSError as error:
                raise MicroVmError(f"QEMU is gone during {name}") from error

    async def migrate_wait(self, *, timeout_s: float) -> None:
        """Waits until the migration (out or in) is complete. Raises MicroVmError if it fails."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            info = await self.command("query-migrate")
            match info.get("status"):
                case "completed":
                    return
                case "failed" | "cancelled":
                    raise MicroVmError(f"snapshot failed: {info.get('error-desc', 'no reason')}")
            await asyncio.sleep(0.02)
        raise MicroVmError(f"the snapshot was not complete after {timeout_s:.0f} s")

    async def _message(self) -> dict[str, Any]:
        line = await self._reader.readline()
        if not line:
            raise MicroVmError("QEMU closed its control socket")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        self._writer.close()
