# SPDX-License-Identifier: Apache-2.0
"""Signs one token's payload with the machine's key, in a process that lives for this one signature.

`cryptography` would keep 6 to 8 MB in the daemon for good; a child costs about a tenth of a second
at each deployment, and the private key is never in the daemon's memory.

    python3 -m schedcpd.deploy.sign KEY_FILE <payload >signature
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Protocol

from schedcpd.deploy.token_key import load_or_create_key
from schedcpd.errors import TokenError
from schedcpd.host import process

MAX_PAYLOAD_BYTES = 4096
SIGNATURE_BYTES = 64
TIMEOUT_S = 30.0
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class Signer(Protocol):
    """Makes the Ed25519 signature (64 bytes) of a payload. An Ed25519PrivateKey is one."""

    def sign(self, data: bytes, /) -> bytes: ...


class ChildSigner:
    """Signs in a child process; the key is made there on first use."""

    def __init__(self, key_path: Path) -> None:
        self._key_path = key_path

    def sign(self, data: bytes, /) -> bytes:
        """Blocks the calling thread, which must not run an event loop. TokenError if it fails."""
        try:
            result = asyncio.run(
                process.run(
                    [sys.executable, "-m", "schedcpd.deploy.sign", self._key_path],
                    stdin=data,
                    timeout_s=TIMEOUT_S,
                    env={"PYTHONPATH": str(_PACKAGE_PARENT)},
                )
            )
        except process.ProcessError as error:
            raise TokenError(error.message, reason="no-key", hint=error.hint) from error
        if not result.ok or len(result.stdout) != SIGNATURE_BYTES:
            raise TokenError(
                f"The token could not be signed: {result.error_text or 'no message'}",
                reason="no-key",
                hint=f"see that {self._key_path} can be read and its directory written",
            )
        return result.stdout


def main() -> int:
    """Standard input to standard output; 1 and a sentence on standard error if it cannot."""
    payload = sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1)
    if len(sys.argv) != 2 or len(payload) > MAX_PAYLOAD_BYTES:
        sys.stderr.write("usage: python3 -m schedcpd.deploy.sign KEY_FILE <payload >signature\n")
        return 2
    try:
        sys.stdout.buffer.write(load_or_create_key(Path(sys.argv[1])).sign(payload))
    except TokenError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
