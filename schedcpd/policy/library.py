# SPDX-License-Identifier: Apache-2.0
"""What the repository remembers, in SQLite: where policies came from, how they did, who vouched.

Kept apart from the daily history, which forgets by age: an event stays until MAX_EVENTS later ones.
Safe to use from several threads.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schedcpd.errors import SchedcpError
from schedcpd.host.clock import Clock
from schedcpd.host.sqlitefile import SqliteFile
from schedcpd.model import (
    AppKind,
    IntentClass,
    Machine,
    OutcomeKind,
    Policy,
    PolicyAction,
    PolicyEvent,
    Power,
    Shape,
    Trial,
)

MAX_EVENTS = 5000
MAX_TRIALS = 1000
_PAGE = 50
_MIGRATIONS = (
    """
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT, policy TEXT NOT NULL, action TEXT NOT NULL,
        sha256 TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL, at_unix_s REAL NOT NULL
    );
    CREATE INDEX event_policy ON event (policy, id);
    CREATE TABLE trial (
        id INTEGER PRIMARY KEY AUTOINCREMENT, policy TEXT NOT NULL, sha256 TEXT NOT NULL,
        scheduler TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
        at_unix_s REAL NOT NULL, seconds REAL NOT NULL, kernel TEXT NOT NULL,
        cpus INTEGER NOT NULL, power TEXT NOT NULL, measures TEXT NOT NULL, missed TEXT NOT NULL,
        workloads TEXT NOT NULL
    );
    CREATE INDEX trial_policy ON trial (policy, id);
    CREATE VIRTUAL TABLE words USING fts5 (policy UNINDEXED, text, tokenize = 'porter unicode61');
    """,
)
_DECISIONS = (PolicyAction.PROMOTED, PolicyAction.RETIRED)


class Library:
    """Events, trials and words of policies at `path`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        what = "what was known of policies, promotions and retirements included,"
        self._file = SqliteFile(path, clock, _MIGRATIONS, what)
        self._clock = clock
        self._lock = threading.RLock()

    @property
    def trouble(self) -> str:
        return self._file.trouble

    def open(self) -> str:
        """Returns what a person should know, "" when all is well."""
        with self._lock:
            return self._file.open()

    def close(self) -> None:
        with self._lock:
            self._file.close()

    # ------------------------------------------------------------ writing

    def take_stock(self, policies: Sequence[Policy], words: Mapping[str, str]) -> None:
        """Records what was added, changed and removed since the last time, and indexes `words`.

        SchedcpError: it could not be written.
        """
        with self._lock:
            known = self._contents()
            events = [
                PolicyEvent(name, PolicyAction.REMOVED, "", "schedcpd", "no file has it", self._now)
                for name in sorted(known)
                if known[name] and name not in {policy.name for policy in policies}
            ]
            for policy in policies:
                if known.get(policy.name) == policy.content_id:
                    continue
                action = PolicyAction.CHANGED if known.get(policy.name) else PolicyAction.ADDED
                actor = f"{policy.origin} ({policy.author})" if policy.author else policy.origin
                place = f"{policy.file}:{policy.line}" if policy.file else "built in"
                events.append(
                    PolicyEvent(policy.name, action, policy.content_id, actor, place, self._now)
                )
            self._write(events, words)

    def decide(self, policy: str, action: PolicyAction, sha256: str, actor: str, why: str) -> None:
        """Records a promotion or a retirement. SchedcpError: it was not recorded."""
        with self._lock:
            self._write([PolicyEvent(policy, action, sha256, actor, why, self._now)], None)

    def add_trial(self, trial: Trial) -> None:
        """SchedcpError: it was not recorded."""
        row = (
            *(trial.policy, trial.sha256, trial.scheduler, trial.kind.value, trial.reason),
            *(trial.at_unix_s, trial.seconds, trial.kernel),
            *(trial.machine.cpus, trial.machine.power.value),
            json.dumps(dict(trial.measures)),
            json.dumps(trial.missed),
            json.dumps([asdict(shape) for shape in trial.workloads]),
        )
        with self._lock:
            self._do(
                (
                    "INSERT INTO trial (policy, sha256, scheduler, kind, reason, at_unix_s,"
                    " seconds, kernel, cpus, power, measures, missed, workloads)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [row],
                ),
                ("DELETE FROM trial WHERE id <= (SELECT MAX(id) FROM trial) - ?", [(MAX_TRIALS,)]),
            )

    @property
    def _now(self) -> float:
        return self._clock.unix_s()

    def _write(self, events: Sequence[PolicyEvent], words: Mapping[str, str] | None) -> None:
        rows = [
            (e.policy, e.action.value, e.sha256, e.actor, e.reason, e.at_unix_s) for e in events
        ]
        steps: list[tuple[str, Iterable[Sequence[object]]]] = [
            (
                "INSERT INTO event (policy, action, sha256, actor, reason, at_unix_s)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            ),
            (  # a policy's last decision is kept whatever comes after it
                "DELETE FROM event WHERE id <= (SELECT MAX(id) FROM event) - ? AND id NOT IN"
                " (SELECT MAX(id) FROM event GROUP BY policy, action IN ('promoted', 'retired'))",
                [(MAX_EVENTS,)],
            ),
        ]
        if words is not None:
            steps.append(("DELETE FROM words", [()]))
            steps.append(("INSERT INTO words (policy, text) VALUES (?, ?)", words.items()))
        self._do(*steps)

    def _do(self, *steps: tuple[str, Iterable[Sequence[object]]]) -> None:
        try:
            with self._file.transaction() as db:
                for statement, rows in steps:
                    db.executemany(statement, rows)
        except sqlite3.DatabaseError as error:
            self._file.begin_anew_if(error)
            raise SchedcpError(
                f"the policy repository could not be written: {error}",
                hint=f"see to the disk of {self._file.path}; nothing was recorded",
            ) from error

    # ------------------------------------------------------------ reading

    def _contents(self) -> dict[str, str]:
        """policy -> content when last seen, "" when it was removed."""
        rows = self._rows(
            "SELECT policy, sha256 FROM event WHERE id IN (SELECT MAX(id) FROM event"
            " WHERE action IN ('added', 'changed', 'removed') GROUP BY policy)"
        )
        return {str(policy): str(sha256) for policy, sha256 in rows}

    def decisions(self) -> dict[str, PolicyEvent]:
        """The last promotion or retirement of each policy that had one."""
        rows = self._rows(
            f"SELECT {_EVENT} FROM event WHERE id IN (SELECT MAX(id) FROM event"
            " WHERE action IN ('promoted', 'retired') GROUP BY policy)"
        )
        return {event.policy: event for event in map(_event, rows)}

    def events(self, policy: str, limit: int) -> list[PolicyEvent]:
        """Newest first; of every policy when `policy` is ""."""
        where, values = ("policy = ?", (policy,)) if policy else ("1", ())
        statement = f"SELECT {_EVENT} FROM event WHERE {where} ORDER BY id DESC LIMIT ?"
        return [_event(row) for row in self._rows(statement, (*values, limit))]

    def every_trial(self) -> Iterator[Trial]:
        """Newest first, a page at a time: all of them at once would be much of a small daemon."""
        before = 2**62
        while True:
            statement = f"SELECT {_TRIAL} FROM trial WHERE id < ? ORDER BY id DESC LIMIT ?"
            page = [_trial(row) for row in self._rows(statement, (before, _PAGE))]
            if not page:
                return
            yield from page
            before = page[-1].id

    def trials(self, policy: str, limit: int) -> list[Trial]:
        """Newest first; of every policy when `policy` is ""."""
        where, values = ("policy = ?", (policy,)) if policy else ("1", ())
        statement = f"SELECT {_TRIAL} FROM trial WHERE {where} ORDER BY id DESC LIMIT ?"
        return [_trial(row) for row in self._rows(statement, (*values, limit))]

    def find_words(self, text: str) -> dict[str, float]:
        """policy -> how well it fits the words (greater is better), all words before any word."""
        words = ["".join(c for c in word if c.isalnum()) for word in text.split()[:16]]
        quoted = [f'"{word}"*' for word in words if word]
        for joint in (" AND ", " OR "):
            rows = (
                self._rows(
                    "SELECT policy, -bm25(words) FROM words WHERE words MATCH ?",
                    (joint.join(quoted),),
                )
                if quoted
                else []
            )
            if rows:
                return {str(policy): float(rank) for policy, rank in rows}
        return {}

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._file.rows(statement, values)


_EVENT = "policy, action, sha256, actor, reason, at_unix_s, id"
_TRIAL = (
    "policy, sha256, scheduler, kind, reason, at_unix_s, seconds, kernel, cpus, power,"
    " measures, missed, workloads, id"
)


def _event(row: Sequence[Any]) -> PolicyEvent:
    return PolicyEvent(row[0], PolicyAction(row[1]), *row[2:])


def _trial(row: Sequence[Any]) -> Trial:
    return Trial(
        policy=row[0],
        sha256=row[1],
        scheduler=row[2],
        kind=OutcomeKind(row[3]),
        reason=row[4],
        at_unix_s=row[5],
        seconds=row[6],
        kernel=row[7],
        machine=Machine(row[8], Power(row[9])),
        measures=json.loads(row[10]),
        missed=tuple(json.loads(row[11])),
        workloads=tuple(map(_shape, json.loads(row[12]))),
        id=row[13],
    )


def _shape(shape: Mapping[str, Any]) -> Shape:
    kind, intent = AppKind(shape["kind"]), IntentClass(shape["intent"])
    return Shape(**{**shape, "kind": kind, "intent": intent})
