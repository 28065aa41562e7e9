# SPDX-License-Identifier: Apache-2.0
"""Runs the real BusService on the guest's system bus over a `Control` without a kernel.

Prints every change that got through, one a line, and "ready" at first.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_control import FakeControl

from schedcpd.bus.service import BusService


class Loud(FakeControl):
    def _record(self, *call: str) -> None:
        super()._record(*call)
        print(*call, flush=True)


async def main() -> None:
    service = BusService(Loud("nginx.service", "build.service"))
    await service.start()
    assert service.connected
    print("ready", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await service.stop()


asyncio.run(main())
