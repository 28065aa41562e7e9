# SPDX-License-Identifier: Apache-2.0
"""One sample's files in the guest: the harness, the workload's scripts, the arm's, the drivers.

Both runners put these files into the guest and run `HARNESS` as root; what it prints is said in
docs/schedbench/contract.md.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from schedbench.arms.base import ArmScript
from schedbench.model import SizeClass, Workload
from schedcpd.errors import InvalidArgumentError

TOP = "/schedbench"
HARNESS = f"{TOP}/harness.sh"
ALWAYS = ("mark",)  # the drivers that every sample needs
COMMANDS = ("await", "part")  # for the workloads' scripts
RESERVED = ("SEED", "REPEATS", "CPUS", "PATH", "HOME", "LC_ALL", "TZ", "IFS", "GROUPS", "SECONDS")
HERE = Path(__file__).parent / "guest"


def drivers_of(workload: Workload) -> tuple[str, ...]:
    """The drivers to build for a sample of it (schedbench.drivers.build)."""
    return tuple(sorted({*ALWAYS, *workload.drivers}))


def cgroup_name(seed: int, part: str) -> str:
    """The name of a part's cgroup: another one for each seed, and nothing can be read from it."""
    return "c" + hashlib.sha256(f"{seed}/{part}".encode()).hexdigest()[:10]


def guest_files(
    workload: Workload,
    size: SizeClass,
    seed: int,
    arm: ArmScript,
    drivers: Mapping[str, bytes],
    *,
    repeats: int | None = None,
) -> dict[str, bytes]:
    """Absolute guest path to content; everything is to be owned by root with mode 0755.

    `repeats` replaces the size's own. Raises InvalidArgumentError if a driver is missing or if an
    arm's file is in the harness' folder.
    """
    if seed < 0:
        raise InvalidArgumentError(f"seed: {seed} is negative")
    missing = set(drivers_of(workload)) - set(drivers)
    if missing:
        raise InvalidArgumentError(f"drivers: {', '.join(sorted(missing))} not built")
    chosen = workload.sizes[size]
    env = {**chosen.env, "SEED": str(seed), "REPEATS": str(repeats or chosen.repeats)}
    parts = [f"{part.name} {cgroup_name(seed, part.name)} {part.weight}" for part in workload.parts]
    texts = {
        "env": "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items()),
        "parts": "".join(f"{line}\n" for line in parts),
        "arm-start": arm.start,
        "arm-stop": arm.stop,
        "setup": workload.setup,
        "run": workload.run,
        "check": workload.check,
    }
    files = {f"{TOP}/{name}": text.encode() for name, text in texts.items()}
    files[HARNESS] = (HERE / "harness.sh").read_bytes()
    for name in COMMANDS:
        files[f"{TOP}/bin/{name}"] = (HERE / name).read_bytes()
    for name in drivers_of(workload):
        files[f"{TOP}/bin/{name}"] = drivers[name]
    for path, local in arm.files.items():
        if not path.startswith("/") or path.startswith(f"{TOP}/"):
            raise InvalidArgumentError(
                f"arm file {path!r}: must be absolute and outside {TOP}", hint="use /run/arm/..."
            )
        files[path] = local.read_bytes()
    return files


def write_tree(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes guest files below `folder` (a host directory), all executable."""
    for path, data in files.items():
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755)
