# SPDX-License-Identifier: Apache-2.0
"""What a guest without a disk carries, and how a sample under the virtual clock is judged."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedbench import workload
from schedbench.arms.base import ArmScript
from schedbench.model import Clock, Profile, Sample, SampleKey, SampleState, SizeClass
from schedbench.vclock import machine, qemu
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import End, Files, Link, Result, initramfs
from schedbench.vclock.rootfs import Closure, base
from schedbench.virtual import prove, sample
from schedcpd.host import process

MARKERS = """SCHEDBENCH parts {"ns":1,"code":0,"cpus":4}
SCHEDBENCH arm {"ns":2,"code":0,"scheduler":"NAME"}
SCHEDBENCH setup {"ns":3,"code":0,"scheduler":"NAME"}
SCHEDBENCH begin {"ns":4,"repeat":1}
SCHEDBENCH end {"ns":2500000000,"began":500000000,"repeat":1,"code":0}
| {"tasks":40,"makespan_ms":380.5,"mean_ms":150,"short_p99_ms":200}
SCHEDBENCH ran {"ns":5,"repeat":1}
SCHEDBENCH checked {"ns":6,"code":0,"scheduler":"NAME","repeat":1}
SCHEDBENCH stopped {"ns":7,"code":0,"scheduler":""}
SCHEDBENCH finished {"ns":8}
"""


def tree(root: Path) -> Path:
    """Debian's layout with a program behind an alternative, and a script."""
    for name in ("usr/bin", "usr/lib/tools", "etc/alternatives"):
        (root / name).mkdir(parents=True)
    (root / "usr/bin/mawk").write_bytes(b"a program")
    (root / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (root / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    (root / "usr/bin/script").write_bytes(b"#!/bin/awk -f\n")
    (root / "usr/bin/orphan").write_bytes(b"#!/bin/ruby\n")
    (root / "usr/bin/loop").symlink_to("loop")
    (root / "usr/lib/tools/data").write_bytes(b"data")
    (root / "usr/lib/tools/up").symlink_to("../../bin/mawk")
    (root / "usr/lib/tools/dangling").symlink_to("nowhere")
    return root


def collected(root: Path, *programs: str) -> Files:
    closure = Closure(tree(root))
    closure.add(programs)
    return closure.files


def test_a_program_comes_with_the_links_that_lead_to_it(tmp_path: Path) -> None:
    assert collected(tmp_path, "/bin/awk") == {
        "usr/bin/awk": Link("/etc/alternatives/awk"),
        "etc/alternatives/awk": Link("/usr/bin/mawk"),
        "usr/bin/mawk": b"a program",
    }


def test_a_script_comes_with_its_interpreter(tmp_path: Path) -> None:
    assert "usr/bin/mawk" in collected(tmp_path, "/usr/bin/script")


def test_a_folder_comes_whole(tmp_path: Path) -> None:
    found = collected(tmp_path, "/usr/lib/tools")
    assert found["usr/lib/tools/data"] == b"data"
    assert found["usr/bin/mawk"] == b"a program"
    assert found["usr/lib/tools/dangling"] == Link("nowhere")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("/usr/bin/ffmpeg", "is not in the image"),
        ("usr/bin/awk", "not an absolute path"),
        ("/usr/bin/loop", "is not in the image"),
        ("/usr/bin/orphan", "which the image does not have"),
    ],
)
def test_what_is_not_there_is_named(program: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(VClockError, match=why) as caught:
        collected(tmp_path, program)
    assert program in str(caught.value)


@pytest.mark.asyncio
async def test_what_is_collected_runs_in_a_root_of_its_own(tmp_path: Path) -> None:
    """A real program of this machine; its loader finds all libraries among what was collected."""
    closure = Closure(Path("/"))
    closure.add(["/bin/sh"])
    loader = ""
    for name, content in (base() | closure.files).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target)
        else:
            path.write_bytes(content)
            path.chmod(0o755)
            if posixpath.basename(name).startswith("ld-linux"):
                loader = str(path)
    argv = [
        loader, "--inhibit-cache", "--library-path", str(tmp_path / "usr/lib/x86_64-linux-gnu"),
        str(tmp_path / "usr/bin/sh"), "-c", "echo $((6 * 7))",
    ]  # fmt: skip
    assert (await process.run(argv, timeout_s=10)).check().text.strip() == "42"


def test_a_library_that_an_arm_brings_is_not_looked_for(tmp_path: Path) -> None:
    program = Path("/bin/sh").read_bytes()
    bare = Closure(tree(tmp_path))
    with pytest.raises(VClockError, match=r"/run/arm/sh needs .*, which the image does not have"):
        bare.libraries("/run/arm/sh", program)
    own = Closure(Path("/"))
    own.libraries("/run/arm/sh", program)
    bare.libraries("/run/arm/sh", program, [posixpath.basename(name) for name in own.files])


async def test_only_an_arm_that_asks_gets_the_kernel_s_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def built(*_: Any) -> dict[str, bytes]:
        return {"longtail": b"x", "mark": b"x"}

    async def busybox(*_: Any) -> bytes:
        return b"box"

    monkeypatch.setattr(sample.drivers, "build", built)
    monkeypatch.setattr(sample.build, "busybox", busybox)
    build = qemu.QemuBuild(Path("/q"), "ab", "10.0")
    kit = sample.Kit(
        Path("/k"), "7.3", None, tree(tmp_path), "", machine.Clock.VIRTUAL, build, b"CONFIG_HZ=250"
    )

    async def files(arm: ArmScript) -> Files:
        return await sample.guest_files(
            kit, workload.load("longtail"), SizeClass.SMOKE, 1, arm, lambda _: None
        )

    assert "boot/config-7.3" not in await files(ArmScript())
    asked = await files(ArmScript(kernel_config=True))
    assert asked["boot/config-7.3"] == b"CONFIG_HZ=250"


def test_links_are_links_in_the_archive() -> None:
    image, modes, at = initramfs({"bin": Link("usr/bin"), "usr/bin/x": b"box"}, "true"), {}, 0
    while at < len(image):  # newc: 6 bytes of magic, then fields of 8 hexadecimal digits
        fields = [int(image[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = image[at + 110 : at + 109 + fields[11]].decode()
        assert name not in modes
        modes[name] = fields[1]
        at = (at + 110 + fields[11] + 3) & ~3
        at = (at + fields[6] + 3) & ~3
    assert modes["bin"] == 0o120777
    assert modes["usr/bin"] == 0o040755
    assert modes["usr/bin/x"] == 0o100755


CLOCK_DEFINED = (
    "longtail", "longtail-told", "schbench", "mixed", "periodic", "pin-noise", "cyclictest",
    "hogs", "shares", "classes",
)  # fmt: skip


@pytest.mark.parametrize("name", workload.names())
def test_what_each_clock_refuses(name: str) -> None:
    one = workload.load(name)
    if Clock.VIRTUAL not in one.clocks:
        assert "not valid under the virtual clock" in sample.refusal(one, machine.Clock.VIRTUAL)
        return
    assert sample.refusal(one, machine.Clock.VIRTUAL) == ""
    why = sample.refusal(one, machine.Clock.ICOUNT)
    assert (why == "") == (name in CLOCK_DEFINED)
    assert why == "" or "do not run in parallel" in why


async def taken(
    monkeypatch: pytest.MonkeyPatch, serial: str, end: End = End.DONE, expects: str = ""
) -> Sample:
    """A sample whose guest wrote `serial` and ended so."""

    async def attempt(*_: Any, **__: Any) -> Result:
        return Result(serial.replace("\n", "\r\n").encode(), 3.5, end, "the tail")

    async def files(*_: Any, **__: Any) -> Files:
        return {}

    monkeypatch.setattr(machine, "attempt", attempt)
    monkeypatch.setattr(sample, "guest_files", files)
    build = qemu.QemuBuild(Path("/q"), "ab", "10.0")
    kit = sample.Kit(Path("/k"), "7.3", None, Path("/r"), "image", machine.Clock.VIRTUAL, build)
    key = SampleKey("longtail", "default", 1)
    return await sample.take_sample(
        kit, workload.load("longtail"), SizeClass.SMOKE, key, Profile("cpus4"),
        ArmScript(expects_scheduler=expects), progress=lambda _: None,
    )  # fmt: skip


@pytest.mark.asyncio
async def test_elapsed_is_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    one = await taken(monkeypatch, MARKERS.replace("NAME", ""))
    assert (one.state, one.reason, one.seconds) == (SampleState.OK, "", 3.5)
    assert one.repeats[0].seconds == 2.0
    assert one.metrics["makespan"] == 380.5
    assert len(one.digest) == 64


CUT = MARKERS[: MARKERS.index("SCHEDBENCH end")].replace("NAME", "")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("serial", "end", "state", "reason"),
    [
        (CUT, End.VIRTUAL_LIMIT, SampleState.HANG, "80 virtual seconds were over, after 'begin'"),
        (CUT, End.HOST_LIMIT, SampleState.INFRASTRUCTURE, "host seconds were over before 80"),
        (CUT, End.EARLY, SampleState.VM_DIED, "the tail"),
        ("", End.EARLY, SampleState.INFRASTRUCTURE, "before its first marker"),
        (CUT, End.DONE, SampleState.FAILED, "ended before its 'end'"),
    ],
)
async def test_a_guest_that_does_not_end_well(
    monkeypatch: pytest.MonkeyPatch, serial: str, end: End, state: SampleState, reason: str
) -> None:
    one = await taken(monkeypatch, serial, end)
    assert one.state is state
    assert reason in one.reason
    assert not one.metrics


@pytest.mark.asyncio
async def test_a_scheduler_that_went_marks_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    serial = MARKERS.replace("NAME", "schedcp_intent", 2).replace("NAME", "")
    one = await taken(monkeypatch, serial, expects="schedcp_intent")
    assert one.state is SampleState.MARKED
    assert "schedcp_intent" in one.reason
    assert one.scheduler == "schedcp_intent"


@pytest.mark.asyncio
async def test_a_kernel_that_warns_marks_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "[    3.1] WARNING: CPU: 1 PID: 7 at kernel/sched/ext.c:1 scx\n"
    plain = MARKERS.replace("NAME", "")
    early = await taken(monkeypatch, warning + plain)
    late = await taken(monkeypatch, plain.replace("SCHEDBENCH end", f"{warning}SCHEDBENCH end"))
    assert early.state is SampleState.OK  # at boot: not the sample's doing
    assert late.state is SampleState.MARKED
    assert "kernel/sched/ext.c" in late.reason


def proof(**changes: Any) -> prove.Proof:
    good = prove.Proof(
        "xz", "intent", "cpus4", 4000, ("ok",) * 3, (), ("d",) * 3, 0.5, (9.0, 10.0, 30.0), 4.0
    )
    return replace(good, **changes)


def test_a_proof_can_fail_in_each_way() -> None:
    assert proof().holds
    assert not proof(digests=("d", "d", "e")).holds
    assert not proof(digests=("d",)).holds
    assert not proof(states=("ok", "ok", "marked")).holds
    assert not proof(plain_s=2.9).holds
    assert proof(plain_s=0.0).holds
    assert prove.row(proof(digests=("d", "d", "e")))[-1] == "FAIL: other bytes"
