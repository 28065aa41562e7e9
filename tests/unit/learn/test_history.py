# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from schedcpd.learn import records
from schedcpd.learn.store import HistoryStore
from schedcpd.learn.writer import History
from schedcpd.model import ExitRecord, LearnedRecord, Outcome, OutcomeKind, RecordKind

NOW = 1_700_000_000.0
DAY = 86400.0


@dataclass
class Clock:
    unix: float = NOW

    def monotonic_ns(self) -> int:
        return 0

    def unix_s(self) -> float:
        return self.unix


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    store = new(tmp_path)
    assert store.open() == ""
    yield store
    store.close()


def new(base: Path, **bounds: int) -> HistoryStore:
    kept = {"keep_days": 30, "max_rows": 1000, **bounds}
    return HistoryStore(base / "history.sqlite", Clock(), **kept)


def record(number: int, kind: RecordKind = RecordKind.NOTE, at: float = NOW) -> LearnedRecord:
    return LearnedRecord(kind, at, f"/s{number % 3}", f"number {number}", {"n": number})


def numbers(found: tuple[LearnedRecord, ...]) -> list[object]:
    return [r.data["n"] for r in found]


def test_newest_first_by_kind_and_subject(store: HistoryStore) -> None:
    store.add([record(n) for n in range(6)])
    store.add([record(6, RecordKind.OPERATOR)])
    assert numbers(store.query(limit=3)) == [6, 5, 4]
    assert numbers(store.query(kind=RecordKind.OPERATOR)) == [6]
    assert numbers(store.query(subject="/s1")) == [4, 1]
    assert [r.id for r in store.query()] == [7, 6, 5, 4, 3, 2, 1]


def test_what_was_written_is_there_after_a_restart(store: HistoryStore, tmp_path: Path) -> None:
    store.add([record(1)])
    store.close()
    again = new(tmp_path)
    assert again.open() == ""
    assert again.query() == (
        LearnedRecord(RecordKind.NOTE, NOW, "/s1", "number 1", {"n": 1}, id=1),
    )
    assert (again.path.stat().st_mode & 0o777) == 0o600
    again.close()


def test_old_and_too_many_records_go(tmp_path: Path) -> None:
    store = new(tmp_path, keep_days=2, max_rows=10)
    store.open()
    store.add([record(n, at=NOW - 3 * DAY) for n in range(5)])
    store.add([record(n) for n in range(5, 25)])
    store.prune()
    assert numbers(store.query(limit=100)) == list(range(24, 14, -1))
    store.close()


def test_a_damaged_database_is_set_aside_and_rebuilt(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"this is no database" * 100)
    store = new(tmp_path)
    assert "damaged" in store.open()
    store.add([record(1)])
    assert numbers(store.query()) == [1]
    assert len(list(tmp_path.glob("history.sqlite.corrupt-*"))) == 1
    store.close()


def test_pages_overwritten_in_the_middle_are_noticed(store: HistoryStore, tmp_path: Path) -> None:
    store.add([record(n) for n in range(800)])
    store.close()
    data = bytearray(store.path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    store.path.write_bytes(bytes(data))
    again = new(tmp_path)
    assert "damaged" in again.open()
    again.add([record(1)])
    assert numbers(again.query()) == [1]
    again.close()


def test_a_full_disk_costs_records_not_the_daemon(store: HistoryStore) -> None:
    db = store._file.connection
    assert db is not None
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count={pages + 2}")  # what SQLITE_FULL comes from
    big = LearnedRecord(RecordKind.NOTE, NOW, "/x", "x" * 100_000)
    store.add([big])
    assert "records were lost" in store.trouble
    assert store.query() == ()
    db.execute("PRAGMA max_page_count=100000")
    store.add([record(1)])
    assert store.trouble == ""
    assert numbers(store.query()) == [1]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = HistoryStore(tmp_path / "file" / "history.sqlite", Clock(), keep_days=1, max_rows=10)
    assert "cannot be used" in store.open()
    store.add([record(1)])
    assert store.query() == ()
    assert store.setbacks() == {}


def test_a_database_of_a_later_version_is_kept_aside(store: HistoryStore, tmp_path: Path) -> None:
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    again = new(tmp_path)
    assert "later schedcp" in again.open()
    again.close()


def test_setbacks_are_counted_by_policy(store: HistoryStore) -> None:
    def ended(policy: str, kind: OutcomeKind) -> LearnedRecord:
        exit_ = ExitRecord(1026, 0, "stall", "")
        result = Outcome("d", kind, policy, "intent", "v", NOW, NOW + 5, "why", exit_)
        return records.outcome(result, NOW)

    store.add(
        [
            ended("a", OutcomeKind.EJECTED),
            ended("a", OutcomeKind.ROLLED_BACK),
            ended("a", OutcomeKind.REPLACED),
            ended("b", OutcomeKind.FAILED),
            ended("c", OutcomeKind.KILLED),
        ]
    )
    assert store.setbacks() == {"a": 2, "b": 1}
    (first,) = store.query(limit=1, subject="d")
    assert first.summary == "c ended after 5 s, killed: why"
    assert first.data["exit"]["kind_name"] == "ERROR_STALL"  # type: ignore[index]


async def test_records_are_seen_at_once_and_written_at_the_end(tmp_path: Path) -> None:
    history = History(new(tmp_path))
    history.open()
    history.add(record(1))
    assert numbers(history.query()) == [1]
    history.add(record(2))
    await history.close()
    again = new(tmp_path)
    again.open()
    assert numbers(again.query()) == [2, 1]
    again.close()
