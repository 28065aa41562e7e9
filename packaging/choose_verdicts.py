# SPDX-License-Identifier: Apache-2.0
"""Copies the passing verdicts of exactly these BPF objects; fails when one has none.

    choose_verdicts.py OBJECTS VERDICTS OUT

A verdict binds the bytes of an object, so a verdict of an older build is of no use to this one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path


def main(objects: str, verdicts: str, out: str) -> int:
    Path(out).mkdir(parents=True, exist_ok=True)
    passing: dict[str, list[Path]] = {}
    for path in sorted(Path(verdicts).glob("*.json")):
        verdict = json.loads(path.read_text(encoding="utf-8"))
        if verdict["passed"]:
            passing.setdefault(verdict["object_sha256"], []).append(path)
    without = []
    for path in sorted(Path(objects).rglob("*.bpf.o")):
        found = passing.get(hashlib.sha256(path.read_bytes()).hexdigest(), [])
        for verdict_file in found:
            shutil.copy(verdict_file, out)
        if not found:
            without.append(path.name)
    if without:
        print(
            f"no passing verdict for {', '.join(without)}: run `make verdicts` first",
            file=sys.stderr,
        )
    return 1 if without else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
