# SPDX-License-Identifier: Apache-2.0
"""One external scheduler: its program started, proven to be what the kernel runs, watched, ended.

It has the shape of `schedcpd.host.scheduler.Scheduler`, as far as one that is a program of others
can: it knows no intents and keeps no statistics of ours.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from schedcpd.errors import NotFoundError, SchedulerHostError
from schedcpd.host import exec_program
from schedcpd.host.program_file import ProgramFile
from schedcpd.host.program_words import LAST_LINES, end_of, last_words
from schedcpd.host.scheduler import IntentSet, Stats
from schedcpd.host.scx import ScxSnapshot
from schedcpd.host.scx_programs import MODE, ScxProgram
from schedcpd.host.untrusted import clean
from schedcpd.model import ACT_RESTART, ExitKind, ExitRecord, ScxState, Tunable

POLL_S = 0.05
KEPT_LINES = 60
LINE_CHARS = 400
# SIGINT is what scx programs wait for: they put back what they changed and leave.
_ENDING = ((signal.SIGINT, 4.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_logger = logging.getLogger(__name__)


class ExternalScheduler:
    """`attach` starts the program, `close` ends it. It owns `file` and closes it."""

    def __init__(self, file: ProgramFile, program: ScxProgram, mode: str) -> None:
        self.name, self.ops_name = program.name, program.ops
        self.tunables: dict[str, Tunable] = {MODE: mode}
        self.without: tuple[str, ...] = ()  # it knows its kernel, and we do not look into it
        self._file: ProgramFile | None = file
        self._program = program
        self._arguments = program.modes[mode]
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._seq = 0
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader: threading.Thread | None = None
        self._look: Callable[[], ScxSnapshot] | None = None

    # ------------------------------------------------------------ life

    @property
    def wake_fd(self) -> int | None:
        """Readable once the program ended."""
        return self._pidfd

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def attach(self, look: Callable[[], ScxSnapshot], timeout_s: float) -> ScxSnapshot:
        """Starts the program and proves that the kernel runs its scheduler, or raises and ends it.

        The proof: the kernel's state is `enabled`, since then, with ops of the program's name, and
        the program holds the link of a struct_ops. Call it in a thread that lives as long as this
        process: the kernel kills the program when the thread that started it ends.
        """
        self._look, before = look, look()
        self._start()
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.alive:
                raise self._not_started()
            now = look()
            if self._is_ours(now, before.enable_seq):
                self.ops_name, self._seq = now.ops, now.enable_seq
                return now
            if time.monotonic() > deadline:
                self.detach()
                raise SchedulerHostError(
                    f"{self.name} was started, but after {timeout_s:g} s the kernel's state is "
                    f"{now.state.value} with ops {now.ops!r}: {last_words(self._lines)}",
                    hint="a slow machine needs a larger external.start_timeout_s",
                )
            time.sleep(POLL_S)

    def _start(self) -> None:
        assert self._file is not None, "attached twice"
        launcher = [sys.executable, "-I", "-S", exec_program.__file__]
        fd = self._file.fd
        try:
            self._process = subprocess.Popen(
                [*launcher, str(os.getpid()), str(fd), self.name, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(fd,),
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SchedulerHostError(f"cannot start {self.name}: {error.strerror}") from error
        self._pidfd = os.pidfd_open(self._process.pid)
        self._forget_file()
        self._reader = threading.Thread(target=self._read, name=self.name, daemon=True)
        self._reader.start()

    def _forget_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read(self) -> None:
        """Keeps the last lines and hands all of them to the journal, at ordinary priority."""
        assert self._process is not None and self._process.stdout is not None
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        with self._process.stdout as stream:
            while raw := stream.readline(LINE_CHARS):
                line = clean(_COLOUR.sub("", raw.decode("utf-8", "replace")), chars=LINE_CHARS)
                if line:
                    self._lines.append(line)
                    _logger.info("%s: %s", self.name, line)

    def _is_ours(self, now: ScxSnapshot, before: int) -> bool:
        return (
            now.state is ScxState.ENABLED
            and now.enable_seq > before
            and self._program.is_ops(now.ops)
            and self._process is not None
            and holds_struct_ops(self._process.pid)
        )

    def _not_started(self) -> SchedulerHostError:
        record = self.exit_record()
        said = f"{record.reason}: {record.message}" if record else "it ended"
        hint = "`journalctl -u schedcp-scheduler` has all that it said"
        if self._process is not None and self._process.returncode == 2:  # clap's and getopt's
            hint = "this version seems not to know the arguments of schedcp's table; " + hint
        return SchedulerHostError(f"{self.name} did not start: {said}", hint=hint)

    def detach(self) -> None:
        """Ends the program: SIGINT, later SIGTERM, later SIGKILL. Up to eight seconds."""
        process, pidfd = self._process, self._pidfd
        if process is None or pidfd is None:
            return
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        for number, seconds in _ENDING:
            if process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            waiting.poll(seconds * 1000)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever it started
        if process.poll() is None:
            _logger.error("%s does not end, not even by SIGKILL", self.name)

    def close(self) -> None:
        self.detach()
        if self._reader is not None:
            self._reader.join(1.0)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._forget_file()

    def exit_record(self) -> ExitRecord | None:
        """How the program ended, with its last words; None while it runs."""
        if self._process is None or self._process.poll() is None:
            return None
        if self._reader is not None:
            self._reader.join(0.5)
        kind, reason = end_of(self._process.returncode, self._lines)
        state = self._look().state.value if self._look else "unknown"
        message = f"the kernel's state is {state}"
        if kind >= ExitKind.ERROR:
            message += f"; last words: {last_words(self._lines)}"
        return ExitRecord(kind, 0, reason, message, "\n".join(list(self._lines)[-LAST_LINES:]))

    def unexplained(self, now: ScxSnapshot) -> ExitRecord:
        """It lives, but the kernel runs it no more (CPU hotplug): to be started again."""
        return ExitRecord(
            ExitKind.UNREG_KERN,
            ACT_RESTART,
            "left the kernel while its program went on",
            f"the kernel's state is {now.state.value}, ops {now.ops!r}",
        )

    def runs(self, now: ScxSnapshot) -> bool:
        """Whether the kernel runs what `attach` proved, and nothing since."""
        ours = now.ops == self.ops_name and now.enable_seq == self._seq
        return now.state is ScxState.ENABLED and ours

    # ------------------------------------------------------------ what only ours have

    def set_intents(self, entries: IntentSet, delete: Iterable[int]) -> int:
        """Programs of others know no intents: nothing is written, which is no failure."""
        return 0

    def class_stats(self) -> dict[str, Stats]:
        raise NotFoundError(f"{self.name} is external and keeps no statistics of classes")

    def cgroup_stats(self, cgroups: Iterable[int] | None) -> dict[int, Stats]:
        raise NotFoundError(f"{self.name} is external and keeps no statistics of cgroups")


def holds_struct_ops(pid: int, root: Path = Path("/proc")) -> bool:
    """Whether the process has the link of a struct_ops open (proc_pid_fdinfo(5))."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(root / str(pid) / "fdinfo"):
            with contextlib.suppress(OSError):
                text = Path(entry.path).read_text(encoding="ascii", errors="replace")
                if "link_type:\tstruct_ops" in text:
                    return True
    return False
