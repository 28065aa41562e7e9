# SPDX-License-Identifier: Apache-2.0
"""The micro-VM, on a real kernel: commands, files, limits, ends, topology."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import pytest

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.microvm import (
    MicroVm,
    VmDiedError,
    VmFrozenError,
    VmSpec,
    VmTimeLimitError,
    boot,
    resume,
    stable_kernel,
)
from schedcpd.microvm import vm as vm_module
from schedcpd.microvm.cache import cache_dir, stderr_progress

in_session = pytest.mark.asyncio(loop_scope="session")


@in_session
async def test_exit_code_and_outputs(shared_vm: MicroVm) -> None:
    result = await shared_vm.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.exit_code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")
    assert not result.timed_out and not result.truncated and not result.ok
    with pytest.raises(MicroVmError, match=r"exit 7: err"):
        result.check()


@in_session
async def test_signal_is_a_negative_exit_code(shared_vm: MicroVm) -> None:
    assert (await shared_vm.run(["sh", "-c", "kill -TERM $$"])).exit_code == -15


@in_session
async def test_missing_program_is_named(shared_vm: MicroVm) -> None:
    with pytest.raises(MicroVmError, match="no-such-program"):
        await shared_vm.run(["/no-such-program"])


@in_session
async def test_stdin_and_environment(shared_vm: MicroVm) -> None:
    data = os.urandom(3_000_000)  # several times the window of the channel
    result = await shared_vm.run(["cat"], stdin=data)
    assert result.stdout == data
    env = await shared_vm.run(["printenv", "COLOUR"], env={"COLOUR": "blau"})
    assert env.text == "blau\n"
    assert (await shared_vm.run(["cat"])).stdout == b""  # stdin is closed unless given


@in_session
async def test_output_beyond_the_cap_is_dropped_and_said(shared_vm: MicroVm) -> None:
    result = await shared_vm.run(["head", "-c", "100000", "/dev/zero"], output_cap=1000)
    assert result.truncated and len(result.stdout) == 1000 and result.exit_code == 0


@in_session
async def test_output_arrives_while_the_command_runs(shared_vm: MicroVm) -> None:
    came: list[float] = []
    began = time.monotonic()
    await shared_vm.run(
        ["sh", "-c", "echo one; sleep 2; echo two"],
        tee=lambda _: came.append(time.monotonic() - began),
    )
    assert came[-1] - came[0] > 1.5


@in_session
async def test_commands_run_beside_each_other(shared_vm: MicroVm) -> None:
    began = time.monotonic()
    results = await asyncio.gather(
        *(shared_vm.run(["sh", "-c", f"sleep 2; echo {n}"]) for n in range(5))
    )
    assert [result.text for result in results] == [f"{n}\n" for n in range(5)]
    assert time.monotonic() - began < 8


@in_session
async def test_a_background_child_does_not_hold_the_command(shared_vm: MicroVm) -> None:
    began = time.monotonic()
    result = await shared_vm.run(["sh", "-c", "sleep 60 & echo started"], timeout_s=40)
    assert result.text == "started\n" and not result.timed_out
    assert time.monotonic() - began < 20


@in_session
async def test_time_limit_kills_the_command_and_spares_the_guest(shared_vm: MicroVm) -> None:
    result = await shared_vm.run(["sh", "-c", "echo before; sleep 1000 | cat"], timeout_s=2)
    assert result.timed_out and result.exit_code == -9 and result.stdout == b"before\n"
    left = await shared_vm.run(["pgrep", "-f", "sleep 1000"])
    assert left.exit_code == 1, left.text


async def test_files_go_in_and_out(vm: MicroVm, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub" / "run.sh").chmod(0o755)
    (tree / "data").write_bytes(os.urandom(5_000_001))
    await vm.put(tree, "/srv/new/place")
    assert (await vm.run(["/srv/new/place/sub/run.sh"])).text == "ran\n"
    owner = await vm.run(["stat", "-c", "%u:%g %a", "/srv/new/place/sub/run.sh"])
    assert owner.text == "0:0 755\n"
    # A second, smaller one right after: nothing of the first may shine through.
    small = tmp_path / "small"
    small.write_text("kleine Datei\n")
    await vm.put(small, "/root/small")
    assert (await vm.run(["cat", "/root/small"])).text == "kleine Datei\n"
    await vm.get("/srv/new/place", tmp_path / "back")
    assert (tmp_path / "back/data").read_bytes() == (tree / "data").read_bytes()
    assert os.access(tmp_path / "back/sub/run.sh", os.X_OK)
    await vm.get("/root/small", tmp_path / "one")
    assert (tmp_path / "one").read_text() == "kleine Datei\n"
    with pytest.raises(MicroVmError, match="nothing-there"):
        await vm.get("/root/nothing-there", tmp_path / "x")


async def test_machines_share_nothing(vm_image: VmSpec) -> None:
    async with resume(vm_image) as one, resume(vm_image) as two:
        await one.run(["sh", "-c", "echo mine >/root/trace"])
        assert (await two.run(["cat", "/root/trace"])).exit_code == 1
        ids = [
            (await machine.run(["cat", "/proc/sys/kernel/random/uuid"])).text
            for machine in (one, two)
        ]
        assert ids[0] != ids[1], "resumed machines must not repeat each other's random numbers"
    async with resume(vm_image) as three:
        assert (await three.run(["cat", "/root/trace"])).exit_code == 1


@in_session
async def test_the_clock_is_right_after_a_resume(shared_vm: MicroVm) -> None:
    guest = float((await shared_vm.run(["date", "+%s.%N"])).text)
    assert abs(guest - time.time()) < 5


@in_session
async def test_sched_ext_and_btf_are_there(shared_vm: MicroVm) -> None:
    assert (await shared_vm.run(["cat", "/sys/kernel/sched_ext/state"])).text == "disabled\n"
    assert (await shared_vm.run(["test", "-s", "/sys/kernel/btf/vmlinux"])).ok
    assert (await shared_vm.run(["systemctl", "is-system-running"])).text == "running\n"
    kinds = await shared_vm.run(["bpftool", "feature", "probe", "kernel", "macros"])
    assert kinds.ok, kinds.error_text
    btf = await shared_vm.run(
        ["sh", "-c", "bpftool btf dump file /sys/kernel/btf/vmlinux | grep -c sched_ext_ops"]
    )
    assert int(btf.text) >= 1


@in_session
async def test_no_network_but_loopback(shared_vm: MicroVm) -> None:
    assert (await shared_vm.run(["ls", "/sys/class/net"])).text.split() == ["lo"]


async def test_topology_is_visible_and_cold_boot_works_and_is_slower(vm_image: VmSpec) -> None:
    spec = VmSpec(sockets=2, dies=1, cores=2, threads=2, numa_nodes=2, memory_mib=768)
    async with boot(spec) as cold:
        lscpu = (await cold.run(["lscpu"])).text
        nodes = (await cold.run(["cat", "/sys/devices/system/node/online"])).text
        cold_seconds = cold.ready_seconds
    facts = {key.strip(): value.strip() for key, _, value in
             (line.partition(":") for line in lscpu.splitlines())}  # fmt: skip
    assert facts["CPU(s)"] == "8"
    assert facts["Socket(s)"] == "2"
    assert facts["Core(s) per socket"] == "2"
    assert facts["Thread(s) per core"] == "2"
    assert facts["NUMA node(s)"] == "2" and nodes == "0-1\n"
    async with resume(vm_image) as warm:
        assert warm.ready_seconds < cold_seconds / 2


async def test_a_frozen_guest_is_reported_and_killed(
    vm_image: VmSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_module, "KILL_GRACE_S", 3.0)
    async with resume(vm_image) as machine:
        pid = machine.pid
        frozen = asyncio.create_task(
            machine.run(["sh", "-c", "echo last words; sleep 1000"], timeout_s=6)
        )
        await asyncio.sleep(3)
        await machine.pause()
        with pytest.raises(VmFrozenError) as caught:
            await frozen
        assert caught.value.stdout == b"last words\n"
        assert not machine.alive
        with pytest.raises(VmFrozenError):
            await machine.run(["true"])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_freeze_is_noticed_long_before_a_command_s_limit(
    vm_image: VmSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_module, "HEARTBEAT_S", 0.5)
    monkeypatch.setattr(vm_module, "FREEZE_S", 3.0)
    async with resume(vm_image) as machine:
        await machine.pause()
        began = time.monotonic()
        with pytest.raises(VmFrozenError, match="no answer for 3 s"):
            await machine.run(["true"], timeout_s=500)
        assert time.monotonic() - began < 30


async def test_a_panic_is_told_from_a_freeze(vm_image: VmSpec) -> None:
    async with resume(vm_image) as machine:
        with pytest.raises(VmDiedError, match="Kernel panic") as caught:
            await machine.run(["sh", "-c", "echo bye; echo c >/proc/sysrq-trigger"], timeout_s=60)
        assert "sysrq" in caught.value.console.lower()


async def test_the_vm_s_own_limit_ends_it(vm_image: VmSpec) -> None:
    async with resume(vm_image, limit_s=6) as machine:
        with pytest.raises(VmTimeLimitError, match="limit of 6 s"):
            await machine.run(["sleep", "1000"], timeout_s=500)


async def test_nothing_is_left_behind(vm_image: VmSpec) -> None:
    runs = cache_dir() / "run"
    mine = f"{os.getpid()}-*"
    before = set(runs.glob(mine))
    async with resume(vm_image) as machine:
        assert set(runs.glob(mine)) - before
        pid = machine.pid
    assert set(runs.glob(mine)) <= before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_vm_dies_with_its_owner(vm_image: VmSpec) -> None:
    program = (
        "import asyncio\n"
        "from schedcpd.microvm import resume\n"
        "async def main():\n"
        "    async with resume() as vm:\n"
        "        print(vm.pid, flush=True)\n"
        "        await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    owner = await process.start([sys.executable, "-c", program], stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(await asyncio.wait_for(owner.stdout.readline(), 120))
    os.kill(pid, 0)
    owner.kill()  # no chance to clean up
    await owner.wait()
    for _ in range(100):
        if is_gone(pid):
            break
        await asyncio.sleep(0.1)
    assert is_gone(pid)
    leftover = f"{owner.pid}-*"
    assert list((cache_dir() / "run").glob(leftover))
    async with resume(vm_image):
        assert not list((cache_dir() / "run").glob(leftover)), "the next machine sweeps up"


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return True
    return state == "Z"


async def test_a_kernel_without_sched_ext_boots_too() -> None:
    kernel = await stable_kernel(stderr_progress())
    async with boot(VmSpec(cores=2, kernel=kernel)) as machine:
        assert (await machine.run(["uname", "-r"])).text == f"{kernel.release}\n"
        assert (await machine.run(["ls", "/sys/kernel/sched_ext"])).exit_code == 2


async def test_the_command_line_tool() -> None:
    result = await process.run(
        [sys.executable, "-m", "schedcpd.microvm", "run", "--", "sh", "-c", "uname -r; exit 3"],
        timeout_s=120,
    )
    assert result.exit_code == 3, result.error_text
    assert re.fullmatch(r"\d+\.\d+\.\S+\n", result.text)
