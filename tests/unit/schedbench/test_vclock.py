# SPDX-License-Identifier: Apache-2.0
"""The virtual clock's parts that need no QEMU."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from schedbench.vclock import figures, qemu
from schedbench.vclock.check import Case
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import (
    DONE,
    Clock,
    Machine,
    Result,
    command_line,
    initramfs,
)

GOOD = [
    "par tasks=1 minsn=40 makespan=40100000",
    "par tasks=2 minsn=40 makespan=40200000",
    "par tasks=4 minsn=40 makespan=40400000",
    "longtail shorts=12 minsn=20 long=80 order=last makespan=120000000",
    "longtail shorts=12 minsn=20 long=80 order=first makespan=84000000",
    "sleep ms=300 took=300060000",
]


def elf(notes: bytes) -> bytes:
    """A 64-bit ELF file with one PT_NOTE segment."""
    header = b"\x7fELF\x02\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    return header + program + notes


def note(name: bytes, kind: int, data: bytes) -> bytes:
    def padded(text: bytes) -> bytes:
        return text + bytes(-len(text) % 4)

    return struct.pack("<III", len(name), len(data), kind) + padded(name) + padded(data)


def test_the_build_id_is_found_behind_other_notes(tmp_path: Path) -> None:
    wanted = bytes(range(20))
    path = tmp_path / "program"
    path.write_bytes(elf(note(b"GNU\0", 1, b"abi!x") + note(b"GNU\0", 3, wanted)))
    assert qemu.build_id(path) == wanted.hex()


def test_a_file_without_build_id(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(elf(note(b"Linux\0", 3, b"12345678")))
    assert qemu.build_id(path) == ""


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(80)])
def test_what_is_no_elf_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    with pytest.raises(VClockError, match="not a 64-bit"):
        qemu.build_id(path)


def test_the_list_is_read_whole() -> None:
    text = qemu.ACCEPTED.read_text(encoding="utf-8")
    builds = qemu.accepted_builds(text)
    assert len(builds) == text.count("amd64") >= 2
    assert "" not in builds.values()


def test_a_build_id_of_wrong_length_is_not_on_the_list() -> None:
    assert qemu.accepted_builds('\t{ "0123abcd", "10.0, amd64" },\n') == {}


def holds(lines: list[str], vcpus: int = 4) -> list[bool]:
    return [verdict.holds for verdict in figures.judge(figures.parse(lines), vcpus)]


def test_good_figures_hold() -> None:
    assert holds(GOOD) == [True, True, True]


@pytest.mark.parametrize(
    ("old", "new", "verdicts"),
    [
        ("makespan=40400000", "makespan=40600000", [False, True, True]),
        ("took=300060000", "took=300301000", [True, False, True]),
        ("took=300060000", "took=299990000", [True, False, True]),
        ("makespan=84000000", "makespan=120000000", [True, True, False]),
    ],
)
def test_each_promise_can_fail(old: str, new: str, verdicts: list[bool]) -> None:
    assert holds([line.replace(old, new) for line in GOOD]) == verdicts


def test_two_tasks_on_one_cpu_are_the_schedulers_doing() -> None:
    crowded = [line.replace("makespan=40400000", "makespan=61000000") for line in GOOD]
    assert not holds(crowded)[0]
    assert holds([*crowded, "pinned tasks=4 minsn=40 makespan=40450000"])[0]


def test_a_missing_figure_fails_its_promise() -> None:
    assert holds([]) == [False, False, False]


def test_on_two_vcpus_four_tasks_are_not_expected_to_be_parallel() -> None:
    lines = [line.replace("makespan=40400000", "makespan=80400000") for line in GOOD]
    assert holds(lines, vcpus=2)[0]
    assert not holds(lines, vcpus=4)[0]


def test_a_complaint_of_the_guest_is_an_error() -> None:
    with pytest.raises(VClockError, match="a task failed"):
        figures.parse([*GOOD, "vbench: a task failed"])


def test_a_figure_that_is_no_number_names_its_line() -> None:
    (figure,) = figures.parse(["sleep ms=300 took=soon"])
    with pytest.raises(VClockError, match="'sleep' has no number 'took'"):
        figure.number("took")


def test_one_different_byte_is_named() -> None:
    assert figures.same_bytes([b"abc", b"abc", b"abc"]).holds
    verdict = figures.same_bytes([b"abc", b"abc", b"abX"])
    assert not verdict.holds
    assert verdict.found == "run 3 differs from run 1"


def test_one_run_shows_no_repetition() -> None:
    with pytest.raises(VClockError, match="at least 2"):
        figures.same_bytes([b"abc"])


def test_host_cost_takes_the_least_disturbed_run() -> None:
    assert figures.host_cost([35.0, 29.0], 10.0).holds
    assert not figures.host_cost([35.0, 31.0], 10.0).holds


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"vcpus": 17}, "vcpus"),
        ({"vcpus": 0}, "vcpus"),
        ({"insn_ps": 0}, "insn_ps"),
        ({"quantum_ns": 1}, "quantum_ns"),
        ({"sockets": 3}, "vcpus"),
        ({"threads": 0}, "vcpus"),
    ],
)
def test_a_wrong_machine_names_its_field(change: dict[str, int], field: str) -> None:
    with pytest.raises(VClockError, match=f"^{field}: "):
        replace(Machine(), **change)  # type: ignore[arg-type]


def test_nothing_of_the_host_reaches_the_guest() -> None:
    paths = [Path(name) for name in ("/q", "/p.so", "/k", "/i", "/s")]
    args = command_line(Machine(vcpus=2, insn_ps=4000), *paths)
    text = " ".join(args)
    for pinned in ("-nic none", "-seed 1", "clock=vm", "-rdrand,-rdseed", "thread=single"):
        assert pinned in text
    assert "-plugin /p.so,insn-ps=4000,quantum-ns=20000" in text
    assert "-drive" not in args


def test_sockets_and_threads_are_for_the_scheduler_to_see() -> None:
    paths = [Path(name) for name in ("/q", "/p.so", "/k", "/i", "/s")]
    args = command_line(Machine(vcpus=4, sockets=2, threads=2), *paths)
    assert "4,sockets=2,cores=1,threads=2" in args


def test_the_plain_clock_has_no_plugin_and_the_virtual_needs_one() -> None:
    rest = [Path("/k"), Path("/i"), Path("/s")]
    plain = Machine(clock=Clock.PLAIN)
    assert "-plugin" not in command_line(plain, Path("/q"), Path("/p.so"), *rest)
    with pytest.raises(VClockError, match="needs its plugin"):
        command_line(Machine(), Path("/q"), None, *rest)


def test_the_initramfs_has_every_folder_before_its_files() -> None:
    image = initramfs({"usr/lib/x/lib.so": b"code", "bin/busybox": b"box"}, "true")
    names = [b"usr\0", b"usr/lib\0", b"usr/lib/x\0", b"usr/lib/x/lib.so\0"]
    places = [image.index(name) for name in names]
    assert places == sorted(places)
    assert DONE.encode() in image


def test_lines_leave_out_the_kernel_and_the_mark() -> None:
    serial = f"par tasks=1\r\n[    3.1] reboot: Power down\r\n\r\n{DONE}\r\n".encode()
    assert Result(serial, 1.0).lines == ["par tasks=1"]


def test_a_case_attaches_its_scheduler_first_and_looks_last() -> None:
    script = Case(Machine(), "intent", soak_s=20).script
    assert script.index("scxload --background") < script.index("vbench par")
    assert script.index("vbench soak 20") < script.rindex("sched_ext/state")
    assert "sched_ext" not in Case(Machine()).script
