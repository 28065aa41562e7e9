# SPDX-License-Identifier: Apache-2.0
"""The virtual clock on a real guest: parallel, the same bytes twice, and refused where unknown."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from schedbench import arms, profiles, scxload, workload
from schedbench.arms.base import Told
from schedbench.errors import BenchError
from schedbench.model import Sample, SampleKey, SampleState, SizeClass
from schedbench.vclock import build, figures, machine, qemu
from schedbench.vclock.check import host_load
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import Machine, Result, command_line, run
from schedbench.virtual import sample
from schedcpd.host import process
from schedcpd.microvm.kernel import backports_kernel, vmlinux

SCRIPT = """
for n in 1 2 4 8; do vbench par $n 40; done
vbench longtail 6 10 40 last
vbench longtail 6 10 40 first
vbench sleep 300
vbench pingpong 100 0 1
"""


def quiet(_: str) -> None:
    """No progress."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plugin() -> Path:
    found = qemu.find()
    if not found.accepted:
        with pytest.raises(VClockError, match="not on the list"):
            await guest(Machine(), Path("/none"))
        pytest.skip(f"{found.binary}, build id {found.build_id}, is refused, as it should be")
    return await build.plugin(quiet)


async def guest(machine: Machine, plugin: Path, script: str = SCRIPT) -> Result:
    kernel = await backports_kernel(quiet)
    return await run(
        machine,
        plugin=plugin,
        vmlinux=await vmlinux(kernel),
        files=await build.guest_programs(quiet),
        script=script,
        timeout_s=600,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def first(plugin: Path) -> Result:
    return await guest(Machine(), plugin)


@pytest.mark.asyncio(loop_scope="session")
async def test_parallel_and_the_same_beside_a_busy_host(plugin: Path, first: Result) -> None:
    read = figures.parse(first.lines)
    for verdict in figures.judge(read, vcpus=4):
        assert verdict.holds, verdict
    spans = {f.values["tasks"]: f.number("makespan") for f in read if f.name == "par"}
    assert 1.9 < spans["8"] / spans["4"] < 2.4  # eight tasks on four vCPUs are two rounds
    async with host_load():
        second = await guest(Machine(), plugin)
    assert first.serial == second.serial


@pytest.mark.asyncio(loop_scope="session")
async def test_a_machine_of_half_the_rate_takes_twice_as_long(plugin: Path, first: Result) -> None:
    half = await guest(Machine(insn_ps=2000), plugin, "vbench par 1 40")
    fast, slow = (figures.parse(result.lines)[0].number("makespan") for result in (first, half))
    assert slow / fast == pytest.approx(2, rel=0.01)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kit(plugin: Path) -> sample.Kit:
    """As `sample.prepare` makes it, but libraries come from the builder: no image is needed."""
    kernel = await backports_kernel(quiet)
    root = Path((await process.run(["tools/builder", "make"], timeout_s=1800)).check().text.strip())
    return sample.Kit(
        await vmlinux(kernel), kernel.release, plugin, root, "", machine.Clock.VIRTUAL, qemu.find()
    )


async def taken(kit: sample.Kit, name: str, arm_name: str, **env: str) -> Sample:
    """The smallest sample of one workload under one arm."""
    chosen = workload.load(name)
    smoke = chosen.sizes[SizeClass.SMOKE]
    size = replace(smoke, env={**smoke.env, **env}, virtual_limit_s=3)
    chosen = replace(chosen, sizes={SizeClass.SMOKE: size})
    arm = await arms.load(arm_name, quiet)
    script = arm.script(Told(chosen.parts if arm.told_intents else (), {}, seed=1))
    key = SampleKey(name, arm_name, 1)
    return await sample.take_sample(
        kit, chosen, SizeClass.SMOKE, key, profiles.profile("cpus2"), script, progress=quiet
    )


@pytest.mark.asyncio(loop_scope="session")
async def test_a_workload_under_our_scheduler_repeats_byte_for_byte(kit: sample.Kit) -> None:
    small = {"SHORTS": "9", "SHORT_MS": "10", "LONG_MS": "60"}
    first = await taken(kit, "longtail", "intent", **small)
    assert (first.state, first.reason) == (SampleState.OK, "")
    assert first.scheduler == "schedcp_intent"
    assert "exit kind=64" in str(first.arm_log["said"])  # unregistered, as it was asked to
    assert 75 <= first.metrics["makespan"] < 150  # 150 ms of work on two CPUs
    async with host_load():
        second = await taken(kit, "longtail", "intent", **small)
    assert second.digest == first.digest
    assert second.metrics == first.metrics


@pytest.mark.asyncio(loop_scope="session")
async def test_a_hang_ends_at_the_limit_of_virtual_time(
    kit: sample.Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "BOOT_LIMIT_S", 9.0)
    hung = await taken(kit, "longtail", "default", LONG_MS="200000")
    assert hung.state is SampleState.HANG
    assert "12 virtual seconds were over, after 'begin' of repeat 1" in hung.reason
    assert not hung.metrics


@pytest.mark.asyncio(loop_scope="session")
async def test_counting_instructions_serves_what_clocks_define_only(kit: sample.Kit) -> None:
    icount = replace(kit, plugin=None, clock=machine.Clock.ICOUNT)
    small = {"SHORTS": "3", "SHORT_MS": "10", "LONG_MS": "10"}
    one = await taken(icount, "longtail", "default", **small)
    assert one.state is SampleState.OK
    assert 20 <= one.metrics["makespan"] < 60
    with pytest.raises(BenchError, match="do not run in parallel"):
        await taken(icount, "xz", "default")


async def refusal(
    tmp_path: Path,
    binary: Path,
    plugin: Path,
    change: tuple[str, str] = ("", ""),
    more: tuple[str, ...] = (),
) -> str:
    """What QEMU says when it is started with `change` in its arguments and `more` after them."""
    kernel = await backports_kernel(quiet)
    initrd = tmp_path / "initrd"
    initrd.touch()
    argv = command_line(
        Machine(), binary, plugin, await vmlinux(kernel), initrd, tmp_path / "serial"
    )
    assert any(change[0] in arg for arg in argv), change
    argv = [arg.replace(*change) if change[0] else arg for arg in argv]
    ended = await process.run([*argv, *more], timeout_s=60)
    assert ended.exit_code == 1, ended
    return ended.error_text


@pytest.mark.asyncio(loop_scope="session")
async def test_an_unknown_build_is_refused(plugin: Path, tmp_path: Path) -> None:
    known = qemu.find()
    right = bytes.fromhex(known.build_id)
    wrong = right[:-1] + b"\0"
    data = known.binary.read_bytes()
    assert data.count(right) == 1
    other = tmp_path / "qemu"
    shutil.copy(known.binary, other)
    other.write_bytes(data.replace(right, wrong))
    said = await refusal(tmp_path, other, plugin)
    assert "vclock: refused: this QEMU is not on the list of accepted builds" in said
    assert wrong.hex() in said


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("thread=single", "thread=multi"), "start QEMU with -accel tcg,thread=single"),
        (("quantum-ns=20000", "quantum-ns=no"), "wrong argument"),
        (("quantum-ns=20000", "speed=9"), "wrong argument"),
        (("quantum-ns=20000", "quantum-ns=0"), "wrong argument"),
    ],
)
async def test_a_wrong_start_is_refused(
    plugin: Path, tmp_path: Path, change: tuple[str, str], why: str
) -> None:
    said = await refusal(tmp_path, qemu.find().binary, plugin, change)
    assert f"vclock: refused: {why}" in said


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("-icount", "shift=0"), "start QEMU without -icount"),
        (("-smp", "17"), "more than 16 vCPUs"),
    ],
)
async def test_a_machine_it_cannot_serve_is_refused(
    plugin: Path, tmp_path: Path, more: tuple[str, ...], why: str
) -> None:
    said = await refusal(tmp_path, qemu.find().binary, plugin, more=more)
    assert f"vclock: refused: {why}" in said


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--set nothing=1", "the object has no number nothing"),
        ("--set latency_slice_us=4294967296", "does not fit into 4 bytes"),
        ("--set latency_slice_us=-1x", "not a number that fits"),
        ("--set latency_slice_us=true", "latency_slice_us is not a truth value"),
        ("--set latency_slice_us", "NAME=VALUE is wanted"),
        ("--stop /tmp", "/tmp/pid has no process id"),
    ],
)
async def test_the_loader_names_what_is_wrong(options: str, why: str, tmp_path: Path) -> None:
    shutil.copy(await scxload.program(quiet), tmp_path / "scxload")
    shutil.copy(await scxload.scheduler_object("intent"), tmp_path / "intent.bpf.o")
    script = f"/mnt/x/scxload {options} {'' if 'stop' in options else '/mnt/x/intent.bpf.o'}"
    argv = ["tools/builder", "run", "--no-net", "--ro", f"{tmp_path}:/mnt/x", "--", "sh", "-c"]
    ended = await process.run([*argv, script], timeout_s=120)
    assert ended.exit_code == 1
    assert why in ended.error_text
