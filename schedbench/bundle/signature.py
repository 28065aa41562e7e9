# SPDX-License-Identifier: Apache-2.0
"""Signatures by the stock `ssh-keygen -Y` (OpenSSH, PROTOCOL.sshsig), over `manifest.json`.

A signature says who vouches for the bytes, not that the run was honest.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from schedbench.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from schedbench.errors import BenchError
from schedcpd.host import process

NAMESPACE = "schedbench@schedcp"
TIMEOUT_S = 60.0
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
_WIDTH = 70  # ssh-keygen's
_KEY = re.compile(r"with (\S+ key \S+)")


async def sign(bundle: Path, key: Path) -> None:
    """Signs with a private key, or with a public key whose private one the SSH agent holds.

    Raises BenchError with ssh-keygen's words, or where there is a signature already.
    """
    if (bundle / SIGNATURE_FILE).exists():
        raise BenchError(f"{bundle / SIGNATURE_FILE}: exists", hint="a bundle is signed once")
    argv = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]
    done = await process.run([*argv, bundle / MANIFEST_FILE], timeout_s=TIMEOUT_S)
    if not done.ok or not (bundle / SIGNATURE_FILE).exists():
        raise BenchError(f"cannot sign with {key}: {_words(done)}")


async def signer(bundle: Path, allowed_signers: Path) -> str:
    """The principal who signed it, as the allowed signers file calls them.

    Raises BenchError if the signature is not good, or not of one of them.
    """
    data = _canonical(bundle)
    ask = ["ssh-keygen", "-Y", "find-principals", "-s", str(bundle / SIGNATURE_FILE)]
    found = await process.run([*ask, "-f", allowed_signers], timeout_s=TIMEOUT_S)
    if not found.ok or not found.text.strip():
        whose = await key_of(bundle)
        raise BenchError(
            f"{SIGNATURE_FILE}: was made by {whose}, which {allowed_signers} does not list",
            hint="list it only if you trust it: ssh-keygen(1), ALLOWED SIGNERS",
        )
    who = found.text.splitlines()[0].split(",")[0]
    argv = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", who, "-f", str(allowed_signers)]
    done = await process.run(
        [*argv, "-s", bundle / SIGNATURE_FILE], timeout_s=TIMEOUT_S, stdin=data
    )
    if not done.ok:
        raise BenchError(f"{SIGNATURE_FILE}: does not fit {MANIFEST_FILE}: {_words(done)}")
    return who


async def key_of(bundle: Path) -> str:
    """The kind and fingerprint of the key that signed it, whoever's that is.

    Raises BenchError if the signature does not fit the manifest.
    """
    data = _canonical(bundle)
    argv = [
        "ssh-keygen",
        "-Y",
        "check-novalidate",
        "-n",
        NAMESPACE,
        "-s",
        str(bundle / SIGNATURE_FILE),
    ]
    done = await process.run(argv, timeout_s=TIMEOUT_S, stdin=data)
    match = _KEY.search(done.text)
    if not done.ok or match is None:
        raise BenchError(f"{SIGNATURE_FILE}: does not fit {MANIFEST_FILE}: {_words(done)}")
    return match[1]


def _canonical(bundle: Path) -> bytes:
    """The manifest's bytes, once the signature is seen to be armoured just as ssh-keygen does:
    its parser would forgive other line ends and stray bits."""
    try:
        text = (bundle / SIGNATURE_FILE).read_bytes().decode("ascii")  # line ends as they are
        data = (bundle / MANIFEST_FILE).read_bytes()
    except (OSError, ValueError) as error:
        raise BenchError(f"{SIGNATURE_FILE}: cannot be read: {error}") from None
    inside = text.removeprefix(_BEGIN).removesuffix(_END)
    try:
        body = base64.b64encode(base64.b64decode(inside.replace("\n", ""), validate=True)).decode()
    except binascii.Error as error:
        raise BenchError(f"{SIGNATURE_FILE}: is no signature: {error}") from None
    lines = [body[at : at + _WIDTH] + "\n" for at in range(0, len(body), _WIDTH)]
    if text != _BEGIN + "".join(lines) + _END:
        raise BenchError(f"{SIGNATURE_FILE}: is not written as ssh-keygen writes it")
    return data


def _words(done: process.ProcessResult) -> str:
    return " ".join((done.stderr + done.stdout).decode("utf-8", "replace").split()) or "no output"
