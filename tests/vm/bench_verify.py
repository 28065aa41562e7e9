# SPDX-License-Identifier: Apache-2.0
"""How long verdicts take: `tools/bench-verify`. --json prints every figure.

From a source to its behaviour, cold, by `schedctl verify` as a person runs it; a verdict that is
known, by the daemon's gate; policies, by `schedctl verify`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedcpd.model import (
    Candidate,
    CandidateKind,
    CheckResult,
    CheckStatus,
    KernelBuild,
    Verdict,
    VerdictOrigin,
)
from schedcpd.verify.gate import Gate
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verdict import REQUIRED, make_verdict

TOP = Path(__file__).parents[2]
SOURCES = ("tests/good_schedulers/vtime.bpf.c", "bpf/schedulers/intent/intent.bpf.c")
POLICIES = "policies.d/10-intent.yaml"
GOALS = {"source_s": 60.0, "cached_ms": 50.0, "policy_s": 1.0}
KERNEL = KernelBuild("7.3.4", "#1", "ab" * 20)


@dataclass
class NoMaker:
    """A cached verdict needs none."""

    async def unavailable(self, kernel: KernelBuild) -> str:
        raise AssertionError("the verdict was not found in the store")

    async def make(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        raise AssertionError("the verdict was not found in the store")


def examined(file: str, clock: str = "wall") -> tuple[dict[str, Any], float]:
    """What `schedctl verify` said, and the wall-clock seconds it took, interpreters and all."""
    argv = [sys.executable, "-m", "schedctl", "verify", file, "--json", "--clock", clock]
    argv += ["-I", "tests/bad_schedulers/include", "-I", "bpf/include"]
    began = time.monotonic()
    done = subprocess.run(argv, cwd=TOP, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"{file} did not pass ({done.returncode}):\n{done.stdout[-2000:]}")
    return json.loads(done.stdout)["verify"], seconds


def source(file: str, clock: str) -> dict[str, Any]:
    found, seconds = examined(file, clock)
    checks = {check["name"]: check["seconds"] for check in found["checks"]}
    return {"file": file, "seconds": round(seconds, 1), "checks": checks}


def policies(times: int) -> list[float]:
    return [round(examined(POLICIES)[1], 3) for _ in range(times)]


async def cached(folder: Path, times: int) -> list[float]:
    """Milliseconds of the gate's answer for an object it knows, its bytes read and hashed anew."""
    path = folder / "big.bpf.o"
    path.write_bytes(os.urandom(1 << 20))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    store = VerdictStore(folder, folder)
    long = "x" * 20_000  # as much evidence as a check may keep
    store.save(
        make_verdict(
            scheduler="big",
            object_sha256=sha256,
            tunables={},
            ranges={},
            kernel=KERNEL,
            vm_image="none",
            checks=[CheckResult(n, CheckStatus.PASSED, "", "It holds.", long) for n in REQUIRED],
            made_unix_s=1,
            origin=VerdictOrigin.LOCAL,
        )
    )
    gate = Gate(store, NoMaker(), require_local_verdict=True)
    candidate = Candidate(
        CandidateKind.RECONFIGURE, "big", "big", str(path), sha256, {}, "for a figure"
    )
    found = []
    for _ in range(times):
        began = time.monotonic()
        await gate.admit(candidate, KERNEL)
        found.append(round((time.monotonic() - began) * 1000, 2))
    return found


def main() -> int:
    options = argparse.ArgumentParser(prog="bench-verify", description=__doc__)
    options.add_argument("--json", action="store_true", help="every figure")
    options.add_argument("--no-vm", action="store_true", help="only what needs no micro-VM")
    options.add_argument("--clock", choices=["wall", "virtual"], default="wall")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known = asyncio.run(cached(Path(folder), 50))
    figures: dict[str, Any] = {
        "goals": GOALS,
        "load": os.getloadavg()[0],
        "clock": given.clock,
        "cached_ms": known,
        "policy_s": policies(5),
        "sources": [] if given.no_vm else [source(file, given.clock) for file in SOURCES],
    }
    if given.json:
        print(json.dumps(figures, indent=1))
        return 0
    print("| figure | goal | measured |\n|---|---|---|")
    for one in figures["sources"]:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in one["checks"].items())
        print(f"| {one['file']}, to behaviour | at most 60 s | {one['seconds']:.0f} s ({parts}) |")
    median = statistics.median
    print(f"| known verdict | at most 50 ms | {median(known):.1f} ms, worst {max(known):.1f} |")
    took = figures["policy_s"]
    print(f"| {POLICIES} | at most 1 s | {median(took):.2f} s, worst {max(took):.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
