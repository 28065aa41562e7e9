# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and the errors a command ends with."""

from __future__ import annotations

from enum import IntEnum

from schedcpd.errors import SchedcpError


class Exit(IntEnum):
    DONE = 0
    REFUSED = 1  # or failed
    USAGE = 2
    UNREACHABLE = 3
    NOT_AUTHORISED = 4
    UNSUPPORTED = 5


class CallError(SchedcpError):
    """The daemon (or systemd) answered with an error; `code` is the one on the wire."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class UnreachableError(SchedcpError):
    """Nobody answers on the bus."""

    code = "Unreachable"


_EXITS = {
    "Unreachable": Exit.UNREACHABLE,
    "AccessDenied": Exit.NOT_AUTHORISED,
    "Unsupported": Exit.UNSUPPORTED,
}


def exit_of(error: SchedcpError) -> Exit:
    return _EXITS.get(error.code, Exit.REFUSED)
