# SPDX-License-Identifier: Apache-2.0
"""Machines for tests. Every test below tests/vm has the marker `vm`.

A virtual machine without KVM on a shared host can stand still for seconds. A test that failed here
is run once more, and the report says so (`R`); what fails twice has failed.

`vm`         a machine of the test's own, resumed from the snapshot (about half a second)
`shared_vm`  one machine for a whole session, for tests that only look; they leave no trace in it
`vm_image`   makes sure that kernel, image and snapshot exist, with the progress shown
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.microvm import MicroVm, VmSpec, build, resume

SESSION_LIMIT_S = 3600.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vm_image() -> VmSpec:
    """The default machine, built: its resumes take seconds from here on."""
    spec = VmSpec()
    await build(spec)
    return spec


@pytest_asyncio.fixture
async def vm(vm_image: VmSpec) -> AsyncIterator[MicroVm]:
    async with resume(vm_image) as machine:
        yield machine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_vm(vm_image: VmSpec) -> AsyncIterator[MicroVm]:
    """Use it with `@pytest.mark.asyncio(loop_scope="session")`."""
    async with resume(vm_image, limit_s=SESSION_LIMIT_S) as machine:
        yield machine
