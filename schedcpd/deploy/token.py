# SPDX-License-Identifier: Apache-2.0
"""The right to load exact bytes, once, on this kernel, for a short while.

A token is `<payload>.<signature>`: base64url without padding of canonical JSON and of its
Ed25519 signature (RFC 8032). The daemon mints one from a passing Verdict; the scheduler host
loads only with one. Time is CLOCK_BOOTTIME of one boot, so a jump of the wall clock neither
revives nor kills a token, and a token of an earlier boot is worthless.

`cryptography` costs the importing process 6 to 8 MB: the daemon signs in a child (`sign.py`), the
scheduler host imports it when the first token comes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedcpd.deploy.nonces import Nonces
from schedcpd.deploy.sign import ChildSigner, Signer
from schedcpd.deploy.token_key import KEY_PATH, load_public_key
from schedcpd.errors import TokenError
from schedcpd.model import KernelBuild, Tunable, Verdict, VerdictOrigin, canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCOPE_HOST = "host"  # an object into the whole machine; narrower scopes come with canaries
SCOPE_PROGRAM = "program"  # an external scheduler's program, run for the whole machine
DEFAULT_TTL_S = 60.0
MAX_TTL_S = 3600.0
MAX_TOKEN_CHARS = 4096

_FORMAT = 1
_FIELDS = {
    "boot": str,
    "build_id": str,
    "expires_ns": int,
    "format": int,
    "nonce": str,
    "object": str,
    "release": str,
    "scope": str,
    "tunables": str,
    "verdict": str,
}
_NONCE = re.compile(r"[0-9a-f]{32}\Z")


class TokenReason(StrEnum):
    """Why a token is refused (`TokenError.reason`), or was not minted."""

    FORGED = "forged"  # not signed by this machine's key, or not a token at all
    EXPIRED = "expired"
    REPLAYED = "replayed"
    OTHER_BYTES = "other-bytes"
    OTHER_KERNEL = "other-kernel"
    OTHER_TUNABLES = "other-tunables"
    OTHER_SCOPE = "other-scope"
    OTHER_BOOT = "other-boot"
    NOT_PASSED = "not-passed"  # minting: the verdict failed, or was edited
    NO_KEY = "no-key"
    NONCE_STORE = "nonce-store"  # cannot prove that it was not used: refused


@dataclass(frozen=True, slots=True)
class BootClock:
    """Now on CLOCK_BOOTTIME in nanoseconds, and which boot that is."""

    now_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    boot_id: Callable[[], str] = lambda: (
        Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    )


def tunables_hash(tunables: Mapping[str, Tunable]) -> str:
    """SHA-256 of the canonical JSON of name -> value; `1`, `1.0` and `true` differ."""
    return hashlib.sha256(canonical_json(dict(tunables))).hexdigest()


def program_values(program: str, mode: str) -> dict[str, Tunable]:
    """What a token for an external scheduler binds in the place of tunables."""
    return {"program": program, "mode": mode}


class TokenMinter:
    """Makes tokens, signed with the machine's key. One lives in the daemon."""

    def __init__(self, signer: Signer, clock: BootClock | None = None) -> None:
        self._signer = signer
        self._clock = clock or BootClock()

    @classmethod
    def open(cls, path: Path = KEY_PATH, clock: BootClock | None = None) -> TokenMinter:
        """With the key in `path` (0600, created on first use; its public half beside it).

        Its `mint` starts a child process and waits for it: call it in a thread.
        """
        return cls(ChildSigner(path), clock)

    def mint(
        self,
        verdict: Verdict,
        *,
        kernel: KernelBuild,
        tunables: Mapping[str, Tunable] | None = None,
        scope: str = SCOPE_HOST,
        ttl_s: float = DEFAULT_TTL_S,
    ) -> str:
        """One token for the verdict's bytes on `kernel`, with `tunables` (the verdict's if None).

        `kernel` is the running one; it differs from the verdict's only where policy let a
        shipped verdict stand for it. TokenError: the verdict did not pass or was edited,
        tunables are outside what it covers, `ttl_s` is not within (0, 3600].
        """
        if not verdict.passed:
            raise _refused(TokenReason.NOT_PASSED, f"Verdict {verdict.id[:12]} did not pass")
        if verdict.id != verdict.content_id:
            raise _refused(
                TokenReason.NOT_PASSED,
                f"Verdict {verdict.id[:12]} does not match its own content",
                "make it again with `make verdicts` or reinstall the package",
            )
        chosen = dict(verdict.tunables) if tunables is None else dict(tunables)
        outside = verdict.uncovered(chosen)
        if outside:
            raise _refused(
                TokenReason.OTHER_TUNABLES,
                f"Verdict {verdict.id[:12]} does not cover {', '.join(outside)}",
                "keep tunables within the scheduler's declared ranges",
            )
        return self._signed(verdict, kernel, chosen, scope, ttl_s)

    def mint_program(
        self, verdict: Verdict, *, kernel: KernelBuild, mode: str, ttl_s: float = DEFAULT_TTL_S
    ) -> str:
        """One token to run the program that an external verdict names, in that mode.

        It loads no object, as the token of an object runs no program.
        """
        if verdict.origin is not VerdictOrigin.EXTERNAL or verdict.id != verdict.content_id:
            raise _refused(
                TokenReason.NOT_PASSED, f"Verdict {verdict.id[:12]} is not of an external scheduler"
            )
        bound = program_values(verdict.scheduler, mode)
        return self._signed(verdict, kernel, bound, SCOPE_PROGRAM, ttl_s)

    def _signed(
        self,
        verdict: Verdict,
        kernel: KernelBuild,
        values: Mapping[str, Tunable],
        scope: str,
        ttl_s: float,
    ) -> str:
        if not 0 < ttl_s <= MAX_TTL_S:
            raise _refused(
                TokenReason.EXPIRED, f"A token cannot live {ttl_s} s", "use 1 to 3600 seconds"
            )
        if not kernel.build_id:
            raise _refused(TokenReason.OTHER_KERNEL, "The kernel's build id is not known")
        payload = canonical_json(
            {
                "format": _FORMAT,
                "verdict": verdict.id,
                "object": verdict.object_sha256,
                "tunables": tunables_hash(values),
                "release": kernel.release,
                "build_id": kernel.build_id,
                "scope": scope,
                "boot": self._clock.boot_id(),
                "expires_ns": self._clock.now_ns() + int(ttl_s * 1e9),
                "nonce": secrets.token_hex(16),
            }
        )
        return f"{_encode(payload)}.{_encode(self._signer.sign(payload))}"


class TokenVerifier:
    """The scheduler host's side: refuses every token but an unused one for exactly this load."""

    def __init__(
        self, public_key: Ed25519PublicKey, nonces: Nonces, clock: BootClock | None = None
    ) -> None:
        self._key = public_key
        self._nonces = nonces
        self._clock = clock or BootClock()

    @classmethod
    def open(
        cls,
        key_path: Path = KEY_PATH,
        nonce_dir: Path = Path("/run/schedcp/nonces"),
        clock: BootClock | None = None,
    ) -> TokenVerifier:
        """With the public half beside `key_path` (`token.pub`); the private key is not read."""
        clock = clock or BootClock()
        return cls(load_public_key(key_path), Nonces(nonce_dir, clock.now_ns), clock)

    def check(
        self,
        token: str,
        *,
        sha256: str,
        tunables: Mapping[str, Tunable],
        kernel: KernelBuild,
        scope: str = SCOPE_HOST,
    ) -> None:
        """Returns only if this token allows loading these bytes so, here, now; it is then used up.

        `sha256`: hex digest of the object's bytes as read by the caller, who must load those
        very bytes. TokenError otherwise, `reason` says why; a refused token is not used up.
        """
        claims = self._claims(token)
        now = self._clock.now_ns()
        try:
            loading = tunables_hash(tunables)
        except (TypeError, ValueError) as error:
            raise _refused(
                TokenReason.OTHER_TUNABLES, f"Tunables are not numbers, booleans or text: {error}"
            ) from error
        for reason, sentence, wrong in (
            (
                TokenReason.OTHER_BYTES,
                f"Token is for object {claims['object'][:12]}, not {sha256[:12]}",
                claims["object"] != sha256,
            ),
            (
                TokenReason.OTHER_TUNABLES,
                "Token is for other values of tunables",
                claims["tunables"] != loading,
            ),
            (
                TokenReason.OTHER_KERNEL,
                f"Token is for kernel {claims['release']} (build {claims['build_id'][:12]}), "
                f"not {kernel.release} (build {kernel.build_id[:12]})",
                (claims["release"], claims["build_id"]) != (kernel.release, kernel.build_id),
            ),
            (
                TokenReason.OTHER_SCOPE,
                f"Token is for scope {claims['scope']!r}, not {scope!r}",
                claims["scope"] != scope,
            ),
            (
                TokenReason.OTHER_BOOT,
                "Token is of an earlier boot",
                claims["boot"] != self._clock.boot_id(),
            ),
            (
                TokenReason.EXPIRED,
                f"Token expired {(now - claims['expires_ns']) / 1e9:.1f} s ago",
                now >= claims["expires_ns"],
            ),
            (
                TokenReason.EXPIRED,
                "Token claims a longer life than any may have",
                claims["expires_ns"] - now > MAX_TTL_S * 1e9,
            ),
        ):
            if wrong:
                raise _refused(reason, sentence, "the daemon must mint a new one")
        try:
            fresh = self._nonces.use(claims["nonce"], claims["expires_ns"])
        except OSError as error:
            raise _refused(
                TokenReason.NONCE_STORE,
                f"Cannot record the token as used: {error}",
                "make /run/schedcp writable for the scheduler host",
            ) from error
        if not fresh:
            raise _refused(TokenReason.REPLAYED, "Token was used before")

    def _claims(self, token: str) -> dict[str, Any]:
        from cryptography.exceptions import InvalidSignature

        if len(token) > MAX_TOKEN_CHARS:
            raise _forged("it is too long")
        head, dot, tail = token.partition(".")
        payload, signature = _decode(head), _decode(tail)
        if not dot or payload is None or signature is None:
            raise _forged("it is not two base64url parts")
        try:
            self._key.verify(signature, payload)
        except InvalidSignature:
            raise _forged("its signature is not of this machine's key") from None
        try:
            claims = json.loads(payload)
        except ValueError:
            raise _forged("its payload is not JSON") from None
        if not isinstance(claims, dict) or claims.keys() != _FIELDS.keys():
            raise _forged("its fields are not those of a token")
        for name, kind in _FIELDS.items():
            if type(claims[name]) is not kind:
                raise _forged(f"its field {name} is not {kind.__name__}")
        if claims["format"] != _FORMAT or not _NONCE.match(claims["nonce"]):
            raise _forged("its format is not known")
        return claims


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes | None:
    """None unless `text` is the one spelling that `_encode` gives."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == text else None


def _refused(reason: TokenReason, sentence: str, hint: str = "") -> TokenError:
    return TokenError(sentence, reason=reason, hint=hint)


def _forged(why: str) -> TokenError:
    return _refused(TokenReason.FORGED, f"Not a token of this machine: {why}")
