# SPDX-License-Identifier: Apache-2.0
"""The one door for subprocesses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from pathlib import Path

import pytest

from schedcpd.host import process
from schedcpd.host.process import ProcessError, run


async def test_result_of_a_program() -> None:
    result = await run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=10)
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert not result.ok and not result.timed_out and not result.truncated
    with pytest.raises(ProcessError, match="making tea: exit 3: err"):
        result.check("making tea")


async def test_stdin_is_closed_unless_given() -> None:
    assert (await run(["cat"], timeout_s=10)).stdout == b""
    data = bytes(3_000_000)
    assert (await run(["cat"], timeout_s=10, stdin=data)).stdout == data
    assert (await run(["true"], timeout_s=10, stdin=data)).ok  # nobody reads it


async def test_locale_is_c_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_MESSAGES", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    out = (await run(["env"], timeout_s=10, env={"EXTRA": "1"})).text.splitlines()
    assert {"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "EXTRA=1"} <= set(out)
    assert not [line for line in out if line.startswith(("LC_MESSAGES", "LANGUAGE"))]


async def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    began = time.monotonic()
    result = await run(
        ["sh", "-c", f"echo early; sleep 100 & echo $! >{file}; wait"], timeout_s=0.5
    )
    assert result.timed_out and result.exit_code == -9 and result.stdout == b"early\n"
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessError, match="did not end within"):
        result.check()
    await gone(int(file.read_text()))


async def test_cancellation_kills_too(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task = asyncio.create_task(run(["sh", "-c", f"echo $$ >{file}; sleep 100"], timeout_s=100))
    for _ in range(500):
        if file.exists() and file.read_text().strip():
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(int(file.read_text()))


async def test_a_cancelled_run_leaves_no_error_that_nobody_reads() -> None:
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what["message"]))
    task = asyncio.create_task(run(["sleep", "100"], timeout_s=100))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    gc.collect()
    assert said == []


async def test_output_beyond_the_cap_is_read_and_dropped() -> None:
    result = await run(["head", "-c", "1000000", "/dev/zero"], timeout_s=10, output_cap=1000)
    assert result.ok and result.truncated and len(result.stdout) == 1000


async def test_tee_sees_everything() -> None:
    seen: list[bytes] = []
    await run(["echo", "hello"], timeout_s=10, tee=seen.append, output_cap=0)
    assert b"".join(seen) == b"hello\n"


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProcessError, match="cannot start no-such-program: No such file"):
        await run(["no-such-program"], timeout_s=1)


async def test_stop_is_gentle_first() -> None:
    child = await process.start(["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"])
    await asyncio.sleep(0.3)
    assert await process.stop(child) == 5
    stubborn = await process.start(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    await asyncio.sleep(0.3)
    assert await process.stop(stubborn, grace_s=0.3) == -9


async def gone(pid: int) -> None:
    """Waits until the process is dead (its new parent reaps it in its own time)."""
    for _ in range(200):
        if not lives(pid):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


@pytest.mark.parametrize("loud", ["sleep 1000", "exec cat /dev/zero"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 50, 200])
async def test_cancelled_at_any_moment_it_ends_and_leaves_nobody(loud: str, turns: int) -> None:
    before = children()
    task = asyncio.create_task(run(["sh", "-c", loud], timeout_s=100))
    for _ in range(turns):
        await asyncio.sleep(0 if turns < 50 else 0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert children() == before


async def test_who_left_the_group_with_the_pipes_does_not_hold_us_up() -> None:
    began = time.monotonic()
    script = "import os, time\nif not os.fork():\n os.setsid(); time.sleep(20)\nos._exit(0)"
    result = await run([sys.executable, "-c", script], timeout_s=1)
    assert result.timed_out and time.monotonic() - began < 15


def children() -> set[str]:
    """Process ids of this process' children, zombies too."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            found |= set((thread / "children").read_text().split())
    return found
