# SPDX-License-Identifier: Apache-2.0
"""A scheduler of ours with fixed tunables. It is told what each part wants, and what work is known,
and writes that into the scheduler's maps before it starts, as an operator would who knows the
machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schedbench import scxload
from schedbench.arms.base import Arm, ArmScript, Told
from schedbench.model import Clock
from schedcpd.errors import ConfigErrors
from schedcpd.host.manifest import SUFFIX, Manifest, check_tunables, load_manifest
from schedcpd.microvm.cache import Progress
from schedcpd.model import Tunable

FOLDER = "/run/arm"


@dataclass(frozen=True, slots=True)
class PolicyArm:
    """`tunables`: every one of the scheduler's manifest, with its value."""

    name: str
    manifest: Manifest
    loader: Path
    bpf_object: Path
    tunables: Mapping[str, Tunable]
    clocks: frozenset[Clock] = frozenset(Clock)
    told_intents: bool = True
    takes_hints: bool = False  # of expected work: bpf/include/schedcp_hints.bpf.h
    hashes: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> Mapping[str, object]:
        return {
            "scheduler": self.manifest.name,
            "ops": self.manifest.ops,
            "tunables": dict(self.tunables),
            **self.hashes,
        }

    def script(self, told: Told) -> ArmScript:
        words = [f"--ops {self.manifest.ops}", f"--background {FOLDER}/state"]
        words += [f"--set {name}={_number(value)}" for name, value in self.tunables.items()]
        words += [f'--intent "$SCHEDBENCH_CGROUP/{part.name}={part.intent}"' for part in told.parts]
        words += [
            f'--hint "cgroup:$SCHEDBENCH_CGROUP/{part.name}=$(({part.work_ms} * 1000))"'
            for part in told.parts
            if part.work_ms and self.takes_hints
        ]
        options = " \\\n    ".join(words)
        return ArmScript(
            files={f"{FOLDER}/scxload": self.loader, f"{FOLDER}/scheduler.bpf.o": self.bpf_object},
            start=f"mkdir -p {FOLDER}/state\n"
            f"{FOLDER}/scxload {options} \\\n    {FOLDER}/scheduler.bpf.o\n",
            stop=f"{FOLDER}/scxload --stop {FOLDER}/state\n",
            expects_scheduler=self.manifest.ops,
        )


def _number(value: Tunable) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def policy_arm(
    name: str,
    scheduler: str,
    progress: Progress,
    *,
    tunables: Mapping[str, object] | None = None,
    told_intents: bool = True,
) -> PolicyArm:
    """The arm of one of our schedulers; `tunables` over its defaults.

    Raises NotFoundError if there is no such scheduler, InvalidArgumentError for a wrong tunable.
    """
    loader = await scxload.program(progress)
    bpf_object = await scxload.scheduler_object(scheduler)
    data = bpf_object.read_bytes()
    manifest, wrong = load_manifest(bpf_object.with_name(f"{scheduler}{SUFFIX}"))
    if manifest is None:
        raise ConfigErrors(wrong)
    hashes = {
        "object_sha256": hashlib.sha256(data).hexdigest(),
        "loader_sha256": hashlib.sha256(loader.read_bytes()).hexdigest(),
    }
    return PolicyArm(
        name=name,
        manifest=manifest,
        loader=loader,
        bpf_object=bpf_object,
        tunables=check_tunables(manifest, tunables or {}),
        told_intents=told_intents,
        takes_hints=b"\0hints_cgroup\0" in data,  # the map's name in the symbols
        hashes=hashes,
    )


async def make(name: str, argument: str, progress: Progress) -> Arm:
    return await policy_arm(name, argument or name, progress)
