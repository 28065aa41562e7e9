# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: one scheduler of the family, loaded by the host, under a mixed load.

python3 family_guest.py SCHEDULER   (with hosting.py beside it)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from hosting import CPUS, Cgroup, Host, cgroups, deltas, shown, wait_state

WARM_UP_S = 1.5
LOAD_S = 4.0


def _usages(groups: list[Cgroup]) -> list[int]:
    return [group.usage_us() for group in groups]


async def family(scheduler: str) -> dict[str, Any]:
    """Equal hogs in two cgroups, sleepers, one-off processes; then the default again."""
    async with Host.connected() as host:
        status = await host.load(scheduler)
        loaded = shown()
        with cgroups(one=100, other=100, sleepers=100) as (one, other, sleepers):
            intents = [[group.id, "normal"] for group in (one, other, sleepers)]
            await host.call("set_intents", set=intents, delete=[])
            one.spin(CPUS)
            other.spin(CPUS)
            sleepers.sleep_often(2, millis=10)
            await asyncio.sleep(WARM_UP_S)
            began, before = time.monotonic(), _usages([one, other])
            got = await deltas(host, [one, other, sleepers], LOAD_S)
            used = [b - a for a, b in zip(before, _usages([one, other]), strict=True)]
            seconds = time.monotonic() - began
            process = await asyncio.create_subprocess_exec("true")
            exit_code = await asyncio.wait_for(process.wait(), 20)
            under_load = await host.call("status")
        await host.call("unload", reason="done")
        wait_state("disabled", 10)
        return {
            "status": status,
            "loaded": loaded,
            "under_load": under_load,
            "cpus": CPUS,
            "seconds": seconds,
            "used_us": used,
            "sleepers": got[2],
            "forked": exit_code,
            "events": [name for _, name, _ in host.events],
            "after": shown(),
            "last_exit": (await host.call("status"))["last_exit"],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(family(sys.argv[1]))))
