# SPDX-License-Identifier: Apache-2.0
"""The virtual clock on a real guest: parallel, the same bytes twice, and refused where unknown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import pytest_asyncio

from schedbench.vclock import build, figures, qemu
from schedbench.vclock.check import host_load
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import Machine, Result, command_line, run
from schedcpd.host import process
from schedcpd.microvm.kernel import backports_kernel

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
        vmlinuz=kernel.vmlinuz,
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
    argv = command_line(Machine(), binary, plugin, kernel.vmlinuz, initrd, tmp_path / "serial")
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
