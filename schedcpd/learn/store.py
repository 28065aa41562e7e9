# SPDX-License-Identifier: Apache-2.0
"""History in SQLite: every decision, deployment and outcome, bounded in days and rows.

A damaged database is set aside and a new one begun: history is never a reason not to run. A
full disk costs records, not the daemon; `trouble` says so.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from schedcpd.host.clock import Clock
from schedcpd.host.sqlitefile import SqliteFile
from schedcpd.model import LearnedRecord, RecordKind

# One entry a schema version; applied in order from PRAGMA user_version on.
_MIGRATIONS = (
    """
    CREATE TABLE record (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        at_unix_s REAL NOT NULL,
        subject TEXT NOT NULL,
        summary TEXT NOT NULL,
        data TEXT NOT NULL
    );
    CREATE INDEX record_at ON record (at_unix_s);
    CREATE INDEX record_subject ON record (subject, id);
    """,
)
_PRUNE_EVERY = 256  # inserted records between two retentions


class HistoryStore:
    """LearnedRecords at `path`. Used from one thread at a time; see `learn.writer`."""

    def __init__(self, path: Path, clock: Clock, *, keep_days: int, max_rows: int) -> None:
        self._file = SqliteFile(path, clock, _MIGRATIONS, "history")
        self._clock = clock
        self.keep_days, self.max_rows = keep_days, max_rows
        self._since_prune = 0

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def trouble(self) -> str:
        """Why records were lost or cannot be read, "" when all is well."""
        return self._file.trouble

    def open(self) -> str:
        """Opens or makes the database. Returns what a person should know, "" when all is well."""
        note = self._file.open()
        self.prune()
        return note

    def add(self, records: Sequence[LearnedRecord]) -> None:
        """Writes them in one transaction; on trouble they are dropped and `trouble` says why."""
        if self._file.connection is None or not records:
            return
        rows = [
            (r.kind.value, r.at_unix_s, r.subject, r.summary, json.dumps(dict(r.data)))
            for r in records
        ]
        try:
            with self._file.transaction() as db:
                db.executemany(
                    "INSERT INTO record (kind, at_unix_s, subject, summary, data)"
                    " VALUES (?, ?, ?, ?, ?)",
                    rows,
                )
            self._file.trouble = ""
        except sqlite3.DatabaseError as error:
            self._file.trouble = f"{len(rows)} records were lost: {error}"
            self._file.begin_anew_if(error)
            return
        self._since_prune += len(rows)
        if self._since_prune >= _PRUNE_EVERY:
            self.prune()

    def prune(self) -> None:
        """Drops what is older than `keep_days`, then the oldest beyond `max_rows`."""
        self._since_prune = 0
        if self._file.connection is None:
            return
        oldest = self._clock.unix_s() - self.keep_days * 86400
        try:
            with self._file.transaction() as db:
                db.execute("DELETE FROM record WHERE at_unix_s < ?", (oldest,))
                db.execute(
                    "DELETE FROM record WHERE id <= (SELECT id FROM record"
                    " ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (self.max_rows,),
                )
        except sqlite3.DatabaseError as error:
            self._file.trouble = f"old records were not removed: {error}"

    def query(
        self, *, limit: int = 50, kind: RecordKind | None = None, subject: str = ""
    ) -> tuple[LearnedRecord, ...]:
        """Newest first; those of `subject` alone unless it is ""."""
        where: list[str] = ["1"]
        values: list[object] = []
        if kind is not None:
            where.append("kind = ?")
            values.append(kind.value)
        if subject:
            where.append("subject = ?")
            values.append(subject)
        statement = (
            "SELECT id, kind, at_unix_s, subject, summary, data FROM record"
            f" WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        )
        return tuple(_record(*row) for row in self._file.rows(statement, (*values, limit)))

    def setbacks(self) -> dict[str, int]:
        """How often each policy ended by an ejection, a rollback or without ever running."""
        rows = self._file.rows(
            "SELECT json_extract(data, '$.policy'), COUNT(*) FROM record"
            " WHERE kind = 'outcome' AND json_valid(data)"
            " AND json_extract(data, '$.kind') IN ('ejected', 'rolled-back', 'failed')"
            " GROUP BY 1"
        )
        return {str(policy): int(count) for policy, count in rows}

    def close(self) -> None:
        self._file.close()


def _record(
    number: int, kind: str, at_unix_s: float, subject: str, summary: str, data: str
) -> LearnedRecord:
    try:
        known = RecordKind(kind)
    except ValueError:  # of a later version
        known = RecordKind.NOTE
    try:
        parsed = json.loads(data)
    except ValueError:
        parsed = {}
    return LearnedRecord(
        kind=known,
        at_unix_s=at_unix_s,
        subject=subject,
        summary=summary,
        data=parsed if isinstance(parsed, dict) else {},
        id=number,
    )
