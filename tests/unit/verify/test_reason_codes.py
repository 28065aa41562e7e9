# SPDX-License-Identifier: Apache-2.0
"""Every reason code that a check can give is in docs/verify.md, and the other way round."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[3]
PREFIXES = "source|compile|object|tunables|load|behaviour"
CODE = re.compile(rf'"((?:{PREFIXES})\.[a-z]{{2}}[a-z-]*)"')
DOCUMENTED = re.compile(rf"`((?:{PREFIXES})\.[a-z-]+)`")
MADE_UP = {"compile.time", "compile.memory", "compile.output"}  # by the limit that broke


def test_reason_codes_are_documented() -> None:
    used = set(MADE_UP)
    for path in (TOP / "schedcpd" / "verify").rglob("*.py"):
        used |= set(CODE.findall(path.read_text(encoding="utf-8")))
    documented = set(DOCUMENTED.findall((TOP / "docs/verify.md").read_text(encoding="utf-8")))
    assert used == documented
