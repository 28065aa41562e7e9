# SPDX-License-Identifier: Apache-2.0
"""Runs schedctl as a person or a script does: a process of its own, on a pipe or a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        content = json.loads(self.out)
        assert content["version"] == 1
        return content


def environment(**extra: str) -> dict[str, str]:
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "PYTHONPYCACHEPREFIX")
        if name in os.environ
    }
    return {**kept, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **extra}


class Schedctl:
    """`await ctl("status")` against one bus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "schedctl", "--bus-address", self.address, *args]

    async def start(self, *args: str, **env: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.argv(*args),
            cwd="/",
            env=environment(**env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *args: str, **env: str) -> Ran:
        process = await self.start(*args, **env)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def on_terminal(self, *args: str, columns: int = 80, **env: str) -> Ran:
        """Standard output and error are one terminal of that width."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *self.argv(*args),
            cwd="/",
            env=environment(**{"TERM": "xterm-256color", **env}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        text = await asyncio.to_thread(_read_all, ours)
        code = await asyncio.wait_for(process.wait(), 60)
        return Ran(code, text.replace("\r\n", "\n"), "")


def _read_all(fd: int) -> str:
    data = b""
    try:
        while chunk := os.read(fd, 65536):
            data += chunk
    except OSError:
        pass  # a terminal whose other end is closed reads as EIO
    finally:
        os.close(fd)
    return data.decode()
