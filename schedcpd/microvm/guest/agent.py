#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs commands in the guest for the host, over one virtio-serial port. Standard library only.

This file is copied into the VM image; `schedcpd/microvm/channel.py` is the other end and imports
the frame constants from here. A frame is `!BII` (type, channel, length) and `length` bytes.
A channel is one command. Output goes to the host as it comes, so that what a command said before
the guest froze is known. The service runs under SCHED_FIFO (reset on fork), so that a bad scheduler
of the commands does not silence the agent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, NoReturn

PORT_NAME = "org.schedcp.guest.0"
HEADER = struct.Struct("!BII")
MAX_FRAME = 1 << 20
STDIN_WINDOW = 256 * 1024  # bytes of stdin the host may send ahead of ACKs

EXEC, STDIN, STDIN_EOF, KILL, PING, RESUMED = 1, 2, 3, 4, 5, 6  # host to guest
STDOUT, STDERR, EXIT, PONG, HELLO, ACK = 17, 18, 19, 20, 21, 22  # guest to host

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
PORTS = Path("/sys/class/virtio-ports")
RANDOM = Path("/dev/urandom")
OUT_HIGH = 1 << 20
READ_SIZE = 32 * 1024  # one write to a virtio port carries at most 32 KiB


class Command:
    """One running command and what of it is still to be relayed."""

    def __init__(self, channel: int, spec: dict[str, Any]) -> None:
        self.channel = channel
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            spec["argv"],
            stdin=subprocess.PIPE if spec.get("stdin") else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=spec["env"],
            cwd=spec.get("cwd") or "/root",
            start_new_session=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.outputs = {self.process.stdout.fileno(): STDOUT, self.process.stderr.fileno(): STDERR}
        for fd in self.outputs:
            os.set_blocking(fd, False)
        self.pending = bytearray()
        self.eof = False
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close_stdin(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            self.process.stdin = None


class Agent:
    """The event loop: one port, any number of commands."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.commands: dict[int, Command] = {}
        wake_r, self.wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.wake_r = wake_r
        signal.set_wakeup_fd(self.wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def send(self, kind: int, channel: int, data: bytes = b"") -> None:
        self.outbox += HEADER.pack(kind, channel, len(data)) + data

    def send_json(self, kind: int, channel: int, value: dict[str, Any]) -> None:
        self.send(kind, channel, json.dumps(value).encode())

    def loop(self) -> NoReturn:
        self.send_json(HELLO, 0, {"release": os.uname().release, "pid": os.getpid()})
        while True:
            poll = select.poll()
            poll.register(self.wake_r, select.POLLIN)
            poll.register(self.port, select.POLLIN | (select.POLLOUT if self.outbox else 0))
            for command in self.commands.values():
                if len(self.outbox) < OUT_HIGH:
                    for fd in command.outputs:
                        poll.register(fd, select.POLLIN)
                if command.pending and command.process.stdin is not None:
                    poll.register(command.process.stdin.fileno(), select.POLLOUT)
            events = dict(poll.poll())
            if self.wake_r in events:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake_r, 4096)
            if events.get(self.port, 0) & select.POLLHUP:
                time.sleep(0.05)  # no host: nothing to do until it is back
            self.read_port()
            for command in list(self.commands.values()):
                self.relay(command, events)
            self.write_port()

    def read_port(self) -> None:
        while True:
            try:
                data = os.read(self.port, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                break
            self.inbox += data
        while len(self.inbox) >= HEADER.size:
            kind, channel, length = HEADER.unpack_from(self.inbox)
            if len(self.inbox) < HEADER.size + length:
                break
            body = bytes(self.inbox[HEADER.size : HEADER.size + length])
            del self.inbox[: HEADER.size + length]
            self.handle(kind, channel, body)

    def write_port(self) -> None:
        while self.outbox:
            try:
                sent = os.write(self.port, self.outbox[:READ_SIZE])
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                break
            del self.outbox[:sent]

    def handle(self, kind: int, channel: int, body: bytes) -> None:
        command = self.commands.get(channel)
        if kind == EXEC:
            try:
                self.commands[channel] = Command(channel, json.loads(body))
            except (OSError, ValueError) as error:
                self.send_json(EXIT, channel, {"error": str(error), "seconds": 0.0})
        elif kind == PING:
            self.send(PONG, channel, body)
        elif kind == RESUMED:
            resumed(json.loads(body))
            self.send(PONG, channel)
        elif command is None:
            return  # it ended while the frame was under way
        elif kind == STDIN:
            command.pending += body
        elif kind == STDIN_EOF:
            command.eof = True
        elif kind == KILL:
            command.kill()

    def relay(self, command: Command, events: dict[int, int]) -> None:
        for fd in [fd for fd in command.outputs if fd in events]:
            try:
                data = os.read(fd, READ_SIZE)
            except BlockingIOError:
                continue
            if data:
                self.send(command.outputs[fd], command.channel, data)
            else:
                del command.outputs[fd]
        if command.pending and command.process.stdin is not None:
            try:
                written = os.write(command.process.stdin.fileno(), command.pending)
                del command.pending[:written]
                self.send(ACK, command.channel, struct.pack("!I", written))
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self.drop_stdin(command)
        elif command.pending:
            self.drop_stdin(command)
        if command.eof and not command.pending:
            command.close_stdin()
        code = command.process.poll()
        if code is not None and (not command.outputs or not self.more(command)):
            command.close_stdin()
            for stream in (command.process.stdout, command.process.stderr):
                if stream is not None:
                    stream.close()
            seconds = time.monotonic() - command.began
            self.send_json(EXIT, command.channel, {"code": code, "seconds": seconds})
            del self.commands[command.channel]

    def drop_stdin(self, command: Command) -> None:
        self.send(ACK, command.channel, struct.pack("!I", len(command.pending)))
        command.pending.clear()
        command.close_stdin()

    def more(self, command: Command) -> bool:
        """After its leader ended: is there output left to read right now?

        A background child may hold the pipes open; the command counts as ended all the same.
        """
        poll = select.poll()
        for fd in command.outputs:
            poll.register(fd, select.POLLIN)
        return any(mask & select.POLLIN for _, mask in poll.poll(0))


def resumed(news: dict[str, Any]) -> None:
    """After a resume from a snapshot: the host's time, and entropy of this resume's own."""
    with contextlib.suppress(OSError):
        time.clock_settime(time.CLOCK_REALTIME, news["unix_s"])
    seed = bytes.fromhex(news["seed"])
    with contextlib.suppress(OSError), RANDOM.open("wb", buffering=0) as random:
        entropy = struct.pack("ii", len(seed) * 8, len(seed)) + seed
        fcntl.ioctl(random, RNDADDENTROPY, entropy)
        fcntl.ioctl(random, RNDRESEEDCRNG)  # now, not within a minute (drivers/char/random.c)


def find_port(timeout_s: float = 60.0) -> int:
    """Opens the port by its name in sysfs; waits for the driver."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            for port in PORTS.iterdir():
                if (port / "name").read_text().strip() == PORT_NAME:
                    return os.open(f"/dev/{port.name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        time.sleep(0.05)
    raise SystemExit(f"no virtio port named {PORT_NAME}")


if __name__ == "__main__":
    Agent(find_port()).loop()
