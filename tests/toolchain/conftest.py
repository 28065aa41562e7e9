# SPDX-License-Identifier: Apache-2.0
"""Tests with a real compiler in its sandbox: they need the builder chroot, but no machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd.verify.source.toolchain import Toolchain
from tests import corpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.toolchain)


@pytest.fixture(scope="session")
def tools() -> Toolchain:
    return corpus.tools()
