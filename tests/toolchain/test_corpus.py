# SPDX-License-Identifier: Apache-2.0
"""The corpus through every check that needs no machine."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest

from schedcpd.model import CheckResult
from schedcpd.verify.check import Subject
from schedcpd.verify.checks.object import check_object
from schedcpd.verify.examination import compile_checked, static_checks
from schedcpd.verify.source.toolchain import Toolchain
from tests.corpus import (
    BAD,
    GOOD,
    TOP,
    WITHOUT_VM,
    Sample,
    compiled,
    first_failure,
    manifest,
    samples,
)

BAD_ONES, GOOD_ONES = samples(BAD), samples(GOOD)
SHIPPED = sorted((TOP / "bpf" / "schedulers").glob("*/*.bpf.c"))
CLASSES = 20  # of the table of failure classes


async def static(data: bytes, name: str, tools: Toolchain) -> tuple[CheckResult, ...]:
    subject = Subject(name, b"", manifest(name), {})
    made = await compile_checked(data, tools, subject, every=False)
    if made.subject is None:
        return made.checks
    report = await static_checks(made.subject, every=False)
    return (*made.checks, *(r for r in report if r.name == "object"))


@pytest.fixture(scope="session")
def examined(tools: Toolchain) -> dict[str, tuple[CheckResult, ...]]:
    """Every source of the corpus and every shipped one, as many at once as there are CPUs."""

    async def everything() -> dict[str, tuple[CheckResult, ...]]:
        free = asyncio.Semaphore(os.cpu_count() or 1)

        async def one(
            path: os.PathLike[str], data: bytes, name: str
        ) -> tuple[str, tuple[CheckResult, ...]]:
            async with free:
                return str(path), await static(data, name, tools)

        paths = [s.path for s in (*BAD_ONES, *GOOD_ONES)] + SHIPPED
        jobs = [one(p, p.read_bytes(), p.name.removesuffix(".bpf.c")) for p in paths]
        return dict(await asyncio.gather(*jobs))

    return asyncio.run(everything())


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(BAD_ONES) >= 40 and len(GOOD_ONES) >= 15
    numbers = Counter(sample.number for sample in BAD_ONES)
    assert {n for n in numbers if n is not None} == set(range(1, CLASSES + 1))
    for sample in BAD_ONES:
        assert sample.caught_by in {*WITHOUT_VM, "load", "behaviour"}, sample.path
        assert sample.reasons, sample.path
        assert all(r.startswith(f"{sample.caught_by}.") for r in sample.reasons), sample.path


@pytest.mark.parametrize(
    "sample", [s for s in BAD_ONES if s.caught_by in WITHOUT_VM], ids=lambda s: s.name
)
def test_a_bad_source_is_refused(
    sample: Sample, examined: dict[str, tuple[CheckResult, ...]]
) -> None:
    failed = first_failure(examined[str(sample.path)])
    assert failed is not None, examined[str(sample.path)]
    assert failed.name == sample.caught_by, failed
    assert failed.reason in sample.reasons, failed
    assert failed.sentence
    assert failed.hint or failed.evidence, "a model must be able to act on it"


@pytest.mark.parametrize(
    "sample", [s for s in BAD_ONES if s.caught_by not in WITHOUT_VM], ids=lambda s: s.name
)
def test_what_only_running_shows_is_left_to_the_machine(
    sample: Sample, examined: dict[str, tuple[CheckResult, ...]]
) -> None:
    assert first_failure(examined[str(sample.path)]) is None


@pytest.mark.parametrize("path", [s.path for s in GOOD_ONES] + SHIPPED, ids=lambda p: p.name)
def test_a_good_source_passes(path: object, examined: dict[str, tuple[CheckResult, ...]]) -> None:
    checks = examined[str(path)]
    assert [c.name for c in checks] == ["source", "compile", "object"]
    assert first_failure(checks) is None, checks


@pytest.mark.parametrize(
    "sample", [s for s in BAD_ONES if s.as_object == "object"], ids=lambda s: s.name
)
async def test_its_object_alone_is_refused_too(sample: Sample, tools: Toolchain) -> None:
    subject = await compiled(sample, tools)
    report = check_object(subject.data)
    assert report.findings and report.findings[0].reason in sample.object_reasons
