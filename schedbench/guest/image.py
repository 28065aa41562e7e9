# SPDX-License-Identifier: Apache-2.0
"""The benchmark's image: the micro-VM's own, and the Debian packages of all workloads."""

from __future__ import annotations

from schedbench import workload
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.image import Extra, Image, build_image, cached_image

# Services that a workload starts by itself, in its own part.
DISABLED = ("redis-server.service",)


def extra() -> Extra:
    """What the image has beyond the common one: the same for any choice of workloads."""
    packages = {name for one in workload.load_all().values() for name in one.packages}
    return Extra(packages=tuple(sorted(packages)), disabled=DISABLED)


async def bench_image(progress: Progress) -> Image:
    """The image; `VmSpec(image=...)` takes its `disk`. Made at the first use, about two minutes.

    Raises MicroVmError or ProcessError with the tool's last words.
    """
    return await build_image(progress, extra=extra())


def cached_bench_image() -> Image | None:
    """The image if the cache has it."""
    return cached_image(extra())
