# SPDX-License-Identifier: Apache-2.0
"""One running micro-VM: commands, files, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.microvm import machine, qemu, transfer
from schedcpd.microvm.cache import cache_dir
from schedcpd.microvm.channel import Call, ChannelClosedError, GuestChannel
from schedcpd.microvm.errors import VmDiedError, VmFrozenError, VmGoneError, VmTimeLimitError
from schedcpd.microvm.machine import GuestResult, Machine
from schedcpd.microvm.qmp import Qmp
from schedcpd.microvm.spec import Accelerator

OUTPUT_CAP = 64 * 1024 * 1024
KILL_GRACE_S = 15.0  # after SIGKILL, a live guest reports the end within this
HEARTBEAT_S = 5.0
FREEZE_S = 45.0  # the agent runs under SCHED_FIFO: this long a silence is a dead guest
BOOT_TIMEOUT_S = 420.0
CONSOLE_TAIL = 16000
GUEST_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class MicroVm:
    """A running machine. Made by `boot` and `resume` of `schedcpd.microvm`."""

    def __init__(self, parts: Machine, folder: Path, console: Path) -> None:
        self.machine, self._folder, self._console = parts, folder, console
        self.ready_seconds = 0.0  # from starting QEMU to a guest that answers
        self._began = time.monotonic()
        self._end: VmGoneError | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._put_lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process
        self._channel: GuestChannel
        self._qmp: Qmp

    @property
    def accelerator(self) -> Accelerator:
        return self.machine.accelerator

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    @property
    def console(self) -> str:
        """Everything the guest wrote to its serial console."""
        with contextlib.suppress(FileNotFoundError):
            return self._console.read_text(encoding="utf-8", errors="replace")
        return ""

    @property
    def alive(self) -> bool:
        return self._end is None and self._process.returncode is None

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        parts: Machine,
        *,
        limit_s: float,
        console_log: Path | None = None,
        disk: Path | None = None,
        interactive: bool = False,
    ) -> AsyncIterator[Self]:
        """Starts QEMU, waits until the guest answers; ends and removes all of it afterwards.

        `limit_s` is the VM's whole life in wall-clock seconds. `interactive` puts the guest's
        serial console on this process' terminal instead of `console_log`. Raises VmGoneError if
        the guest never answers.
        """
        runs = cache_dir() / "run"
        runs.mkdir(exist_ok=True)
        await asyncio.to_thread(machine.sweep, runs)
        with tempfile.TemporaryDirectory(dir=runs, prefix=f"{os.getpid()}-") as name:
            folder = Path(name)
            vm = cls(parts, folder, console_log or folder / "console.log")
            await vm._launch(disk or folder / "disk.qcow2", limit_s, interactive)
            try:
                yield vm
            finally:
                await vm.kill()

    async def _launch(self, disk: Path, limit_s: float, interactive: bool) -> None:
        await machine.create_overlay(disk, self.machine.backing, self.machine.backing_format)
        payload = self._folder / "payload"
        with payload.open("wb") as file:
            file.truncate(qemu.PAYLOAD_BYTES)
        self._console.write_bytes(b"")
        agent_ours, agent_theirs = socket.socketpair()
        qmp_ours, qmp_theirs = socket.socketpair()
        parts = qemu.Parts(
            vmlinuz=self.machine.vmlinuz,
            initrd=self.machine.initrd,
            disk=disk,
            payload=payload,
            console=self._console,
            agent_fd=agent_theirs.fileno(),
            qmp_fd=qmp_theirs.fileno(),
            incoming=self.machine.state is not None,
            interactive=interactive,
        )
        argv = qemu.command_line(self.machine.spec, self.machine.accelerator, parts)
        self._began = time.monotonic()
        with (self._folder / "qemu.log").open("wb") as log, agent_theirs, qmp_theirs:
            self._process = await process.start(
                argv,
                stdin=None if interactive else asyncio.subprocess.DEVNULL,
                stdout=None if interactive else asyncio.subprocess.DEVNULL,
                stderr=log.fileno(),
                pass_fds=(agent_theirs.fileno(), qmp_theirs.fileno()),
            )
        self._channel = await GuestChannel.over(agent_ours)
        try:
            self._tasks.append(asyncio.create_task(self._limit(limit_s), name="microvm-limit"))
            self._qmp = await Qmp.over(qmp_ours)
            if self.machine.state is not None:
                await machine.restore(self._qmp, self.machine.state)
                await asyncio.wait_for(self._channel.resumed(), FREEZE_S)
            else:
                await asyncio.wait_for(asyncio.shield(self._channel.hello), BOOT_TIMEOUT_S)
            self._tasks.append(asyncio.create_task(self._heartbeat(), name="microvm-heartbeat"))
        except (MicroVmError, TimeoutError) as error:
            self._finish(
                VmFrozenError("the guest did not answer in time")
                if isinstance(error, TimeoutError)
                else VmDiedError(f"the VM did not start: {error.message}")
            )
            gone = await self._gone(None)
            await self.kill()
            raise gone from error
        except BaseException:
            await self.kill()
            raise
        self.ready_seconds = time.monotonic() - self._began

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        tee: Callable[[bytes], None] | None = None,
        output_cap: int = OUTPUT_CAP,
    ) -> GuestResult:
        """Runs a command as the guest's root and returns how it ended.

        `timeout_s` is wall-clock seconds on the host; a command that is still there is killed and
        the result has `timed_out`. `tee` sees output as it comes. Raises VmFrozenError if the guest
        does not answer (the VM is killed), VmTimeLimitError if the VM's limit passed, VmDiedError
        if the guest panicked or QEMU ended; all carry what the command had printed. Raises
        MicroVmError if the command cannot be started.
        """
        call: Call | None = None
        feeder: asyncio.Task[None] | None = None
        timed_out = False
        try:
            call, feeder = await self._channel.execute(
                argv, env={**GUEST_ENV, **(env or {})}, cwd=cwd,
                stdin=stdin, tee=tee, output_cap=output_cap,
            )  # fmt: skip
            done, _ = await asyncio.wait([call.ended], timeout=timeout_s)
            if not done:
                timed_out = True
                self._channel.kill(call)
                done, _ = await asyncio.wait([call.ended], timeout=KILL_GRACE_S)
                if not done:
                    self._finish(
                        VmFrozenError(
                            f"the guest is frozen: {argv[0]} was to end within {timeout_s:.0f} s, "
                            f"and the guest did not answer for {KILL_GRACE_S:.0f} s after that"
                        )
                    )
            ended = await call.ended
        except ChannelClosedError as error:
            raise await self._gone(call) from error
        except asyncio.CancelledError:
            if call is not None:
                with contextlib.suppress(ChannelClosedError):
                    self._channel.kill(call)
            raise
        finally:
            if feeder is not None:
                feeder.cancel()
                await asyncio.gather(feeder, return_exceptions=True)
            if call is not None:
                self._channel.forget(call)
        if "error" in ended:
            raise MicroVmError(f"in the guest, cannot start {argv[0]}: {ended['error']}")
        return GuestResult(
            argv=tuple(argv),
            exit_code=int(ended["code"]),
            stdout=bytes(call.stdout),
            stderr=bytes(call.stderr),
            timed_out=timed_out,
            truncated=call.truncated,
            seconds=float(ended["seconds"]),
        )

    async def put(self, local: Path | str, guest_path: str, *, timeout_s: float = 120.0) -> None:
        """Copies a file, or a directory tree, to `guest_path` (owned by root, parents made)."""
        target = transfer.guest_path(guest_path)
        async with self._put_lock:
            mib = await asyncio.to_thread(
                transfer.write_payload,
                self._folder / "payload",
                Path(local),
                target,
                qemu.PAYLOAD_BYTES,
            )
            (await self.run([*transfer.UNPACK, str(mib)], timeout_s=timeout_s)).check()

    async def get(self, guest_path: str, local: Path | str, *, timeout_s: float = 120.0) -> None:
        """Copies a guest's file or directory to `local`. Links and devices are left out."""
        source = transfer.guest_path(guest_path)
        result = await self.run(
            ["tar", "-c", "-f", "-", "-C", str(source.parent), "--", source.name],
            timeout_s=timeout_s,
            output_cap=OUTPUT_CAP * 4,
        )
        result.check()
        await asyncio.to_thread(transfer.unpack, result.stdout, source.name, Path(local))

    async def ended(self) -> int:
        """Waits until QEMU ends by itself (a power-off, Ctrl-A X). Returns its exit code."""
        return await self._process.wait()

    async def pause(self) -> None:
        """Stops the guest's vCPUs (its heart stops as well: it counts as frozen after a while)."""
        await self._qmp.command("stop")

    async def unpause(self) -> None:
        await self._qmp.command("cont")

    async def save(self, state: Path) -> None:
        """Saves the machine's state to a file and ends it. Its disk goes with that state."""
        for task in self._tasks:
            task.cancel()
        await machine.save(self._qmp, state)
        await self._process.wait()

    async def kill(self) -> None:
        """Ends the machine at once. Safe to repeat."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.stop(self._process, grace_s=0)
        await self._channel.close()
        if hasattr(self, "_qmp"):
            self._qmp.close()

    def _finish(self, why: VmGoneError) -> None:
        """Records why the VM ends (the first reason counts) and kills QEMU, which wakes waiters."""
        if self._end is None:
            self._end = why
        if self._process.returncode is None:
            self._process.kill()

    async def _gone(self, call: Call | None) -> VmGoneError:
        """The error that says how the VM ended, with what is left of it."""
        code = await self._process.wait()
        log = (self._folder / "qemu.log").read_text(encoding="utf-8", errors="replace").strip()
        console = self.console[-CONSOLE_TAIL:]
        why = self._end
        if why is None:
            panic = next((x for x in reversed(console.splitlines()) if "Kernel panic" in x), "")
            said = panic.strip() or log[-500:] or "no message"
            why = self._end = VmDiedError(f"the VM ended by itself (exit {code}): {said}")
        elif isinstance(why, VmDiedError) and log:
            why = VmDiedError(f"{why.message}: {log[-500:]}", hint=why.hint)
        gone = type(why)(
            why.message,
            hint=why.hint,
            stdout=bytes(call.stdout) if call else b"",
            stderr=bytes(call.stderr) if call else b"",
            console=console,
        )
        gone.add_note(f"the console's end:\n{console}")
        return gone

    async def _limit(self, limit_s: float) -> None:
        await asyncio.sleep(limit_s)
        self._finish(VmTimeLimitError(f"the VM's wall-clock limit of {limit_s:.0f} s passed"))

    async def _heartbeat(self) -> None:
        with contextlib.suppress(ChannelClosedError):
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                try:
                    await asyncio.wait_for(self._channel.ping(), FREEZE_S)
                except TimeoutError:
                    self._finish(
                        VmFrozenError(f"the guest is frozen: no answer for {FREEZE_S:.0f} s")
                    )
                    return
