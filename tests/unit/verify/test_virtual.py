# SPDX-License-Identifier: Apache-2.0
"""Which clock a verdict is made by, and the child that has the virtual one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from schedcpd import guests
from schedcpd.errors import MicroVmError
from schedcpd.guests import guest_of
from schedcpd.model import VerdictClock
from schedcpd.verify import virtual
from schedcpd.verify.virtual import BootFiles, VirtualGuest

CHILD = """
import json, pathlib, sys
command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
request = json.loads((folder / "request.json").read_text())
print("virtual: it began", file=sys.stderr)
answer = {"available": {"reason": request["kernel"]["release"]}, "image": {"image": "abc"}}
said = {"kernel": {"release": "7.3.4", "version": "#1", "build_id": "ab"}}
answer["run"] = {"exit_code": 0, "stdout": json.dumps(said), "stderr": json.dumps(request)}
answer["run"] |= {"end": "it died", "console": "Oops: 1", "died": False}
answer["prepare"] = {"error": {"message": "no such clock", "hint": "buy one"}}
if request["kernel"]["release"] != "silent":
    (folder / "answer.json").write_text(json.dumps(answer[command]))
"""
KERNEL = BootFiles("7.3.4", "/boot/vmlinuz", "/lib/modules/7.3.4")


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that answers without a machine."""
    folder = tmp_path / "fakebench"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "guest.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(virtual, "_PACKAGE_PARENT", tmp_path)
    monkeypatch.setattr(virtual, "MODULE", "fakebench.guest")


@pytest.mark.usefixtures("child")
async def test_a_run_is_handed_over_whole() -> None:
    told: list[str] = []
    guest = VirtualGuest(KERNEL, told.append)
    run = await guest.elsewhere.run(["python3", "x"], files={"/a": b"\xff"}, timeout_s=70)
    assert (run.exit_code, guest.clock) == (0, VerdictClock.VIRTUAL)
    request = json.loads(run.stderr)
    assert (request["argv"], request["timeout_s"]) == (["python3", "x"], 70)
    assert (request["elsewhere"], request["remember"]) == (True, False)
    assert (request["files"], request["kernel"]["vmlinuz"]) == ({"/a": "/w=="}, "/boot/vmlinuz")
    assert run.end == "it died; the console:\nOops: 1"
    assert told == ["virtual: it began"]


@pytest.mark.usefixtures("child")
async def test_its_identity_is_asked_of_a_guest_and_of_what_it_is_made_of() -> None:
    found = await VirtualGuest(KERNEL, print).identity()
    assert (found.kernel.build_id, found.image) == ("ab", "abc")


@pytest.mark.usefixtures("child")
async def test_an_error_of_the_child_is_no_verdict() -> None:
    with pytest.raises(MicroVmError, match="no such clock") as error:
        await virtual.prepare(KERNEL, print)
    assert error.value.hint == "buy one"
    with pytest.raises(MicroVmError, match="gave no answer: virtual: it began"):
        await VirtualGuest(BootFiles("silent", "", ""), print).run([], files={}, timeout_s=1)


async def test_where_there_is_no_schedbench_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "MODULE", "nobody_has_this.guest")
    assert await virtual.unavailable(None) == "schedbench is not installed"
    with pytest.raises(MicroVmError, match="schedbench is not installed"):
        await guest_of("virtual", "", print)


@pytest.mark.parametrize(
    ("clock", "reason", "expected", "said"),
    [
        ("auto", "", VerdictClock.VIRTUAL, ""),
        ("auto", "it rains", VerdictClock.WALL, "by the host's clock, since there is no virtual"),
        ("wall", "", VerdictClock.WALL, ""),
        ("virtual", "it rains", VerdictClock.VIRTUAL, ""),  # it is built
    ],
)
async def test_the_clock_is_chosen_and_said(
    clock: str, reason: str, expected: VerdictClock, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(kernel: object) -> str:
        return reason

    async def prepare(kernel: object, say: object) -> None:
        pass

    monkeypatch.setattr(guests.virtual, "unavailable", unavailable)
    monkeypatch.setattr(guests.virtual, "prepare", prepare)
    told: list[str] = []
    guest = await guest_of(clock, "", told.append)
    assert guest.clock is expected
    assert said in "".join(told)
    assert bool(said) == bool(told)
    assert reason in "".join(told) or not said


async def test_the_real_child_answers() -> None:
    """Whatever this machine has, it is a sentence or nothing; and no numpy is imported for it."""
    reason = await virtual.unavailable(None)
    assert "\n" not in reason
    program = "import schedbench.virtual.guest, sys; sys.exit('numpy' in sys.modules)"
    done = await virtual.process.run([sys.executable, "-c", program], timeout_s=60)
    assert done.ok, done.error_text
