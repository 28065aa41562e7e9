# SPDX-License-Identifier: Apache-2.0
"""The policy repository inside the running pipeline: what is remembered decides what is chosen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.errors import InvalidArgumentError, NotFoundError, VerifyError
from schedcpd.model import DaemonState, IntentClass, KernelBuild, RecordKind, Verdict, VerdictOrigin

from .test_pipeline import Daemon

AGENTS = """\
version: 1
author: agent
policies:
  - name: clever
    description: written by a model for request servers
    extends: other
    priority: 90
    slo: {latency: {delay_p99_us: 1}}
"""


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    await daemon.stop()


async def runs(daemon: Daemon, policy: str) -> None:
    await daemon.until(lambda: daemon.pipeline.status().policy == policy)


async def test_a_retired_policy_gives_way_and_says_why(daemon: Daemon) -> None:
    await daemon.active()
    catalogue = daemon.pipeline.catalogue
    after = await catalogue.retire("toy-server", actor="uid 0", reason="slow here")
    assert after["standing"] == "retired"
    await runs(daemon, "other")
    found = await daemon.pipeline.explain("")
    rejected = {each["policy"]: each["why_not"] for each in found["candidate"]["rejected"]}  # type: ignore[index]
    assert rejected["toy-server"] == "was retired by uid 0: slow here"
    (record,) = daemon.pipeline.history(kind=RecordKind.OPERATOR)
    assert record.summary == "uid 0 asked for retire of toy-server: slow here"
    await catalogue.promote("toy-server", actor="uid 0", reason="")
    await runs(daemon, "toy-server")
    told = (await catalogue.history("toy-server", 10))["events"]
    assert [event["action"] for event in told] == ["promoted", "retired", "added"]  # type: ignore[attr-defined]


async def test_an_agents_policy_waits_for_a_promotion(daemon: Daemon) -> None:
    (daemon.policies / "20-clever.yaml").write_text(AGENTS)
    daemon.new_life()
    await daemon.active()
    assert daemon.pipeline.status().policy == "toy-server"
    standing = {each["name"]: each["standing"] for each in daemon.pipeline.policies()}
    assert standing == {
        "kernel-default": "in-force",
        "toy-server": "in-force",
        "other": "in-force",
        "clever": "trial",
    }
    shown = await daemon.pipeline.catalogue.show("clever")
    assert shown["not_chosen"] == "was written by an agent and is not promoted"
    await daemon.pipeline.catalogue.promote("clever", actor="uid 0", reason="read it")
    await runs(daemon, "clever")
    # another content is another policy
    (daemon.policies / "20-clever.yaml").write_text(AGENTS.replace("priority: 90", "priority: 91"))
    await daemon.pipeline.reload(actor="uid 0")
    await runs(daemon, "toy-server")
    (changed, *_) = (await daemon.pipeline.catalogue.history("clever", 1))["events"]  # type: ignore[misc]
    assert (changed["action"], changed["actor"]) == ("changed", "shipped (agent)")


async def test_how_a_policy_did_is_kept_and_found_again(daemon: Daemon) -> None:
    (daemon.policies / "20-clever.yaml").write_text(AGENTS)
    daemon.new_life()
    await daemon.active()
    catalogue = daemon.pipeline.catalogue
    await daemon.pipeline.apply("clever", actor="uid 0")  # by hand it may run
    await daemon.pipeline.rollback(actor="uid 0", reason="slow")
    library = daemon.pipeline.catalogue._library
    await daemon.until(lambda: len(library.trials("", 9)) == 2)
    bad, good = library.trials("", 9)
    assert (good.policy, good.kind, good.did_well) == ("toy-server", "replaced", True)
    assert (bad.policy, bad.setback, bad.measures["latency_runs"]) == ("clever", True, 2)
    assert [shape.executable for shape in good.workloads] == ["nginx"]
    found = await catalogue.search(words="", intent=None, workload="nginx", here=False, limit=9)
    assert [each["name"] for each in found] == ["toy-server", "other", "clever"]
    assert found[0]["score"] == 1.0 and found[2]["score"] == -1.0
    by_words = await catalogue.search(
        words="model", intent=IntentClass.LATENCY, workload="", here=True, limit=9
    )
    assert [each["name"] for each in by_words] == ["clever"]
    nothing = await catalogue.search(
        words="", intent=IntentClass.BACKGROUND, workload="", here=False, limit=9
    )
    assert nothing == []
    with pytest.raises(NotFoundError):
        await catalogue.search(words="", intent=None, workload="absent", here=False, limit=9)
    json.dumps([dict(each) for each in found])  # JSON types only


async def test_decisions_outlive_the_daemon(daemon: Daemon) -> None:
    await daemon.active()
    await daemon.pipeline.catalogue.retire("toy-server", actor="uid 0", reason="")
    await runs(daemon, "other")
    await daemon.stop()
    daemon.new_life()
    await daemon.start()
    standing = {each["name"]: each["standing"] for each in daemon.pipeline.policies()}
    assert standing["toy-server"] == "retired"
    told = await daemon.pipeline.catalogue.history("", 50)
    added = [each["policy"] for each in told["events"] if each["action"] == "added"]  # type: ignore[attr-defined]
    assert sorted(added) == ["kernel-default", "other", "toy-server"]  # once each


async def test_who_verified_it_on_which_kernels(daemon: Daemon) -> None:
    kernel = KernelBuild("7.3.4", "v", "b")
    daemon.verdicts.append(
        Verdict(
            "id",
            True,
            "toy",
            "aa",
            {"slice_us": 5},
            kernel,
            "vm",
            (),
            7,
            VerdictOrigin.SHIPPED,
            "0.1",
        )
    )
    await daemon.active()
    shown = await daemon.pipeline.catalogue.show("toy-server")
    (verdict,) = shown["verdicts"]  # type: ignore[misc]
    assert (verdict["kernel"], verdict["by"], verdict["covers"]) == ("7.3.4", "shipped", False)

    def broken(scheduler: str, sha256: str) -> list[Verdict]:
        raise VerifyError(f"the verdict of {scheduler} is broken")

    daemon.pipeline.catalogue._verdicts = broken
    shown = await daemon.pipeline.catalogue.show("toy-server")
    assert shown["verdicts"] == [] and "is broken" in str(shown["verdicts_trouble"])


async def test_what_cannot_be_decided_is_refused(daemon: Daemon) -> None:
    await daemon.active()
    catalogue = daemon.pipeline.catalogue
    with pytest.raises(InvalidArgumentError):
        await catalogue.retire("kernel-default", actor="uid 0", reason="")
    for ask in (catalogue.promote, catalogue.retire):
        with pytest.raises(NotFoundError, match="there is no policy toy"):
            await ask("toy", actor="uid 0", reason="")
    with pytest.raises(NotFoundError):
        await catalogue.history("toy", 5)
    assert daemon.pipeline.history(kind=RecordKind.OPERATOR) == ()


async def test_a_broken_store_costs_memory_not_the_daemon(daemon: Daemon) -> None:
    daemon.new_life()
    (daemon.base / "policies.sqlite").mkdir()
    await daemon.active()
    assert daemon.pipeline.status().state is DaemonState.ACTIVE
    notes = [record.summary for record in daemon.pipeline.history(kind=RecordKind.NOTE)]
    assert any("policies.sqlite cannot be used" in note for note in notes)
    found = await daemon.pipeline.catalogue.search(
        words="", intent=None, workload="nginx", here=False, limit=9
    )
    assert [each["name"] for each in found] == ["toy-server", "other"]
