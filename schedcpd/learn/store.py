# SPDX-License-Identifier: Apache-2.0
"""History in SQLite: every decision, deployment and outcome, bounded in days and rows.

A damaged database is set aside and a new one begun: history is never a reason not to run. A
full disk costs records, not the daemon; `trouble` says so.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from schedcpd.host.clock import Clock
from schedcpd.host.files import set_aside
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
        self.path = path
        self._clock = clock
        self.keep_days, self.max_rows = keep_days, max_rows
        self.trouble = ""
        self._since_prune = 0
        self._db: sqlite3.Connection | None = None

    def open(self) -> str:
        """Opens or makes the database. Returns what a person should know, "" when all is well."""
        note = ""
        try:
            self._db = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
                self.trouble = f"{self.path} cannot be used: {error}"
                return self.trouble
            note = f"{self.path} was damaged ({error}); set aside, history begins anew"
            self._set_aside()
            try:
                self._db = self._connect()
            except sqlite3.DatabaseError as again:
                self.trouble = f"{self.path} cannot be used: {again}"
                return self.trouble
        except OSError as error:
            self.trouble = f"{self.path} cannot be used: {error.strerror}"
            return self.trouble
        self.prune()
        return note

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            self.path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # WAL: a power cut may lose the last records
            db.execute("PRAGMA cache_size=-256")
            (check,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                raise sqlite3.DatabaseError(str(check))
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise sqlite3.DatabaseError(f"version {version} is of a later schedcp")
        for number in range(version, len(_MIGRATIONS)):
            db.executescript(
                f"BEGIN; {_MIGRATIONS[number]} PRAGMA user_version={number + 1}; COMMIT;"
            )

    def _set_aside(self) -> None:
        with contextlib.suppress(OSError):
            set_aside(self.path, f"corrupt-{int(self._clock.unix_s())}")
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def add(self, records: Sequence[LearnedRecord]) -> None:
        """Writes them in one transaction; on trouble they are dropped and `trouble` says why."""
        db = self._db
        if db is None or not records:
            return
        rows = [
            (r.kind.value, r.at_unix_s, r.subject, r.summary, json.dumps(dict(r.data)))
            for r in records
        ]
        try:
            with _transaction(db):
                db.executemany(
                    "INSERT INTO record (kind, at_unix_s, subject, summary, data)"
                    " VALUES (?, ?, ?, ?, ?)",
                    rows,
                )
            self.trouble = ""
        except sqlite3.DatabaseError as error:
            self.trouble = f"{len(rows)} records were lost: {error}"
            if _damaged(error):
                db.close()
                self._db = None
                self._set_aside()
                self.open()
            return
        self._since_prune += len(rows)
        if self._since_prune >= _PRUNE_EVERY:
            self.prune()

    def prune(self) -> None:
        """Drops what is older than `keep_days`, then the oldest beyond `max_rows`."""
        self._since_prune = 0
        if self._db is None:
            return
        oldest = self._clock.unix_s() - self.keep_days * 86400
        try:
            with _transaction(self._db):
                self._db.execute("DELETE FROM record WHERE at_unix_s < ?", (oldest,))
                self._db.execute(
                    "DELETE FROM record WHERE id <= (SELECT id FROM record"
                    " ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (self.max_rows,),
                )
        except sqlite3.DatabaseError as error:
            self.trouble = f"old records were not removed: {error}"

    def query(
        self, *, limit: int = 50, kind: RecordKind | None = None, subject: str = ""
    ) -> tuple[LearnedRecord, ...]:
        """Newest first; those of `subject` alone unless it is ""."""
        if self._db is None:
            return ()
        where, values = ["1"], []
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
        try:
            rows = self._db.execute(statement, (*values, limit)).fetchall()
        except sqlite3.DatabaseError as error:
            self.trouble = f"history cannot be read: {error}"
            return ()
        return tuple(_record(*row) for row in rows)

    def setbacks(self) -> dict[str, int]:
        """How often each policy ended by an ejection, a rollback or without ever running."""
        if self._db is None:
            return {}
        try:
            rows = self._db.execute(
                "SELECT json_extract(data, '$.policy'), COUNT(*) FROM record"
                " WHERE kind = 'outcome' AND json_valid(data)"
                " AND json_extract(data, '$.kind') IN ('ejected', 'rolled-back', 'failed')"
                " GROUP BY 1"
            ).fetchall()
        except sqlite3.DatabaseError as error:
            self.trouble = f"history cannot be read: {error}"
            return {}
        return {str(policy): int(count) for policy, count in rows}

    def close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                self._db.close()
            self._db = None


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.DatabaseError):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _damaged(error: sqlite3.DatabaseError) -> bool:
    # Only DatabaseError itself says "malformed" or "not a database" (SQLITE_CORRUPT, _NOTADB).
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


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
