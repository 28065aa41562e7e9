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
from schedcpd.host.libbpf import BpfObject, library
from schedcpd.host.scheduler import Scheduler
from schedcpd.host.scx import SysScx
from schedcpd.model import ScxState, Tunable
from schedcpd.verify.probe.holder import Holder

ENABLE_S = 30.0  # until the kernel has taken a scheduler apart
_KMSG = Path("/dev/kmsg")
_LOG_BYTES = 1 << 20
_LOG_STATS = 4  # BPF_LOG_STATS: one summary for each program
_LOG_ALL = 1 | _LOG_STATS
_SUMMARY = re.compile(
    r"processed (\d+) insns .*?max_states_per_insn (\d+) total_states (\d+) peak_states (\d+)"
)
_TIME = re.compile(r"verification time (\d+) usec")
_STACK = re.compile(r"stack depth ([\d+]+)")


class RejectedError(Exception):
    """libbpf or the kernel did not take it; `log` has what the kernel said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.message, self.log = message, log


class _Logs:
    """A verifier's log for each program; the scheduler's own log keeps only the last program's."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._buffers: dict[str, Any] = {}

    def attach_to(self, prepared: BpfObject) -> None:
        for name, program in prepared.programs().items():
            buffer = ctypes.create_string_buffer(_LOG_BYTES)
            library().c.bpf_program__set_log_buf(program, buffer, _LOG_BYTES)
            library().c.bpf_program__set_log_level(program, self._level)
            self._buffers[name] = buffer

    def texts(self) -> dict[str, str]:
        """By program, those without a word left out."""
        found = {n: b.value.decode("utf-8", "replace").strip() for n, b in self._buffers.items()}
        return {name: text for name, text in found.items() if text}


def load_only(data: bytes, ops: str, tunables: Mapping[str, Tunable]) -> list[dict[str, Any]]:
    """Loads without attaching; what the verifier did for each program. RejectedError."""
    logs = _Logs(_LOG_STATS)
    try:
        Scheduler(data, "candidate", ops, tunables, logs.attach_to).close()
    except SchedcpError as error:
        whole = _Logs(_LOG_ALL)
        with contextlib.suppress(SchedcpError):
            Scheduler(data, "candidate", ops, tunables, whole.attach_to).close()
        texts = [f"{name}:\n{text}" for name, text in whole.texts().items()]
        said = texts[-1] if texts else "\n".join(library().lines)
        raise RejectedError(error.message.splitlines()[0][:500], said) from error
    return [_summary(name, text) for name, text in logs.texts().items()]


def _summary(name: str, text: str) -> dict[str, Any]:
    """What veristat reads from the same lines (tools/testing/selftests/bpf/veristat.c)."""
    found, took, stack = _SUMMARY.search(text), _TIME.search(text), _STACK.search(text)
    return {
        "name": name,
        "instructions": int(found[1]) if found else 0,
        "states": int(found[3]) if found else 0,
        "peak_states": int(found[4]) if found else 0,
        "max_states": int(found[2]) if found else 0,
        "microseconds": int(took[1]) if took else 0,
        "stack": sum(int(part) for part in stack[1].split("+") if part) if stack else 0,
        "log": "" if found else f": {text[-500:]}",
    }


class Attached:
    """A candidate that the kernel confirmed as its scheduler, held by a child process.

    A child, since the load is forked from this process: workers that inherited the link would
    hold the scheduler in place after it was closed here.
    """

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._scx = SysScx()
        self._said = ""

    def healthy(self) -> bool:
        """Still the kernel's scheduler."""
        return self._scx.snapshot().state is ScxState.ENABLED

    def detach(self) -> None:
        """Back to the kernel's default; the state is `disabled` on return, or 30 s have passed."""
        record = self._holder.end()
        if record:
            self._said = f"{record['what']}: {record['message']}\n{record['dump'][:2000]}".strip()
        until = time.monotonic() + ENABLE_S
        while self._scx.snapshot().state is not ScxState.DISABLED and time.monotonic() < until:
            time.sleep(0.01)

    def exit_text(self) -> str:
        """Why the kernel ended it: its exit record, and the kernel's log since the attach."""
        return "\n".join(part for part in (self._said, kernel_log(self._holder.since)) if part)


@contextlib.contextmanager
def attached(data: bytes, ops: str, tunables: Mapping[str, Tunable]) -> Iterator[Attached]:
    """Loads, attaches and proves that it is the scheduler; detaches at the end. RejectedError."""
    holder = Holder(data, ops, tunables)
    try:
        answer = holder.read()
        if "attached" not in answer:
            raise RejectedError(
                str(answer.get("message", "the process that held it died")),
                kernel_log(holder.since),
            )
        yield Attached(holder)
    finally:
        holder.end()


def kernel_log(since: float) -> str:
    """The kernel's last 60 lines since a CLOCK_MONOTONIC time (Documentation/ABI: dev-kmsg)."""
    lines = []
    log = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(log, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # overwritten before it was read
            head, _, text = record.partition(";")
            if int(head.split(",")[2]) / 1e6 >= since - 0.1:
                lines.append(text.splitlines()[0])
    finally:
        os.close(log)
    return "\n".join(lines[-60:])
