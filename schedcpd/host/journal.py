# SPDX-License-Identifier: Apache-2.0
"""Logging: structlog in front, the journal with fields behind it, a console without one.

Every module may use `logging` or `structlog`; both end here. Keyword values become journal
fields (SCHEDCP_STATE=active); on a console they follow the sentence.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog

IDENTIFIER = "schedcpd"
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOT_IN_A_FIELD = re.compile(r"[^A-Z0-9_]")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The keyword values of one log call."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


def under_journal(environ: Mapping[str, str] = os.environ, fd: int = 2) -> bool:
    """Whether stderr is the journal's stream: $JOURNAL_STREAM is device:inode of it."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stat = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(stat.st_dev), str(stat.st_ino))


class JournalHandler(logging.Handler):
    """Sends records to journald by its native protocol (systemd.journal)."""

    def __init__(self) -> None:
        super().__init__()
        from systemd.journal import send

        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a line that cannot be logged must not end a daemon."""
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), 7)
        try:
            fields = {
                "SCHEDCP_" + _NOT_IN_A_FIELD.sub("_", key.upper()): str(value)
                for key, value in fields_of(record).items()
            }
            if record.exc_info:
                fields["SCHEDCP_TRACEBACK"] = logging.Formatter().formatException(record.exc_info)
            self._send(
                record.getMessage(),
                PRIORITY=priority,
                SYSLOG_IDENTIFIER=IDENTIFIER,
                LOGGER=record.name,
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                **fields,
            )
        except (OSError, TypeError, ValueError):
            self.handleError(record)


class ConsoleFormatter(logging.Formatter):
    """One line a record: level, sentence, key=value."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={value}" for key, value in fields_of(record).items())
        line = f"{record.levelname.lower()}: {record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(level: str) -> str:
    """Routes everything to the journal or to stderr. Returns what is missing, "" when nothing.

    Call `logging.getLogger().setLevel` to change the level later.
    """
    trouble = ""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConsoleFormatter())
    if under_journal():
        try:
            handler = JournalHandler()
        except ImportError:
            trouble = "python3-systemd is not installed: no fields in the journal"
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return trouble
