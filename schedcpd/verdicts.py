# SPDX-License-Identifier: Apache-2.0
"""Makes verdicts: puts `verify` and `microvm` together, for a person, a build, or the daemon.

python -m schedcpd.verdicts make OBJECT...            prove objects in the micro-VM
python -m schedcpd.verdicts prepare                   fetch and build what the virtual clock needs
python -m schedcpd.verdicts available [--release R]   can that be done here, for that kernel?

`verify/child.py` runs both as children, so that neither the ELF parser nor QEMU is in
its process. Exit codes: 0 passed, 1 failed or refused, 2 usage, 5 no verdict could be made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from schedcpd import __version__
from schedcpd.errors import InvalidArgumentError, MicroVmError, SchedcpError
from schedcpd.guests import CLOCKS, guest_of, unavailable
from schedcpd.host.manifest import OBJECT_SUFFIX, SUFFIX, check_tunables, load_manifest
from schedcpd.microvm.cache import Progress, cache_dir, stderr_progress
from schedcpd.model import Tunable, Verdict, VerdictClock, VerdictOrigin
from schedcpd.verify.check import Subject
from schedcpd.verify.guest import GuestIdentity
from schedcpd.verify.report import report
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verdict import verdict_to_json
from schedcpd.verify.verifier import Verifier


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
    guest = await guest_of(options.clock, options.release, say)
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
        if known is not None and not current(known, subject, machine, guest.clock, origin):
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
    verdict: Verdict,
    subject: Subject,
    machine: GuestIdentity,
    clock: VerdictClock,
    origin: VerdictOrigin,
) -> bool:
    """Whether a stored verdict is what this program would make again. A failure is tried again."""
    return (
        verdict.passed
        and verdict.schedcp_version == __version__
        and verdict.kernel == machine.kernel
        and verdict.vm_image == machine.image
        and verdict.clock is clock
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
    sub.add_argument("--clock", choices=CLOCKS, default=CLOCKS[0], help="of the machine")
    sub.add_argument("--origin", choices=["local", "shipped"], default="local")
    sub.add_argument("--force", action="store_true", help="also when a verdict exists")
    sub.add_argument("--jobs", type=int, default=1, metavar="N", help="objects proved at a time")
    sub.add_argument("--all", action="store_true", help="do not stop at the first failed check")
    sub.add_argument("--json", action="store_true")
    sub = commands.add_parser("prepare", help="build what the virtual clock needs, if it can be")
    sub.add_argument("--release", default="", help="kernel; default: the cached backports kernel")
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
            if options.command == "prepare":
                asyncio.run(guest_of(VerdictClock.VIRTUAL, options.release, stderr_progress()))
                return 0
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
