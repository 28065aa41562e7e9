# SPDX-License-Identifier: Apache-2.0
"""A sched_ext scheduler program from elsewhere (scx_simple, scx_rusty, ...), as it is on this host.

Its libraries travel along, except for the C library, which the guest has in a newer version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schedbench.arms.base import ANY_SCHEDULER, Arm, ArmScript, Told
from schedbench.errors import BenchError
from schedbench.model import Clock
from schedcpd.host import process
from schedcpd.microvm.cache import Progress

FOLDER = "/run/arm"
MORE_PATHS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
OF_THE_C_LIBRARY = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv))\.so\.[0-9]+")
START = """
LD_LIBRARY_PATH={folder}/lib setsid {folder}/{program} >{folder}/log 2>&1 </dev/null &
echo $! >{folder}/pid
tries=0
until [ "$(cat /sys/kernel/sched_ext/state)" = enabled ]; do
    tries=$((tries + 1))
    if [ $tries -gt 900 ] || ! kill -0 "$(cat {folder}/pid)"; then
        tail -n 20 {folder}/log
        exit 1
    fi
    sleep 0.2
done
cat /sys/kernel/sched_ext/root/ops
"""
STOP = """
state=$(cat /sys/kernel/sched_ext/state)
kill -INT "$(cat {folder}/pid)" || true
tries=0
while [ "$(cat /sys/kernel/sched_ext/state)" != disabled ] && [ $tries -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.2
done
tail -n 50 {folder}/log
[ "$state" = enabled ]
"""


@dataclass(frozen=True, slots=True)
class ExternalArm:
    """`libraries`: those of the program that the guest may lack."""

    name: str
    program: Path
    libraries: tuple[Path, ...]
    version: str
    clocks: frozenset[Clock] = frozenset(Clock)
    told_intents: bool = False

    def describe(self) -> Mapping[str, object]:
        return {
            "program": self.program.name,
            "version": self.version,
            "sha256": {path.name: _sha256(path) for path in (self.program, *self.libraries)},
        }

    def script(self, told: Told) -> ArmScript:
        files = {f"{FOLDER}/lib/{path.name}": path for path in self.libraries}
        files[f"{FOLDER}/{self.program.name}"] = self.program
        return ArmScript(
            files=files,
            start=START.format(folder=FOLDER, program=self.program.name),
            stop=STOP.format(folder=FOLDER),
            kernel_config=True,
            expects_scheduler=ANY_SCHEDULER,
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def make(name: str, argument: str, progress: Progress) -> Arm:
    search = os.pathsep.join([os.environ.get("PATH", ""), *MORE_PATHS])
    found = shutil.which(argument, path=search)
    if found is None:
        raise BenchError(
            f"{argument} is not installed on this machine, so the arm {name!r} cannot run",
            hint="install it (from a package of sched_ext schedulers, or with cargo install), or "
            "put it on PATH",
        )
    listed = await process.run(["ldd", found], timeout_s=30)
    libraries = tuple(
        path
        for path in map(Path, re.findall(r"=> (/\S+) \(0x", listed.text))
        if not OF_THE_C_LIBRARY.fullmatch(path.name)
    )
    version = await process.run([found, "--version"], timeout_s=30)
    first = (version.text or "unknown").splitlines()[0][:200] if version.ok else "unknown"
    return ExternalArm(name, Path(found), libraries, first)
