# SPDX-License-Identifier: Apache-2.0
"""The schedulers and their host on a real kernel.

Each test of `intent` is one scenario of guest/intent_guest.py. Bounds are ratios and wide: under
TCG on a busy machine milliseconds mean little, but shares and orders hold.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.microvm import MicroVm, VmSpec
from schedcpd.model import ExitKind
from tests.vm.hosted import FAMILY, hosted, scenario, serves_a_mixed_load

SPEC = VmSpec(cores=2)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MicroVm]:
    async with hosted(SPEC, tmp_path_factory.mktemp("payload")) as vm:
        yield vm


async def test_load_live_change_unload(guest: MicroVm) -> None:
    seen = await scenario(guest, "load")
    assert seen["hello"]["protocol"] == 1
    assert seen["status"]["attached"]
    assert seen["loaded"]["state"] == "enabled"
    assert seen["loaded"]["ops"] == seen["status"]["ops_name"] == "schedcp_intent"
    # a task in a child cgroup has the parent's intent, and counts there
    assert seen["inherited"]["run_ns"] > 0.2e9
    assert seen["inherited"]["hist_sum"] == seen["inherited"]["runs"] > 0
    # the change of intent was a map write: no reload, and the running task moved at once
    assert seen["changed"] == seen["loaded"]
    before, soon, later = seen["run_ns"]
    assert later["latency"] - soon["latency"] > 0.3e9
    assert later["batch"] - soon["batch"] < 0.1e9
    assert soon["latency"] > before["latency"]
    assert seen["unloaded"]["attached"] is False
    assert seen["after"]["state"] == "disabled"
    # the host has a real-time priority and costs nothing while nothing happens
    assert seen["policy"] == 1
    assert seen["idle_ticks_in_6s"] <= 12  # 2% of a CPU of a busy TCG machine; usually none


async def test_refusals_change_nothing(guest: MicroVm) -> None:
    seen = await scenario(guest, "refusals")
    assert seen["no_token"]["code"] == "BadToken"
    assert seen["other_tunables"]["code"] == "BadToken"
    for name in ("wrong_bytes", "relative", "device", "bad_class", "bad_param"):
        assert seen[name]["code"] == "InvalidArgument", name
    assert seen["no_scheduler"]["code"] == "NotFound"
    assert seen["after"]["state"] == "disabled"
    assert seen["foreign"]["code"] == "ForeignScheduler"
    assert seen["foreign_after"] == seen["foreign_shown"]
    assert seen["foreign_after"]["state"] == "enabled"


async def test_latency_waits_less_than_batch(guest: MicroVm) -> None:
    seen = await scenario(guest, "latency")

    def mean_us(got: dict[str, Any]) -> float:
        return float(got["delay_ns"]) / got["runs"] / 1000

    assert seen["latency"]["runs"] > 100
    assert seen["batch"]["run_ns"] > 0.5e9 * seen["cpus"]  # and the hogs still work
    assert mean_us(seen["latency"]) * 4 < mean_us(seen["batch"])
    assert mean_us(seen["latency"]) * 4 < mean_us(seen["as_background"])
    assert seen["batch"]["preemptions"] > 50


async def test_cgroup_weights_are_respected(guest: MicroVm) -> None:
    seen = await scenario(guest, "weights")
    light, heavy = seen["flat"]
    assert 3 < heavy / light < 5.5, seen
    heavy, light = seen["swapped"]
    assert 3 < heavy / light < 5.5, seen


async def test_nobody_starves_beside_latency_hogs(guest: MicroVm) -> None:
    seen = await scenario(guest, "starvation")
    capacity_us = seen["seconds"] * 1e6 * seen["cpus"]
    assert seen["status"]["attached"]
    assert seen["hogs"]["usage_us"] > 0.5 * capacity_us
    assert seen["normal"]["usage_us"] > 0.05 * capacity_us
    for name in ("background", "pinned"):
        assert seen[name]["usage_us"] > 0.005 * capacity_us, (name, seen[name])
        assert seen[name]["max_us"] < 5e6


async def test_a_crowd_behind_hogs_all_runs(guest: MicroVm) -> None:
    seen = await scenario(guest, "crowd")
    assert seen["status"]["attached"]
    assert seen["never_ran"] == 0
    assert seen["hogs"]["run_ns"] > seen["crowd"]["run_ns"]


async def test_cpu_max_is_kept(guest: MicroVm) -> None:
    seen = await scenario(guest, "limits")
    assert seen["attached"]
    assert seen["events"] == []
    assert seen["alone"] == pytest.approx(0.3, rel=0.25), seen
    limited, other = seen["beside"]
    assert limited < 0.3 * 1.25, seen  # though its class goes before
    assert other > 0.7 * (seen["cpus"] - 0.3), seen  # what it may not use is not lost
    assert seen["raised"] == pytest.approx(0.6, rel=0.25), seen
    assert seen["unlimited"] > 0.7 * seen["cpus"], seen


async def test_the_default_returns_when_the_host_is_killed(guest: MicroVm) -> None:
    seen = await scenario(guest, "kill")
    assert seen["disabled_s"] < 5
    assert seen["again"]
    assert seen["stopped"]["state"] == "disabled"


async def test_sysrq_is_reported(guest: MicroVm) -> None:
    seen = await scenario(guest, "sysrq")
    assert seen["event"] == "ejected"
    assert seen["kind"] == ExitKind.SYSRQ
    assert seen["reason"]
    assert seen["after_s"] < 5
    assert seen["attached"] is False
    assert seen["status"]["last_exit"]["kind"] == ExitKind.SYSRQ
    assert seen["again"]


async def test_faults_are_reported_with_their_kind(guest: MicroVm) -> None:
    seen = await scenario(guest, "faults", timeout_s=300)
    assert seen["error"]["kind"] == ExitKind.ERROR_BPF
    assert "is not wanted here" in seen["error"]["message"]
    assert seen["stall"]["kind"] == ExitKind.ERROR_STALL
    assert seen["stall"]["message"]
    assert seen["stall"]["dump"]
    assert seen["init"]["code"] == "SchedulerHost"
    assert "init" in seen["init"]["message"]
    assert seen["after"]["state"] == "disabled"


async def test_live_tunables_change_without_a_reload(guest: MicroVm) -> None:
    seen = await scenario(guest, "retune")
    assert len({status["enable_seq"] for status in seen["statuses"]}) == 1
    assert [s["deployment_id"] for s in seen["statuses"]] == [
        "slice-50000", "slice-2000", "slice-50000",
    ]  # fmt: skip
    assert [s["tunables"]["batch_slice_us"] for s in seen["statuses"]] == [50_000, 2_000, 50_000]
    assert all(status["swap_gap_us"] == 0 for status in seen["statuses"])
    slow, fast, slow_again = seen["runs_a_second"]
    assert fast > 4 * slow, seen
    assert fast > 4 * slow_again, seen
    assert seen["counted_at_once"] < fast / 4  # counters begin anew


async def test_swap_and_a_refused_swap(guest: MicroVm) -> None:
    seen = await scenario(guest, "swap")
    assert seen["second"]["attached"]
    assert 0 < seen["second"]["swap_gap_us"] < 10e6
    assert seen["second"]["enable_seq"] > seen["first"]["enable_seq"]
    assert seen["second"]["tunables"]["default_class"] == 1
    assert seen["refused"]["code"] == "InvalidArgument"
    assert seen["still"] == seen["second"]


async def test_sixty_seconds_of_stress(guest: MicroVm) -> None:
    seen = await scenario(guest, "stress", timeout_s=400)
    assert seen["events"] == []
    assert seen["status"]["attached"]
    assert seen["shown"]["state"] == "enabled"
    assert seen["rounds"] >= 3  # how many depends on the machine under the VM
    for name in ("interactive", "normal", "batch"):
        assert seen["classes"][name]["runs"] > 0


@pytest.mark.parametrize("scheduler", FAMILY)
async def test_the_family_serves_a_mixed_load(guest: MicroVm, scheduler: str) -> None:
    await serves_a_mixed_load(guest, scheduler)
