# SPDX-License-Identifier: Apache-2.0
"""Makes verdicts: puts `verify` and `microvm` together, for a person, a build, or the daemon.

python -m schedcpd.verdicts make OBJECT...            prove objects in the micro-VM
python -m schedcpd.verdicts available [--release R]   can that be done here, for that kernel?

`verify/child.py` runs both as children, so that neither the ELF parser nor QEMU is in
its process. Exit codes: 0 passed, 1 failed or refused, 2 usage, 5 no verdict could be made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import io
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from schedcpd import __version__
from schedcpd.errors import InvalidArgumentError, MicroVmError, SchedcpError
from schedcpd.host.manifest import OBJECT_SUFFIX, SUFFIX, check_tunables, load_manifest
from schedcpd.microvm import GuestKernel, VmGoneError, VmSpec, installed_kernel, resume, snapshot
from schedcpd.microvm.cache import Progress, cache_dir, stderr_progress
from schedcpd.microvm.errors import VmDiedError
from schedcpd.microvm.image import cached_image
from schedcpd.microvm.kernel import cached_kernel
from schedcpd.model import KernelBuild, Tunable, Verdict, VerdictOrigin
from schedcpd.verify.bundle import PROBE, probe_bundle
from schedcpd.verify.check import Subject
from schedcpd.verify.guest import GuestIdentity, GuestRun
from schedcpd.verify.report import report
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verdict import verdict_to_json
from schedcpd.verify.verifier import Verifier

CORES = 2
LIFE_MARGIN_S = 120.0  # beyond a command's limit: resume, and one more chance to answer
CONSOLE_CHARS = 4000
_COMPLAINT = re.compile(
    r"BUG:|Oops|general protection|invalid opcode|kernel BUG at|Unable to handle"
)


class VmGuest:
    """`verify.guest.Guest` on the micro-VM: every run is a machine of its own, resumed."""

    def __init__(self, spec: VmSpec, progress: Progress) -> None:
        self._spec = spec
        self._progress = progress
        self._identity: GuestIdentity | None = None

    async def identity(self) -> GuestIdentity:
        """Asks the running guest once."""
        if self._identity is None:
            run = await self.run(
                ["python3", PROBE, "kernel"], files={PROBE: probe_bundle()}, timeout_s=60
            )
            if run.exit_code != 0:
                raise MicroVmError(f"The guest did not say its kernel: {run.end or run.stderr}")
            keys = [await guest.snapshot_key() for guest in (self, self.elsewhere)]
            kernel = KernelBuild(**json.loads(run.stdout)["kernel"])
            self._identity = GuestIdentity(kernel, "+".join(keys))
        return self._identity

    async def snapshot_key(self) -> str:
        """Names the machine's image, kernel and command line."""
        machine = await snapshot.prepare(self._spec, self._progress)
        return await snapshot.snapshot_key(machine)

    @property
    def elsewhere(self) -> VmGuest:
        return VmGuest(replace(self._spec, sockets=2, cores=1, threads=2), self._progress)

    async def run(
        self, argv: Sequence[str], *, files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        life = timeout_s + LIFE_MARGIN_S
        async with resume(self._spec, limit_s=life, progress=self._progress) as vm:
            unpack = ["tar", "-x", "-C", "/", "-f", "-"]
            (await vm.run(unpack, stdin=_tar(files), timeout_s=60)).check()
            try:
                result = await vm.run(argv, timeout_s=timeout_s)
            except VmGoneError as gone:
                console = _what_it_said(gone.console)
                return GuestRun(
                    None,
                    gone.stdout.decode("utf-8", "replace"),
                    gone.stderr.decode("utf-8", "replace"),
                    f"{gone.message}; the console:\n{console}" if console else gone.message,
                    died=isinstance(gone, VmDiedError),
                )
            if result.timed_out:
                end = f"it was not done after {timeout_s:.0f} s and was killed"
                return GuestRun(None, result.text, result.error_text, end)
            return GuestRun(result.exit_code, result.text, result.error_text)


def _what_it_said(console: str) -> str:
    """The kernel's first complaint and what followed it; the console's end where there is none."""
    first = _COMPLAINT.search(console)
    if first is None:
        return console[-CONSOLE_CHARS:].strip()
    begin = console.rfind("\n", 0, first.start()) + 1
    return console[begin : begin + CONSOLE_CHARS].strip()


def _tar(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def kernel_of_release(release: str) -> GuestKernel:
    """The bootable files of that kernel, from the cache or /boot. MicroVmError: there are none."""
    cached = cached_kernel()
    if cached is not None and cached.release == release:
        return cached
    return installed_kernel(Path("/boot") / f"vmlinuz-{release}")


def unavailable(release: str) -> str:
    """Why no verdict for kernel `release` can be made here now, "" when it can."""
    if shutil.which("qemu-system-x86_64") is None:
        return "QEMU is not installed"
    if cached_image() is None:
        return "the micro-VM was never built here (python3 -m schedcpd.microvm build)"
    try:
        kernel_of_release(release)
    except MicroVmError as error:
        return error.message
    return ""


def read_subject(path: Path, manifest_path: Path | None, values: Mapping[str, object]) -> Subject:
    """The object, its manifest and every tunable. SchedcpError names what is wrong."""
    if not path.name.endswith(OBJECT_SUFFIX):
        raise InvalidArgumentError(f"{path} is not named NAME{OBJECT_SUFFIX}")
    beside = path.with_name(path.name.removesuffix(OBJECT_SUFFIX) + SUFFIX)
    manifest, problems = load_manifest(manifest_path or beside)
    if manifest is None:
        raise problems[0]
    tunables: dict[str, Tunable] = check_tunables(manifest, {**manifest.defaults(), **values})
    return Subject.read(path, manifest, tunables)


async def make(options: argparse.Namespace) -> int:
    """Proves each object; prints a report, or JSON."""
    say = stderr_progress()
    kernel = kernel_of_release(options.release) if options.release else None
    guest = VmGuest(VmSpec(cores=CORES, kernel=kernel), say)
    origin = VerdictOrigin(options.origin)
    store = VerdictStore(shipped=options.out, local=options.out)
    subjects = [
        read_subject(path, options.manifest, json.loads(options.tunables))
        for path in options.objects
    ]
    machine = await guest.identity()
    together = asyncio.Semaphore(max(1, options.jobs))

    async def prove(subject: Subject) -> bool:
        known = None
        if not options.force:
            known = store.find(subject.scheduler, subject.sha256, machine.kernel)
        if known is not None and not current(known, subject, machine, origin):
            known = None
        verifier = Verifier(guest, progress=functools.partial(_say_check, say, subject.scheduler))
        async with together:
            verdict = known or await verifier.verify(subject, origin=origin, every=options.all)
        if known is None and options.save:
            say(f"verify: {verdict.scheduler}: {store.save(verdict)}")
        print(verdict_to_json(verdict).rstrip() if options.json else report(verdict, bool(known)))
        return verdict.passed

    return 0 if all(await asyncio.gather(*map(prove, subjects))) else 1


def _say_check(say: Progress, scheduler: str, check: str) -> None:
    say(f"verify: {scheduler}: {check}")


def current(
    verdict: Verdict, subject: Subject, machine: GuestIdentity, origin: VerdictOrigin
) -> bool:
    """Whether a stored verdict is what this program would make again. A failure is tried again."""
    return (
        verdict.passed
        and verdict.schedcp_version == __version__
        and verdict.kernel == machine.kernel
        and verdict.vm_image == machine.image
        and dict(verdict.tunables) == dict(subject.tunables)
        and verdict.origin is origin
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m schedcpd.verdicts", description="Proves schedulers in the micro-VM."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("make", help="prove objects")
    sub.add_argument("objects", nargs="+", type=Path, metavar="OBJECT")
    sub.add_argument("--manifest", type=Path, help="default: NAME.manifest.yaml beside the object")
    sub.add_argument("--tunables", default="{}", metavar="JSON", help="values other than defaults")
    sub.add_argument("--release", default="", help="kernel; default: the cached backports kernel")
    sub.add_argument("--out", type=Path, default=cache_dir() / "verdicts", metavar="DIR")
    sub.add_argument("--no-save", dest="save", action="store_false")
    sub.add_argument("--origin", choices=["local", "shipped"], default="local")
    sub.add_argument("--force", action="store_true", help="also when a verdict exists")
    sub.add_argument("--jobs", type=int, default=1, metavar="N", help="objects proved at a time")
    sub.add_argument("--all", action="store_true", help="do not stop at the first failed check")
    sub.add_argument("--json", action="store_true")
    sub = commands.add_parser("available", help="can a verdict be made here?")
    sub.add_argument("--release", default=os.uname().release)
    return parser


def main() -> int:
    options = _parser().parse_args()
    if options.command == "available":
        reason = unavailable(options.release)
        print(reason or f"yes, for kernel {options.release}")
        return 5 if reason else 0
    try:
        with contextlib.suppress(KeyboardInterrupt):
            return asyncio.run(make(options))
    except MicroVmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 5
    except (SchedcpError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 130


if __name__ == "__main__":
    sys.exit(main())
