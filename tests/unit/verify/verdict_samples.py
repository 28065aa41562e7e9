# SPDX-License-Identifier: Apache-2.0
"""Verdicts, candidates and a manifest for the tests of this room."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from schedcpd.host.manifest import Manifest, TunableSpec
from schedcpd.model import (
    Candidate,
    CandidateKind,
    CheckResult,
    CheckStatus,
    KernelBuild,
    Tunable,
    Verdict,
    VerdictOrigin,
)
from schedcpd.verify.verdict import REQUIRED, make_verdict

KERNEL = KernelBuild("7.3.4+deb13-cloud-amd64", "#1 SMP Debian 7.3.4-1", "ab" * 20)
OTHER_KERNEL = KernelBuild("7.2.1+deb13-cloud-amd64", "#1 SMP Debian 7.2.1-1", "cd" * 20)
BYTES = b"the bytes of an object"
SHA = hashlib.sha256(BYTES).hexdigest()
TUNABLES: dict[str, Tunable] = {"slice_us": 3000, "share": 0.5, "preempt": True}


def tunable(name: str, kind: str, default: Tunable, lo: Any, hi: Any) -> TunableSpec:
    return TunableSpec(name, kind, "", default, lo, hi, False, "A tunable.")


MANIFEST = Manifest(
    "toy",
    "toy",
    "A toy.",
    (),
    (),
    {
        "slice_us": tunable("slice_us", "int", 3000, 100, 20000),
        "share": tunable("share", "float", 0.5, 0, 1),
        "preempt": tunable("preempt", "bool", True, None, None),
    },
    "toy.manifest.yaml",
)


def results(failing: str = "") -> tuple[CheckResult, ...]:
    return tuple(
        CheckResult(name, CheckStatus.FAILED, f"{name}.bad", "It is bad.", "proof", "mend it", 1.5)
        if name == failing
        else CheckResult(name, CheckStatus.PASSED, "", "It is good.", seconds=0.25)
        for name in REQUIRED
    )


def verdict(failing: str = "", **changed: Any) -> Verdict:
    fields: dict[str, Any] = {
        "scheduler": "toy",
        "object_sha256": SHA,
        "tunables": TUNABLES,
        "ranges": {"slice_us": (100, 20000), "share": (0, 1), "preempt": (0, 1)},
        "kernel": KERNEL,
        "vm_image": "0123456789ab",
        "checks": results(failing),
        "made_unix_s": 1_800_000_000,
        "origin": VerdictOrigin.LOCAL,
    }
    return make_verdict(**{**fields, **changed})


def candidate(path: Path, **changed: Any) -> Candidate:
    made = Candidate(
        CandidateKind.RECONFIGURE, "toy-policy", "toy", str(path), SHA, TUNABLES, "for a test"
    )
    return replace(made, **changed)
