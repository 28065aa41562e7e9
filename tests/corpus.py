# SPDX-License-Identifier: Apache-2.0
"""The corpus of bad and good schedulers: what each is, and what it is compiled with."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from schedcpd.host.manifest import Manifest
from schedcpd.model import CheckResult, CheckStatus
from schedcpd.toolchains import toolchain
from schedcpd.verify.check import Subject
from schedcpd.verify.checks.compile import compile_source
from schedcpd.verify.source.toolchain import Toolchain

TOP = Path(__file__).parents[1]
BAD = TOP / "tests" / "bad_schedulers"
GOOD = TOP / "tests" / "good_schedulers"
HEADERS = (BAD / "include", TOP / "bpf" / "include")
WITHOUT_VM = frozenset({"source", "compile", "object"})
NOTES = re.compile(r"^ \* (class|caught-by|reason|as-object|as-object-reason): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One scheduler. `caught_by` names the first check that must fail, from the source on;
    `as_object` the one that must when only the compiled object is given."""

    path: Path
    kind: str
    caught_by: str
    reasons: frozenset[str]  # one of them
    as_object: str
    object_reasons: frozenset[str]

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".bpf.c")

    @property
    def number(self) -> int | None:
        """Of its class in the table of failure classes; None beyond it."""
        found = re.match(r"\d+", self.kind)
        return int(found[0]) if found else None

    @classmethod
    def of(cls, path: Path) -> Sample:
        notes = dict(NOTES.findall(path.read_text(encoding="utf-8")))
        caught, reasons = notes.get("caught-by", ""), _reasons(notes.get("reason", ""))
        later = caught not in ("source", "compile")
        return cls(
            path,
            notes["class"],
            caught,
            reasons,
            notes.get("as-object", caught if later else ""),
            _reasons(notes.get("as-object-reason", "")) or (reasons if later else frozenset()),
        )


def _reasons(text: str) -> frozenset[str]:
    return frozenset(text.split(" or ")) if text else frozenset()


def samples(directory: Path) -> list[Sample]:
    return [Sample.of(path) for path in sorted(directory.glob("*.bpf.c"))]


def manifest(name: str) -> Manifest:
    return Manifest(name, name, "One of the corpus.", (), (), {}, "")


def tools() -> Toolchain:
    """The builder's compiler and the types of the micro-VM's kernel, made if absent."""
    subprocess.run([TOP / "tools/builder", "make"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([TOP / "tools/kernel", "--vmlinux-h"], check=True, stdout=subprocess.DEVNULL)
    return asyncio.run(toolchain(HEADERS, print))


async def compiled(sample: Sample, tools: Toolchain) -> Subject:
    """The object of a sample, as someone would hand it in without its source."""
    made = await compile_source(sample.path.read_bytes(), sample.name, tools)
    assert made.data, made.report
    return Subject(sample.name, made.data, manifest(sample.name), {})


def first_failure(checks: tuple[CheckResult, ...]) -> CheckResult | None:
    return next((c for c in checks if c.status is CheckStatus.FAILED), None)
