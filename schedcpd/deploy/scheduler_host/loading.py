# SPDX-License-Identifier: Apache-2.0
"""Reading an object, and the thread in which a scheduler is prepared."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from schedcpd.errors import InvalidArgumentError, SchedcpError, SchedulerHostError
from schedcpd.host.manifest import MAX_OBJECT_BYTES


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)
TASKS = Path("/proc/self/task")
PATIENCE_S = 3.0
LEAST_NS = 3_000_000  # that much of it is next to nothing, also among hundreds of hogs
_logger = logging.getLogger(__name__)


def read_object(path: Path) -> bytes:
    """The bytes of a regular file of at most 16 MiB, read once; no link is followed at its end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise InvalidArgumentError(f"object: cannot open {path}: {e.strerror}") from e
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_OBJECT_BYTES:
            raise InvalidArgumentError(
                f"object: {path} is not a regular file of at most {MAX_OBJECT_BYTES} bytes"
            )
        with open(fd, "rb", closefd=False) as file:
            return file.read(MAX_OBJECT_BYTES)
    finally:
        os.close(fd)


async def in_thread(make: Callable[[], T], starved: Callable[[], Awaitable[None]]) -> T:
    """Runs `make` in a thread of its own with normal priority.

    This process has a real-time priority to be able to end a scheduler that starves everybody;
    the verifier's seconds must not starve everybody in turn. The scheduler that runs may not serve
    the thread at all: then `starved` is awaited, which is to end it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            if result is not None:
                result.close()
        elif error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            result = make()
        except (SchedcpError, OSError) as e:
            error = e
        except Exception as e:
            _logger.exception("preparing a scheduler failed by a fault in this program")
            error = SchedulerHostError(f"internal error: {e}")
        loop.call_soon_threadsafe(finish, result, error)

    thread = threading.Thread(target=work, name="prepare", daemon=True)
    thread.start()
    starving = asyncio.create_task(_starving(TASKS / str(thread.native_id)))
    either: list[asyncio.Future[Any]] = [done, starving]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not done.done() and starving.result():
            _logger.warning("what prepares a scheduler is not served by the one that runs")
            try:
                await starved()
            except SchedcpError as error:
                _logger.warning("it could not be ended: %s", error.message)
        return await done
    finally:
        starving.cancel()
        done.cancel()  # whoever gave up wants no result


async def _starving(task: Path) -> bool:
    """True as soon as the task has waited for `PATIENCE_S` without running; False: nobody knows."""
    before = ran_ns(task)
    while before is not None:
        await asyncio.sleep(PATIENCE_S)
        now = ran_ns(task)
        if now is not None and now - before < LEAST_NS and wants_to_run(task):
            return True
        before = now
    return False


def ran_ns(task: Path) -> int | None:
    """Nanoseconds on a CPU (Documentation/scheduler/sched-stats.rst); None: gone, or not told."""
    try:
        return int((task / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def wants_to_run(task: Path) -> bool:
    """proc_pid_stat(5): what follows the name, which may hold anything, begins with the state."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except (OSError, IndexError):
        return False
