# SPDX-License-Identifier: Apache-2.0
"""schedcp as a user gets it: the package is installed, the daemon starts, its rules decide.

It is told nothing: it sees cgroups and programs, as on any machine. A workload of seconds is over
before every measurement behind a swap is; what is measured is what the rules do at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schedbench.arms.base import ANY_SCHEDULER, Arm, ArmScript, Told
from schedbench.errors import BenchError
from schedbench.model import Clock
from schedcpd.host import process
from schedcpd.microvm.cache import Progress

TOP = Path(__file__).parents[2]
PACKAGE = "/run/arm/schedcp.deb"
TIMEOUT_S = 3600.0
# The daemon says by sd_notify when it is ready; what it then does about the machine itself is
# waited for, since it is not what is measured.
SETTLE_S = 10
START = f"""
DEBIAN_FRONTEND=noninteractive dpkg --install {PACKAGE}
systemctl start schedcpd.service
sleep {SETTLE_S}
schedctl status
"""
STOP = """
schedctl status
schedctl list
journalctl --unit=schedcpd --no-pager --output=cat --lines=100
systemctl stop schedcpd.service schedcp-scheduler.service schedcp-scheduler.socket
"""


@dataclass(frozen=True, slots=True)
class SchedcpArm:
    name: str
    package: Path
    digest: str
    clocks: frozenset[Clock] = frozenset({Clock.WALL})
    told_intents: bool = False

    def describe(self) -> Mapping[str, object]:
        return {"package": self.package.name, "sha256": self.digest}

    def script(self, told: Told) -> ArmScript:
        return ArmScript(
            files={PACKAGE: self.package},
            start=START,
            stop=STOP,
            expects_scheduler=ANY_SCHEDULER,
        )


async def make(name: str, argument: str, progress: Progress) -> Arm:
    progress("schedcp: building the package, if something changed")
    built = await process.run([TOP / "tools" / "build-deb", "schedcp"], timeout_s=TIMEOUT_S)
    if not built.ok:
        raise BenchError(
            f"the package schedcp cannot be built: {built.error_text}",
            hint="it needs a git checkout and make verdicts; tools/build-deb schedcp says all",
        )
    package = _package(Path(built.text.strip().splitlines()[-1]))
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return SchedcpArm(name, package, digest)


def _package(folder: Path) -> Path:
    (package,) = folder.glob("schedcp_*.deb")
    return package
