# SPDX-License-Identifier: Apache-2.0
"""The machine's Ed25519 key for tokens: made once, on the machine, never shipped.

`token.key` is the raw 32-byte seed in hex, 0600; `token.pub` beside it is the public key in hex.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from schedcpd.errors import TokenError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

KEY_PATH = Path("/var/lib/schedcp/token.key")


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The key in `path`, made there if there is none; two processes racing agree on one.

    TokenError: it cannot be read or written, is not a key, or others may read it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        if not path.exists():
            _create(path, secrets.token_bytes(32).hex())
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise TokenError(f"Cannot use the token key {path}: {error}", reason="no-key") from error
    if mode & 0o077:
        raise TokenError(
            f"The token key {path} has mode {mode:04o}; others could read it",
            reason="no-key",
            hint=f"remove {path} and {path.with_suffix('.pub')}; a new key is made",
        )
    key = Ed25519PrivateKey.from_private_bytes(_raw(path, text))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    _publish(path.with_suffix(".pub"), public)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The public half of the key in `path`. TokenError: none was made yet, or it is not a key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = path.with_suffix(".pub")
    try:
        text = public.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise TokenError(
            f"Cannot read {public}: {error.strerror}",
            reason="no-key",
            hint="schedcpd makes it when it first deploys",
        ) from error
    return Ed25519PublicKey.from_public_bytes(_raw(public, text))


def _raw(path: Path, text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.strip())
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise TokenError(
            f"{path} is not a key (64 hex digits)",
            reason="no-key",
            hint=f"remove {path.with_suffix('.key')} and {path.with_suffix('.pub')}; "
            "a new key is made",
        )
    return raw


def _create(path: Path, text: str) -> None:
    """Whole or not at all; if another process was first, its file stays."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = _write_temporary(path, text, 0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def _publish(path: Path, text: str) -> None:
    try:
        if path.read_text(encoding="ascii", errors="replace").strip() == text:
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise TokenError(f"Cannot read {path}: {error}", reason="no-key") from error
    try:
        _write_temporary(path, text, 0o644).replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise TokenError(f"Cannot write {path}: {error}", reason="no-key") from error


def _write_temporary(path: Path, text: str, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return temporary


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
