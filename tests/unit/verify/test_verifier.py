# SPDX-License-Identifier: Apache-2.0
"""The order of checks, and the ELF and BTF readers against bytes that are neither."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.model import CheckStatus, KernelBuild, VerdictClock
from schedcpd.verify import allow
from schedcpd.verify.bpf_object import ObjectError, parse_object
from schedcpd.verify.btf import Btf, BtfError
from schedcpd.verify.bundle import probe_bundle
from schedcpd.verify.check import EVIDENCE_CHARS, Finding, Report, Subject, run_check
from schedcpd.verify.checks.object import check_object
from schedcpd.verify.guest import Guest, GuestIdentity, GuestRun
from schedcpd.verify.verdict import REQUIRED
from schedcpd.verify.verifier import Verifier, all_checks

from .verdict_samples import BYTES, MANIFEST, TUNABLES

SUBJECT = Subject("toy", BYTES, MANIFEST, TUNABLES)


class NoGuest:
    """A machine that only says what it is."""

    clock = VerdictClock.VIRTUAL

    async def identity(self) -> GuestIdentity:
        return GuestIdentity(KernelBuild("7.3.4", "#1", "ab" * 20), "0" * 12)

    @property
    def elsewhere(self) -> NoGuest:
        return self

    async def run(self, argv: Any, *, files: Any, timeout_s: float) -> GuestRun:
        raise AssertionError("no check of this test needs a machine")


class Fixed:
    def __init__(self, name: str, *findings: Finding) -> None:
        self.name, self.findings, self.runs = name, findings, 0

    async def run(self, subject: Subject, guest: Guest) -> Report:
        self.runs += 1
        return Report("It holds.", self.findings)


def checks(failing: str) -> list[Fixed]:
    bad = Finding(f"{failing}.bad", "It is bad.")
    return [Fixed(name, *([bad] if name == failing else [])) for name in REQUIRED]


@pytest.mark.parametrize("every", [False, True])
async def test_it_stops_at_the_first_failure_unless_asked(every: bool) -> None:
    given = checks("tunables")
    verdict = await Verifier(NoGuest(), given).verify(SUBJECT, every=every)
    assert not verdict.passed
    assert [c.runs for c in given] == [1, 1, int(every), int(every)]
    last = CheckStatus.PASSED if every else CheckStatus.SKIPPED
    assert [c.status for c in verdict.checks] == ["passed", "failed", last, last]
    assert verdict.object_sha256 == SUBJECT.sha256
    assert verdict.ranges["slice_us"] == (100, 20000)
    assert verdict.clock is VerdictClock.VIRTUAL


async def test_it_passes_when_all_do() -> None:
    assert (await Verifier(NoGuest(), checks("none")).verify(SUBJECT)).passed


def test_the_real_checks_are_those_a_verdict_needs_in_cheap_order() -> None:
    assert tuple(c.name for c in all_checks()) == REQUIRED


async def test_several_findings_are_one_result_with_the_first_in_front() -> None:
    check = Fixed("object", Finding("object.a", "A."), Finding("object.b", "B.", "x" * 50_000))
    result = await run_check(check, SUBJECT, NoGuest())
    assert result.reason == "object.a"
    assert "object.b" in result.evidence
    assert len(result.evidence) < EVIDENCE_CHARS + 200


@given(st.binary(max_size=400))
def test_bytes_that_are_no_object_are_a_finding(data: bytes) -> None:
    report = check_object(data)
    assert [f.reason for f in report.findings] == ["object.malformed"]


ELF = struct.Struct("<16sHHIQQQIHHHHHH")


@given(st.data())
def test_an_elf_header_before_nonsense_is_a_finding(data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=300))
    numbers = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=6, max_size=6))
    offset = data.draw(st.integers(0, 400))
    head = ELF.pack(b"\x7fELF\2\1\1", 1, 247, 1, 0, 0, offset, 0, *numbers)
    with pytest.raises(ObjectError):
        parse_object(head + body)


@given(st.binary(max_size=300))
def test_nonsense_after_a_btf_header_is_a_btf_error_or_types(body: bytes) -> None:
    half = len(body) // 2
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, half, half, len(body) - half)
    try:
        found = Btf(head + body)
        for type_id in range(len(found.types)):
            found.size_of(type_id)
        found.section(".maps")
    except BtfError as error:
        assert str(error)


def test_the_allow_lists_do_not_overlap_with_what_is_refused() -> None:
    assert not allow.HELPERS.keys() & allow.REFUSED_HELPERS.keys()
    for name in ("scx_bpf_dsq_insert", "__scx_bpf_select_cpu_and", "bpf_cpumask_test_cpu"):
        assert allow.KFUNCS.fullmatch(name)
    for name in ("crash_kexec", "bpf_probe_read", "scx_bpf", "bpf_arena_alloc_pages", ""):
        assert not allow.KFUNCS.fullmatch(name)
    for name in ("struct_ops/x_enqueue", ".struct_ops.link", ".rodata.str1.1", ".text"):
        assert allow.SECTIONS.fullmatch(name)
    for name in ("kprobe/x", "tp_btf/sched_switch", "fentry/x", "syscall", "lsm/x", "xdp"):
        assert not allow.SECTIONS.fullmatch(name)


def test_the_probe_is_one_file_that_needs_nothing_but_python(tmp_path: Path) -> None:
    data = probe_bundle()
    assert data == probe_bundle()
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert "schedcpd/verify/probe/__main__.py" in names
    assert not [n for n in names if "yaml" in n.rpartition("/")[2] and "probe" in n]
    path = tmp_path / "probe.pyz"
    path.write_bytes(data)
    script = f"import sys; sys.path.insert(0, {str(path)!r}); import schedcpd.verify.probe.__main__"
    argv = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
