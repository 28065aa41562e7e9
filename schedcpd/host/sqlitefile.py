# SPDX-License-Identifier: Apache-2.0
"""An SQLite file that never keeps the daemon from running: damaged, it is set aside and begun anew.

Schemas are versioned by PRAGMA user_version (sqlite.org/pragma.html). Used from one thread at a
time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from schedcpd.host.clock import Clock
from schedcpd.host.files import set_aside


class SqliteFile:
    """`migrations`: one script a schema version, applied in order to what is older.

    `what` is what begins anew when the file was damaged. `trouble` says why it cannot be used.
    """

    def __init__(self, path: Path, clock: Clock, migrations: Sequence[str], what: str) -> None:
        self.path = path
        self.trouble = ""
        self.connection: sqlite3.Connection | None = None
        self._clock, self._migrations, self._what = clock, migrations, what

    def open(self) -> str:
        """Opens or makes the file. Returns what a person should know, "" when all is well."""
        try:
            self.connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not damaged(error):
                return self._unusable(error)
            return self._anew(error)
        except OSError as error:
            return self._unusable(error.strerror)
        return ""

    def _anew(self, why: sqlite3.DatabaseError) -> str:
        with contextlib.suppress(OSError):
            set_aside(self.path, f"corrupt-{int(self._clock.unix_s())}")
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        try:
            self.connection = self._connect()
        except sqlite3.DatabaseError as error:
            return self._unusable(error)
        return f"{self.path} was damaged ({why}); set aside, {self._what} begins anew"

    def _unusable(self, why: object) -> str:
        self.trouble = f"{self.path} cannot be used: {why}"
        return self.trouble

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            self.path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # WAL: a power cut may lose the last writes
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
        if version > len(self._migrations):
            raise sqlite3.DatabaseError(f"version {version} is of a later schedcp")
        for number in range(version, len(self._migrations)):
            db.executescript(
                f"BEGIN; {self._migrations[number]} PRAGMA user_version={number + 1}; COMMIT;"
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it is written or, when anything raises, nothing. DatabaseError: not open."""
        db = self.connection
        if db is None:
            raise sqlite3.DatabaseError(self.trouble or f"{self.path} is not open")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            with contextlib.suppress(sqlite3.DatabaseError):
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a SELECT finds; nothing, and `trouble`, where the file cannot be read."""
        if self.connection is None:
            return []
        try:
            return self.connection.execute(statement, tuple(values)).fetchall()
        except sqlite3.DatabaseError as error:
            self.trouble = f"{self.path} cannot be read: {error}"
            return []

    def begin_anew_if(self, error: sqlite3.DatabaseError) -> None:
        """After a failed write: a damaged file is set aside."""
        if damaged(error):
            self.close()
            self._anew(error)

    def close(self) -> None:
        if self.connection is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                self.connection.close()
            self.connection = None


def damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite says "malformed" or "not a database" (SQLITE_CORRUPT, SQLITE_NOTADB)."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
