# SPDX-License-Identifier: Apache-2.0
"""The daemon itself, but looking for the kernel's word below another root: see bench_native."""

from __future__ import annotations

# isort: off
import schedcpd.host.lean  # noqa: F401 - as in schedcpd.__main__

# isort: on
import asyncio
import sys
from pathlib import Path

from schedcpd.__main__ import build, load_settings
from schedcpd.host import journal

if __name__ == "__main__":
    file, bus, root = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    journal.set_up("warning")
    asyncio.run(build(load_settings(file, True, None), file, True, bus, root).run())
