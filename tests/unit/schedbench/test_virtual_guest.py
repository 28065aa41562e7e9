# SPDX-License-Identifier: Apache-2.0
"""The verifier's machine under the virtual clock: what it answers, without starting one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from schedbench.vclock import build, qemu
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import End, Files, Link, Result
from schedbench.vclock.qemu import QemuBuild
from schedbench.virtual import guest
from schedbench.virtual.guest import Kit, _unchecked, read

OUTPUT = '{"event": "done"}\n'
PANIC = "[    9.1] Kernel panic"


def second(status: int, stderr: str = "") -> bytes:
    return f"{OUTPUT}\x1e{status} 21.50\n{stderr}".encode()


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_that_ended_has_its_output_and_status(status: int) -> None:
    answer, took = read(Result(b"", 9.0, second=second(status, "a word\nmore\n")), 60)
    assert answer == {
        "exit_code": status, "stdout": OUTPUT, "stderr": "a word\nmore\n",
        "end": "", "console": "", "died": False,
    }  # fmt: skip
    assert took.startswith("21.50 s")


def test_what_a_frozen_guest_had_said_is_kept_and_no_host_time_is_told() -> None:
    texts = [
        read(Result(b"", seconds, End.VIRTUAL_LIMIT, "", OUTPUT.encode()), 60)[0]
        for seconds in (9.0, 99.0)
    ]
    assert texts[0] == texts[1]
    assert (texts[0]["exit_code"], texts[0]["stdout"], texts[0]["died"]) == (None, OUTPUT, False)
    assert "60 s of the guest's time" in texts[0]["end"]


def test_a_machine_that_died_says_its_last_words() -> None:
    answer, _ = read(Result(PANIC.encode(), 1.0, End.EARLY, "", OUTPUT.encode()), 60)
    assert (answer["exit_code"], answer["died"]) == (None, True)
    assert "Kernel panic" in answer["console"]


@pytest.mark.parametrize("end", [End.HOST_LIMIT, End.QEMU])
def test_what_the_host_did_is_no_answer(end: End) -> None:
    with pytest.raises(VClockError, match=r"host time|QEMU failed"):
        read(Result(b"", 700.0, end, "", OUTPUT.encode()), 60)


def test_byte_code_needs_no_time_of_its_source() -> None:
    code = b"\xf3\r\r\n" + bytes(4) + b"time" + b"size" + b"code"
    changed = _unchecked("usr/lib/python3.13/__pycache__/x.cpython-313.pyc", code)
    assert changed == code[:4] + b"\1\0\0\0" + bytes(8) + b"code"
    assert _unchecked("usr/lib/python3.13/x.py", code) is code
    assert _unchecked("a.pyc", Link("b.pyc")) == Link("b.pyc")


def test_why_there_is_no_virtual_clock_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "find", lambda: QemuBuild(Path("/usr/bin/qemu"), "ab12", ""))
    assert "ab12" in guest.unavailable(None)
    monkeypatch.setattr(qemu, "find", lambda: QemuBuild(Path("/usr/bin/qemu"), "ab12", "10.0"))
    monkeypatch.setattr(guest.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(guest, "cached_image", lambda: None)
    assert "microvm build" in guest.unavailable(None)
    monkeypatch.setattr(guest, "cached_image", lambda: object())
    monkeypatch.setattr(guest, "cached_kernel", lambda: object())
    monkeypatch.setattr(build, "missing_for_plugin", lambda: "no plugin")
    assert guest.unavailable(None) == "no plugin"
    monkeypatch.setattr(build, "missing_for_plugin", lambda: "")
    assert guest.unavailable(None) == ""


def test_an_answer_is_kept_for_the_same_machine_and_request_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDCP_CACHE", str(tmp_path))
    files: Files = {}
    kits = [Kit(Path("k"), Path("p"), files, image) for image in ("one", "two")]
    asked: list[str] = []

    def answer(kit: Kit, code: int, argv: str) -> dict[str, Any]:
        async def made() -> dict[str, Any]:
            asked.append(f"{kit.image} {argv}")
            return {"exit_code": code, "stdout": argv}

        return asyncio.run(guest.remembered(kit, {"argv": argv}, made))

    for _ in range(2):
        assert answer(kits[0], 0, "a")["stdout"] == "a"
        answer(kits[1], 0, "a")
        answer(kits[0], 1, "b")  # what failed is tried again
    assert asked == ["one a", "two a", "one b", "one b"]
