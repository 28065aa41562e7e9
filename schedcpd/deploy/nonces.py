# SPDX-License-Identifier: Apache-2.0
"""Which tokens were used: one empty file a nonce, named `<nonce>.<expiry>`, in tmpfs.

Files, not memory: the scheduler host exits when idle, and a token must not come back to life
with the next one. `/run` forgets at reboot, where tokens die of their boot id anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


class Nonces:
    """Remembers nonces until they expire. `now_ns` is CLOCK_BOOTTIME, as in tokens."""

    def __init__(self, directory: Path, now_ns: Callable[[], int]) -> None:
        self._directory = directory
        self._now_ns = now_ns

    def use(self, nonce: str, expires_ns: int) -> bool:
        """True the first time. Atomic between processes. OSError: it could not be recorded.

        `nonce` must be a plain file name; the caller has checked that it is hex.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_expired()
        path = self._directory / f"{nonce}.{expires_ns}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        return True

    def _forget_expired(self) -> None:
        now = self._now_ns()
        for entry in self._directory.iterdir():
            expires = entry.name.rpartition(".")[2]
            if expires.isdecimal() and int(expires) <= now:
                entry.unlink(missing_ok=True)
