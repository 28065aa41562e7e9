# SPDX-License-Identifier: Apache-2.0
import asyncio,sys
from schedcpd.microvm import kernel
from schedcpd.microvm.cache import stderr_progress
async def main():
    k = await kernel.backports_kernel(stderr_progress())
    print({"--release": k.release, "--vmlinux": await kernel.vmlinux(k)}[sys.argv[2]])
asyncio.run(main())
