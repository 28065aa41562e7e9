# SPDX-License-Identifier: Apache-2.0
"""Loads and attaches a candidate in the guest, by the same code that the scheduler host uses."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schedcpd.errors import SchedcpError
from schedcpd.host.libbpf import BpfLink, BpfObject, kernel_btf, library
from schedcpd.model import Tunable

SCX = Path("/sys/kernel/sched_ext")
ENABLE_S = 20.0  # enabling moves every task, one by one
_LOG_BYTES = 1 << 20
_LOG_STATS = 4  # BPF_LOG_STATS: one summary for each program
_LOG_ALL = 1 | _LOG_STATS
_SUMMARY = re.compile(r"processed (\d+) insns .*?total_states (\d+)")


class RejectedError(Exception):
    """libbpf or the kernel did not take the object; `log` is what the kernel's verifier said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.message, self.log = message, log


class NotEnabledError(RejectedError):
    """The object was attached, and yet is not the scheduler; `log` is the kernel's reason."""


class _Logged(BpfObject):
    """An object of which each program keeps the verifier's log of its own."""

    def prepare(self, tunables: Mapping[str, Tunable]) -> None:
        """Tunables, and the ops flags that the object sets or asks for by `wanted_flags`."""
        self.set_constants(tunables)
        address, size = self._ops_member("flags")
        flags = int.from_bytes(ctypes.string_at(address, size), "little")
        wanted = self.constants().get("wanted_flags", 0)
        with kernel_btf() as kernel:
            names = {v: n for n, v in self.btf.enum("wanted_flag").items()}
            known = kernel.enum("scx_ops_flags")
            for bit, name in names.items():
                if int(wanted) & bit:
                    flags |= known.get(name.replace("WANT_", "SCX_OPS_"), 0)
            self.fit_ops(flags, kernel)

    def keep_logs(self, level: int) -> dict[str, Any]:
        c = library().c
        c.bpf_object__next_program.restype = ctypes.c_void_p
        c.bpf_object__next_program.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        c.bpf_program__name.restype = ctypes.c_char_p
        c.bpf_program__name.argtypes = [ctypes.c_void_p]
        c.bpf_program__set_log_buf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        c.bpf_program__set_log_level.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        logs, program = {}, None
        while program := c.bpf_object__next_program(self._pointer, program):
            buffer = ctypes.create_string_buffer(_LOG_BYTES)
            c.bpf_program__set_log_buf(program, buffer, _LOG_BYTES)
            c.bpf_program__set_log_level(program, level)
            logs[c.bpf_program__name(program).decode()] = buffer
        return logs


@contextlib.contextmanager
def _opened(path: str, tunables: Mapping[str, Tunable]) -> Iterator[_Logged]:
    """The object with tunables and ops set, not loaded yet."""
    try:
        opened = _Logged(Path(path).read_bytes(), "candidate")
    except SchedcpError as error:
        raise RejectedError(str(error), "") from error
    with opened:
        try:
            opened.prepare(tunables)
        except SchedcpError as error:
            raise RejectedError(str(error), "") from error
        yield opened


def load_only(path: str, tunables: Mapping[str, Tunable]) -> list[dict[str, Any]]:
    """Loads without attaching; what the verifier did for each program. RejectedError."""
    with _opened(path, tunables) as opened:
        logs = opened.keep_logs(_LOG_STATS)
        try:
            opened.load()
        except SchedcpError as error:
            raise RejectedError(
                error.message.splitlines()[0], _explained(path, tunables)
            ) from error
        return [_summary(name, log.value) for name, log in logs.items()]


def _explained(path: str, tunables: Mapping[str, Tunable]) -> str:
    """The whole log of a load that is known to fail."""
    with _opened(path, tunables) as opened:
        logs = opened.keep_logs(_LOG_ALL)
        with contextlib.suppress(SchedcpError):
            opened.load()
        texts = {name: log.value.decode("utf-8", "replace").strip() for name, log in logs.items()}
    said = [f"{name}:\n{text}" for name, text in texts.items() if text]
    return said[-1] if said else "\n".join(library().lines)


def _summary(name: str, log: bytes) -> dict[str, Any]:
    text = log.decode("utf-8", "replace").strip()
    found = _SUMMARY.search(text)
    return {
        "name": name,
        "instructions": int(found[1]) if found else 0,
        "states": int(found[2]) if found else 0,
        "log": "" if found else text[-500:],
    }


class Attached:
    """A candidate that the kernel confirmed as its scheduler."""

    def __init__(self, opened: BpfObject, link: BpfLink, since: float) -> None:
        self._opened, self._link, self._since = opened, link, since
        self._detached = False

    def enabled(self) -> bool:
        return state() == "enabled"

    def detach(self) -> None:
        """Back to the kernel's default; waits until the kernel says so."""
        if not self._detached:
            self._detached = True
            self._link.close()
            wait_for_state("disabled")

    def exit_text(self) -> str:
        """What the kernel said of sched_ext since the attach, newest last."""
        return kernel_log(self._since)


@contextlib.contextmanager
def attached(path: str, tunables: Mapping[str, Tunable]) -> Iterator[Attached]:
    """Loads, attaches, and waits until the kernel names it as its scheduler; detaches at the end.

    RejectedError, NotEnabledError.
    """
    since = time.clock_gettime(time.CLOCK_MONOTONIC)
    with _opened(path, tunables) as opened:
        try:
            opened.load()
            link = opened.attach()
        except SchedcpError as error:
            raise RejectedError(error.message, kernel_log(since)) from error
        scheduler = Attached(opened, link, since)
        try:
            now = wait_for_state("enabled", "disabled")
            if now != "enabled":
                raise NotEnabledError(f"state is {now!r} after the attach", kernel_log(since))
            running = (SCX / "root/ops").read_text(encoding="utf-8").strip()
            if running != opened.ops_name():
                raise NotEnabledError(f"ops are {running!r}, not {opened.ops_name()!r}", "")
            yield scheduler
        finally:
            scheduler.detach()


def state() -> str:
    return (SCX / "state").read_text(encoding="ascii").strip()


def wait_for_state(*wanted: str) -> str:
    """The state once it is one of `wanted`, or as it is after 20 s."""
    until = time.monotonic() + ENABLE_S
    while (now := state()) not in wanted and time.monotonic() < until:
        time.sleep(0.02)
    return now


def kernel_log(since: float) -> str:
    """Lines of the kernel's log about sched_ext since a CLOCK_MONOTONIC time."""
    lines = []
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(log, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # overwritten before it was read
            head, _, text = record.partition(";")
            stamp = int(head.split(",")[2]) / 1e6
            if stamp >= since - 0.5:
                lines.append(text.splitlines()[0])
    finally:
        os.close(log)
    return "\n".join(lines[-60:])
