# SPDX-License-Identifier: Apache-2.0
"""The scheduler family on older sched_ext kernels: trixie-backports', and a 6.12 built here.

Opt-in, for each series is a kernel to fetch (6.12: to build, tools/build-kernel) and a machine to
boot: `make kernels`, or SCHEDCP_KERNELS="6.12 6.17" with pytest. The newest kernel is what all
other tests run on.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.host.scheduler import losses
from schedcpd.microvm import MicroVm, VmSpec, build, series_kernel
from schedcpd.microvm.cache import stderr_progress
from tests.vm.hosted import FAMILY, hosted, serves_a_mixed_load
from tests.vm.installed import installed

SERIES = os.environ.get("SCHEDCP_KERNELS", "").split()

# What the oldest kernel lacks of what schedulers ask for, and of what one of them asks for alone.
OLDEST = "6.12"
LACKS = {"cgroup_set_idle", "SCX_OPS_ENQ_MIGRATION_DISABLED", "SCX_OPS_ALLOW_QUEUED_WAKEUP"}
LACKS_ALONE = {"intent": {"cgroup_set_bandwidth"}}

Guest = tuple[str, MicroVm]  # series and machine

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not SERIES, reason="SCHEDCP_KERNELS is not set (make kernels)"),
]


@pytest.mark.parametrize("series", SERIES)
async def test_the_daemon_runs_and_tells_what_is_lost(series: str, tmp_path: Path) -> None:
    kernel = await series_kernel(series, stderr_progress())
    spec = VmSpec(cores=2, kernel=kernel)
    await build(spec)
    async with installed(spec, tmp_path) as machine:
        told = json.loads(await machine.sh("schedctl explain --json"))["explain"]
        without = told["deployment"]["without"]
        shown = await machine.sh("schedctl explain")
        assert [line for line in without if line not in shown] == []
        if series == OLDEST:
            assert set(without) == set(losses(LACKS | LACKS_ALONE["intent"]))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SERIES)
async def guest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Guest]:
    kernel = await series_kernel(request.param, stderr_progress())
    spec = VmSpec(cores=2, kernel=kernel)
    async with hosted(spec, tmp_path_factory.mktemp("payload")) as vm:
        seen = (await vm.run(["uname", "-r"], timeout_s=30)).check().text.strip()
        assert seen == kernel.release
        yield request.param, vm


@pytest.mark.parametrize("scheduler", FAMILY)
async def test_the_family_loads_and_serves(guest: Guest, scheduler: str) -> None:
    series, vm = guest
    seen = await serves_a_mixed_load(vm, scheduler)
    if series == OLDEST:
        told = losses(LACKS | LACKS_ALONE.get(scheduler, set()))
        assert set(seen["status"]["without"]) == set(told)
