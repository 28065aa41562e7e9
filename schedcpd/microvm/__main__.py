# SPDX-License-Identifier: Apache-2.0
"""The micro-VM by hand.

python -m schedcpd.microvm build                  kernel, image and snapshot
python -m schedcpd.microvm run [-- ] CMD...       one command in a resumed machine
python -m schedcpd.microvm shell                  a root shell on its console (Ctrl-A X ends)
python -m schedcpd.microvm kernel --release|--vmlinux
python -m schedcpd.microvm info                   what is cached, which accelerator
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import termios
from pathlib import Path

from schedcpd.errors import SchedcpError
from schedcpd.microvm import VmSpec, boot, build, debian, image, kernel, qemu, resume
from schedcpd.microvm.cache import cache_dir, stderr_progress

SHELL_LIMIT_S = 12 * 3600.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m schedcpd.microvm", description="A micro-VM with a sched_ext kernel."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_ in (
        ("build", "make kernel, image and snapshot"),
        ("run", "run a command in a resumed machine"),
        ("shell", "a root shell on the console of a resumed machine"),
    ):
        sub = commands.add_parser(name, help=help_)
        sub.add_argument("--cores", type=int, default=4)
        sub.add_argument("--sockets", type=int, default=1)
        sub.add_argument("--dies", type=int, default=1)
        sub.add_argument("--threads", type=int, default=1, help="per core")
        sub.add_argument("--numa-nodes", type=int, default=1)
        sub.add_argument("--memory-mib", type=int, default=1024)
        sub.add_argument(
            "--kernel",
            metavar="backports|stable|SERIES",
            default="backports",
            help="stable: trixie's own, without sched_ext; a series: an older one, such as 6.18 "
            "(6.12: after tools/build-kernel)",
        )
        if name == "run":
            sub.add_argument("--cold", action="store_true", help="boot instead of resuming")
            sub.add_argument("--timeout", type=float, default=300.0, metavar="S")
            sub.add_argument("--put", action="append", default=[], metavar="LOCAL:GUEST")
            sub.add_argument("--get", action="append", default=[], metavar="GUEST:LOCAL")
            sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    sub = commands.add_parser("kernel", help="the sched_ext kernel in the cache")
    sub.add_argument("--refresh", action="store_true", help="ask the archive for a newer one")
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument("--release", action="store_true")
    what.add_argument("--vmlinux", action="store_true", help="path of the ELF with BTF")
    sub = commands.add_parser("apt", help="where this machine gets Debian from (for the tools)")
    sub.add_argument("argv", nargs=argparse.REMAINDER)
    commands.add_parser("info", help="what is cached")
    return parser


async def _spec(args: argparse.Namespace) -> VmSpec:
    other = None
    if args.kernel == "stable":
        other = await kernel.stable_kernel(stderr_progress())
    elif args.kernel != "backports":
        other = await kernel.series_kernel(args.kernel, stderr_progress())
    return VmSpec(
        sockets=args.sockets,
        dies=args.dies,
        cores=args.cores,
        threads=args.threads,
        numa_nodes=args.numa_nodes,
        memory_mib=args.memory_mib,
        kernel=other,
    )


async def _run(args: argparse.Namespace) -> int:
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        print("run: no command", file=sys.stderr)
        return 2
    start = boot if args.cold else resume
    async with start(await _spec(args), limit_s=args.timeout + 600) as vm:
        for pair in args.put:
            local, _, guest = pair.partition(":")
            await vm.put(Path(local), guest)
        result = await vm.run(argv, timeout_s=args.timeout)
        sys.stdout.buffer.write(result.stdout)
        sys.stderr.buffer.write(result.stderr)
        for pair in args.get:
            guest, _, local = pair.partition(":")
            await vm.get(guest, Path(local))
    if result.timed_out:
        print(f"killed after {args.timeout:.0f} s", file=sys.stderr)
        return 124
    return result.exit_code if result.exit_code >= 0 else 128 - result.exit_code


async def _shell(args: argparse.Namespace) -> int:
    await build(await _spec(args))
    saved = termios.tcgetattr(0) if sys.stdin.isatty() else None
    print("A root shell in the micro-VM; press Enter for its prompt, Ctrl-A X to end.", flush=True)
    try:
        async with resume(await _spec(args), limit_s=SHELL_LIMIT_S, interactive=True) as vm:
            await vm.ended()
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
    return 0


async def _info() -> int:
    found, built, tried = (
        kernel.cached_kernel(),
        image.cached_image(),
        qemu.remembered_accelerator(),
    )
    folder = cache_dir()
    rows = {
        "cache": str(folder),
        "qemu": await qemu.version(),
        "accelerator": tried.get("accelerator", "not tried yet"),
        "kvm": tried.get("kvm", "not tried yet"),
        "kernel": found.release if found else "not fetched yet",
        "image": built.id if built else "not built yet",
        "snapshots": str(len(list(folder.glob("snapshot/*/state")))),
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
    return 0


async def _main(args: argparse.Namespace) -> int:
    match args.command:
        case "build":
            await build(await _spec(args))
            return 0
        case "run":
            return await _run(args)
        case "shell":
            return await _shell(args)
        case "info":
            return await _info()
        case "apt":
            return await debian.main(args.argv)
        case "kernel":
            found = await kernel.backports_kernel(stderr_progress(), refresh=args.refresh)
            print(found.release if args.release else await kernel.vmlinux(found))
            return 0
        case _:
            return 2


def main() -> int:
    args = _parser().parse_args()
    try:
        return asyncio.run(_main(args))
    except SchedcpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
