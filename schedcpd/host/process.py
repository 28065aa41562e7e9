# SPDX-License-Identifier: Apache-2.0
"""The one door for subprocesses.

Argument vectors only (never a shell line), stdin closed unless bytes are given, `LANG=C.UTF-8`,
a time limit, a cap on kept output, the whole process group killed on timeout or cancellation, every
child reaped, and a typed frozen result.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import SchedcpError

OUTPUT_CAP = 10 * 1024 * 1024
KILL_GRACE_S = 2.0


class ProcessError(SchedcpError):
    """A program could not be started, failed, or did not end in time."""

    code = "Process"

    def __init__(
        self, message: str, *, hint: str = "", result: ProcessResult | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.result = result


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How one program ended.

    `exit_code` is negative for a signal (-9: SIGKILL). `truncated` means output beyond the cap was
    read and thrown away. `timed_out` means we killed it because the limit passed.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool
    seconds: float

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    @property
    def text(self) -> str:
        """stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """The end of stderr (or of stdout, if stderr is empty), at most 2000 characters."""
        return (self.stderr or self.stdout).decode("utf-8", "replace").strip()[-2000:]

    def check(self, what: str = "") -> ProcessResult:
        """Returns itself if the program succeeded; raises ProcessError otherwise."""
        if self.ok:
            return self
        how = (
            f"did not end within {self.seconds:.0f} s"
            if self.timed_out
            else f"exit {self.exit_code}"
        )
        raise ProcessError(
            f"{what or self.argv[0]}: {how}: {self.error_text or 'no output'}", result=self
        )


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment with an untranslated UTF-8 locale, then `extra`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    env["LANG"] = env["LC_ALL"] = "C.UTF-8"
    env.update(extra or {})
    return env


class _Capped:
    """Keeps the first `cap` bytes of a stream, reads and drops the rest."""

    def __init__(self, cap: int, tee: Callable[[bytes], None] | None) -> None:
        self.cap, self.tee, self.data, self.truncated = cap, tee, bytearray(), False

    async def read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(65536):
            if self.tee is not None:
                self.tee(chunk)
            room = self.cap - len(self.data)
            self.data += chunk[:room]
            self.truncated |= len(chunk) > room


async def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    stdin: int | None = asyncio.subprocess.DEVNULL,
    stdout: int | None = asyncio.subprocess.DEVNULL,
    stderr: int | None = asyncio.subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> asyncio.subprocess.Process:
    """Starts a long-lived program in a session of its own; the caller must `stop` it.

    A stream that is None is this process' own.
    Raises ProcessError if it cannot be started.
    """
    creating = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *(os.fspath(arg) for arg in argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=clean_environment(env),
            pass_fds=pass_fds,
            cwd=cwd,
            start_new_session=True,
        )
    )
    try:
        # Cancelled half-way, asyncio may wait for ever for pipes that it has not opened yet
        # (CPython issue 103847): what was begun is finished, then ended.
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await stop(await creating, grace_s=0)
        raise
    except OSError as error:
        raise ProcessError(f"cannot start {os.fspath(argv[0])}: {error.strerror}") from error


async def stop(process: asyncio.subprocess.Process, *, grace_s: float = KILL_GRACE_S) -> int:
    """Ends the program and everything in its process group, and reaps it.

    SIGTERM, then SIGKILL after `grace_s` (0: SIGKILL at once). Returns the exit code.
    """
    if process.returncode is None and grace_s > 0:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace_s)
    _signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(process.wait(), KILL_GRACE_S)
    # asyncio may let `wait` return only when the pipes are at their end, too.
    _leave_pipes(process)
    return await process.wait()


def _leave_pipes(process: asyncio.subprocess.Process) -> None:
    """Closes our ends, for nobody reads them, or somebody who left the group holds the others."""
    process._transport.close()  # type: ignore[attr-defined]  # there is no public way


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output_cap: int = OUTPUT_CAP,
    tee: Callable[[bytes], None] | None = None,
) -> ProcessResult:
    """Runs a program to its end.

    `timeout_s` is wall-clock seconds; when it passes, the process group is killed and the result
    has `timed_out`. `tee` sees every chunk of both streams as it comes. A non-zero exit code is a
    result, not an error (see `ProcessResult.check`). Raises ProcessError if it cannot be started.
    """
    began = time.monotonic()
    process = await start(
        argv,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        cwd=cwd,
    )
    assert process.stdout is not None and process.stderr is not None
    out, err = _Capped(output_cap, tee), _Capped(output_cap, tee)
    timed_out = False
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as work:
            work.create_task(out.read(process.stdout))
            work.create_task(err.read(process.stderr))
            work.create_task(_feed(process, stdin))
            work.create_task(process.wait())
    except TimeoutError:
        timed_out = True
    finally:
        # Also on cancellation: nothing outlives this call.
        await asyncio.shield(_end(process, out, err))
    return ProcessResult(
        argv=tuple(os.fspath(arg) for arg in argv),
        exit_code=process.returncode if process.returncode is not None else -signal.SIGKILL,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        timed_out=timed_out,
        truncated=out.truncated or err.truncated,
        seconds=time.monotonic() - began,
    )


async def _end(process: asyncio.subprocess.Process, out: _Capped, err: _Capped) -> None:
    """Kills and reaps, and reads what is still in the pipes."""
    assert process.stdout is not None and process.stderr is not None
    rest = asyncio.gather(out.read(process.stdout), err.read(process.stderr))
    await stop(process, grace_s=0)
    try:
        async with asyncio.timeout(KILL_GRACE_S):
            await rest
    except TimeoutError:
        _leave_pipes(process)


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data or b"")
        await process.stdin.drain()
    process.stdin.close()
