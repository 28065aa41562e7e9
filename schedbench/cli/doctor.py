# SPDX-License-Identifier: Apache-2.0
"""`schedbench doctor`: can this machine measure, and how well? Each finding comes with its fix."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from schedbench import profiles, suites
from schedbench.cli import Commands, Exit, Output, command, table
from schedbench.evaluate.stats import most_tests
from schedbench.guest.image import cached_bench_image
from schedbench.vclock import qemu as vclock_qemu
from schedcpd.errors import SchedcpError
from schedcpd.microvm import kernel, qemu
from schedcpd.microvm.cache import cache_dir

DISK_GIB = 12  # kernel, two images, builder chroot, snapshots
QUIET_LOAD = 0.15  # of the machine's CPUs
AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
TOOLS = {"mmdebstrap": "mmdebstrap", "qemu-img": "qemu-utils", "ssh-keygen": "openssh-client"}


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, worse than it could
    FAILURE = "failure"  # it does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """`found`: what there is; `fix`: what to do about it, "" when all is well."""

    what: str
    level: Level
    found: str
    fix: str = ""


def add(commands: Commands) -> None:
    parser = command(commands, "doctor", "can this machine measure?", _doctor)
    parser.add_argument(
        "--profile",
        default=profiles.DEFAULT,
        metavar="PROFILE",
        help="the machine to be measured on",
    )


async def _doctor(options: argparse.Namespace, output: Output) -> Exit:
    profile = profiles.profile(options.profile)
    vcpus = profiles.vcpus(profile)
    findings: list[Finding] = []
    for check in CHECKS:
        findings.append(await check())
    findings += [_tools(), _disk(), _memory(profile.memory_mib), _cpus(vcpus), _load(), _verdicts()]
    rows = [(item.level.value, item.what, item.found) for item in findings]
    text = table(("", "WHAT", "FOUND"), rows)
    fixes = [f"{item.what}: {item.fix}" for item in findings if item.fix]
    if fixes:
        text += "\n\n" + "\n".join(fixes)
    failed = any(item.level is Level.FAILURE for item in findings)
    output.result({"findings": findings, "usable": not failed}, text)
    return Exit.UNSUPPORTED if failed else Exit.DONE


async def _qemu() -> Finding:
    try:
        return Finding("qemu", Level.OK, await qemu.version())
    except SchedcpError as error:
        return Finding("qemu", Level.FAILURE, error.message, error.hint)


async def _accelerator() -> Finding:
    tried = qemu.remembered_accelerator()
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    if tried.get("accelerator") == "kvm":
        return Finding("accelerator", Level.OK, "KVM: a guest started with it")
    if not tried and usable:
        return Finding("accelerator", Level.OK, "/dev/kvm is there; the first run tries it")
    why = tried.get("kvm") or "no access to /dev/kvm"
    return Finding(
        "accelerator",
        Level.WARNING,
        f"TCG ({why}): 20 to 50 times slower, and noisier",
        "use a machine with KVM, switch nested virtualisation on, or join the group kvm; or "
        "measure with --clock virtual",
    )


async def _vclock() -> Finding:
    try:
        build = vclock_qemu.find()
    except SchedcpError as error:
        return Finding("virtual clock", Level.FAILURE, error.message, error.hint)
    if build.accepted:
        return Finding("virtual clock", Level.OK, f"proved on this QEMU ({build.accepted})")
    return Finding(
        "virtual clock",
        Level.WARNING,
        f"not proved on this QEMU (build id {build.build_id or 'none'})",
        "install a build of the list in docs/vclock.md; until then --clock virtual takes "
        "clock-defined workloads only",
    )


async def _kernel() -> Finding:
    found = kernel.cached_kernel()
    if found is not None:
        return Finding("kernel", Level.OK, found.release)
    return Finding(
        "kernel", Level.WARNING, "not fetched yet", "the first run fetches it, or: make vm"
    )


async def _image() -> Finding:
    found = cached_bench_image()
    if found is not None:
        return Finding("image", Level.OK, found.id)
    return Finding(
        "image",
        Level.WARNING,
        "not built yet",
        "the first run builds it in some minutes; that needs root or sudo",
    )


CHECKS: tuple[Callable[[], Awaitable[Finding]], ...] = (
    _qemu,
    _accelerator,
    _vclock,
    _kernel,
    _image,
)


def _tools() -> Finding:
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if missing:
        return Finding(
            "tools", Level.FAILURE, f"missing: {', '.join(missing)}", "tools/install-deps"
        )
    return Finding("tools", Level.OK, ", ".join(sorted(TOOLS)))


def _disk() -> Finding:
    folder = cache_dir()
    free = shutil.disk_usage(folder).free / (1 << 30)
    built = cached_bench_image() is not None
    wanted = DISK_GIB / 4 if built else DISK_GIB
    said = f"{free:.0f} GiB free in {folder}"
    if free < wanted:
        fix = f"free {wanted - free:.0f} GiB more, or set SCHEDCP_CACHE to a larger disk"
        return Finding("disk", Level.FAILURE, said, fix)
    return Finding("disk", Level.OK, said)


def _memory(wanted_mib: int) -> Finding:
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) >> 10
    said = f"{free} MiB available, the guest has {wanted_mib}"
    if free < wanted_mib * 1.5:
        return Finding("memory", Level.FAILURE, said, "end other programs: a guest must not swap")
    return Finding("memory", Level.OK, said)


def _cpus(vcpus: int) -> Finding:
    cpus = len(os.sched_getaffinity(0))
    said = f"{cpus} for a guest of {vcpus}"
    if cpus <= vcpus and cpus < 64:
        return Finding(
            "cpus",
            Level.WARNING,
            said,
            "the host can take a CPU away from the guest: use a smaller --profile, more boots, or "
            "--clock virtual",
        )
    return Finding("cpus", Level.OK, said)


def _load() -> Finding:
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    said = f"{load:.2f} on {cpus} CPUs"
    if load > QUIET_LOAD * cpus:
        fix = "wait until the machine is idle, or use --clock virtual, which does not see it"
        if AUTOGROUP.exists() and AUTOGROUP.read_text().strip() == "1":
            fix += (
                "; niceness does not keep other sessions' work away while each has its own group "
                "(sysctl kernel.sched_autogroup_enabled, sched(7))"
            )
        return Finding("load", Level.WARNING, said, fix)
    return Finding("load", Level.OK, said)


def _verdicts() -> Finding:
    """What the suites' boots can show: fewer are quicker, and for looking only."""
    said = []
    for name in suites.names():
        suite = suites.load(name)
        most = most_tests(suite.boots, paired=False)
        enough = "enough" if len(suite.workloads) <= most else "too few for any verdict"
        said.append(
            f"{name}: {suite.boots} boots are {enough} ({len(suite.workloads)} workloads, "
            f"at most {most})"
        )
    return Finding("verdicts", Level.OK, "; ".join(said))
