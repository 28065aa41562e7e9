# SPDX-License-Identifier: Apache-2.0
"""Packs the probe, and what it imports, into one file that the guest's python3 runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

GUEST_DIR = "/run/schedcp-verify"
PROBE = f"{GUEST_DIR}/probe.pyz"

_PACKAGE = Path(__file__).parent.parent
_PARTS = ("__init__.py", "model/*.py", "errors.py", "host/*.py", "verify/__init__.py")
_PROBE_PARTS = "verify/probe/*.py"
_MAIN = "from schedcpd.verify.probe.__main__ import main\n\nmain()\n"


def probe_bundle() -> bytes:
    """A zip application (PEP 441) with the same bytes for the same sources."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        _add(bundle, "__main__.py", _MAIN.encode())
        for pattern in (*_PARTS, _PROBE_PARTS):
            for path in sorted(_PACKAGE.glob(pattern)):
                _add(bundle, f"schedcpd/{path.relative_to(_PACKAGE)}", path.read_bytes())
    return target.getvalue()


def _add(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    bundle.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
