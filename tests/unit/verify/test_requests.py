# SPDX-License-Identifier: Apache-2.0
"""What callers of the bus hand in is examined in a real child, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.errors import BusyError, InvalidArgumentError, NotFoundError
from schedcpd.verify.child import Children
from schedcpd.verify.requests import Examiner

GOOD = "version: 1\nrules: []\n"


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class Heard:
    def __init__(self) -> None:
        self.checks: list[tuple[str, str]] = []
        self.ends: asyncio.Queue[tuple[str, bool, str]] = asyncio.Queue()

    def verify_progress(self, id_: str, check: str) -> None:
        self.checks.append((id_, check))

    def verify_ended(self, id_: str, passed: bool, sentence: str) -> None:
        self.ends.put_nowait((id_, passed, sentence))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest_asyncio.fixture
async def examiner(heard: Heard) -> AsyncIterator[Examiner]:
    made = Examiner(Children(), heard)
    yield made
    await made.close()


async def test_a_wrong_policy_is_refused_with_its_evidence(
    examiner: Examiner, heard: Heard
) -> None:
    id_ = examiner.begin("mine.yaml", "version: 1\npolicies: [{name: X}]\n", run=False)
    assert examiner.result(id_)["state"] == "running"
    with pytest.raises(BusyError):
        examiner.begin("other.yaml", GOOD, run=False)
    ended, passed, sentence = await asyncio.wait_for(heard.ends.get(), 60)
    assert (ended, passed) == (id_, False)
    assert "[policy." in sentence
    found = examiner.result(id_)
    assert found["state"] == "ended"
    assert found["result"]["checks"][0]["status"] == "failed"  # type: ignore[index]


async def test_nothing_of_it_is_left(
    examiner: Examiner, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        id_ = examiner.begin("mine.yaml", GOOD, run=False)
        await asyncio.wait_for(heard.ends.get(), 60)
    examiner.begin("other.yaml", GOOD, run=False)
    await asyncio.sleep(0.05)
    await examiner.close()  # in the middle
    assert _files(tmp_path) == []
    assert examiner.result(id_)["state"] == "ended"


async def test_a_full_disk_is_said(
    examiner: Examiner, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    examiner.begin("mine.yaml", GOOD, run=False)
    _, passed, sentence = await asyncio.wait_for(heard.ends.get(), 60)
    assert not passed
    assert "could not be examined" in sentence


@pytest.mark.parametrize(
    "name", ["", "a.bpf.o", "../a.bpf.c", "/etc/a.yaml", "A.yaml", "a.yaml\n", "a" * 80 + ".yaml"]
)
async def test_a_name_is_a_name(examiner: Examiner, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="name"):
        examiner.begin(name, GOOD, run=False)


async def test_what_nobody_asked_for_is_not_found(examiner: Examiner) -> None:
    with pytest.raises(NotFoundError):
        examiner.result("never")
