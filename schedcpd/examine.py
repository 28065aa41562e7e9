# SPDX-License-Identifier: Apache-2.0
"""`schedctl verify`: examines one file offline and without the daemon.

python -m schedcpd.examine FILE.bpf.c|FILE.bpf.o|POLICY.yaml [--all] [--json] [--no-vm] …

Exit codes: 0 passed, 1 refused, 2 usage or a file that cannot be read, 5 nothing was wrong but it
could not be proved here (no micro-VM, no compiler).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from schedcpd.errors import (
    BusyError,
    InvalidArgumentError,
    MicroVmError,
    SchedcpError,
    UnsupportedError,
)
from schedcpd.host.manifest import (
    OBJECT_SUFFIX,
    SUFFIX,
    Manifest,
    check_tunables,
    load_manifest,
    load_manifests,
)
from schedcpd.host.yamlpos import Problems, read_bytes
from schedcpd.model import CheckResult, Machine, VerdictClock
from schedcpd.verify.check import Subject
from schedcpd.verify.checks.policy import PolicySubject
from schedcpd.verify.examination import (
    Examination,
    compile_checked,
    examine_candidate,
    examine_policy,
)
from schedcpd.verify.report import examination_report

SOURCE_SUFFIX = ".bpf.c"
POLICY_SUFFIX = ".yaml"
MAX_BYTES = 16 << 20
TREE = Path(__file__).resolve().parents[1]
SHARED = Path("/usr/share/schedcp/bpf")
VERSION = 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _read(path: Path) -> bytes:
    problems = Problems(str(path))
    data = read_bytes(path, problems, MAX_BYTES)
    if data is None:
        raise problems.errors()[0]
    return data


def examine_policy_file(path: Path, options: argparse.Namespace) -> Examination:
    """Reads it as the daemon would, against the manifests of the installed schedulers."""
    from schedcpd.policy.schema import read_policy_file

    problems = Problems(str(path))
    data = read_bytes(path, problems)
    manifests, wrong = load_manifests(options.bpf_dir or bpf_dir())
    found = None if data is None else read_policy_file(data, problems, manifests, "admin")
    cpus = options.cpus or os.cpu_count() or 1
    return examine_policy(
        PolicySubject(
            str(path),
            problems.errors() if problems else wrong,
            found.policies if found else (),
            len(found.rules) if found else 0,
            Machine(cpus),
        )
    )


def bpf_dir() -> Path:
    """Where the schedulers and their manifests are: a checkout's own build, else the installed."""
    if not (TREE / "bpf" / "Makefile").exists():
        return SHARED
    from schedcpd.microvm.cache import cache_dir

    built = cache_dir() / "bpf" / "current"
    return built if built.is_dir() else SHARED


def _manifest(path: Path, name: str, given: Path | None) -> Manifest:
    """The manifest given or beside the file; without one, a scheduler without tunables."""
    beside = [path.with_name(f"{name}{SUFFIX}"), path.with_name("manifest.yaml")]
    found = given or next((each for each in beside if each.exists()), None)
    if found is None:
        return Manifest(name, "", "Without a manifest.", (), (), {}, "")
    manifest, problems = load_manifest(found)
    if manifest is None:
        raise problems[0]
    return manifest


async def examine_code(path: Path, options: argparse.Namespace) -> Examination:
    """A source or an object. UnsupportedError: no compiler works here."""
    from schedcpd.guests import guest_of, unavailable
    from schedcpd.toolchains import toolchain
    from schedcpd.verify.verifier import Verifier

    is_source = path.name.endswith(SOURCE_SUFFIX)
    name = path.name.removesuffix(SOURCE_SUFFIX if is_source else OBJECT_SUFFIX)
    manifest = _manifest(path, name, options.manifest)
    tunables = check_tunables(manifest, _values(options.tunables))
    progress = functools.partial(_progress, name)
    data = _read(path)
    subject: Subject | None = Subject(name, b"" if is_source else data, manifest, tunables)
    before: tuple[CheckResult, ...] = ()
    if is_source:
        assert subject is not None
        tools = await toolchain((*options.include, *_headers()), say)
        compiled = await compile_checked(data, tools, subject, every=options.all, progress=progress)
        before, subject = compiled.checks, compiled.subject
    missing = "--no-vm was given" if options.no_vm else unavailable(options.release)
    verifier = None
    if subject is not None and not subject.manifest.ops:
        subject = _with_ops_name(subject)
    if subject is not None and not missing:
        verifier = Verifier(await guest_of(options.clock, options.release, say), progress=progress)
    return await examine_candidate(
        str(path),
        "source" if is_source else "object",
        subject,
        before,
        verifier,
        missing=missing,
        every=options.all,
        progress=progress,
    )


def _with_ops_name(subject: Subject) -> Subject:
    """Without a manifest nobody but the object says how its ops are named."""
    from schedcpd.verify.bpf_object import ObjectError, parse_object

    try:
        ops = parse_object(subject.data).struct_ops
    except ObjectError:
        return subject  # the check `object` will say so
    if not ops:
        return subject
    return replace(subject, manifest=replace(subject.manifest, ops=ops[0].label))


def _values(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(f"--tunables is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgumentError("--tunables is not an object", hint='write {"name": value}')
    return found


def _headers() -> tuple[Path, ...]:
    found = [folder for folder in (TREE / "bpf" / "include", SHARED / "include") if folder.is_dir()]
    return tuple(found[:1])


def _progress(name: str, check: str) -> None:
    say(f"verify: {name}: {check}")


def examine(path: Path, options: argparse.Namespace) -> Examination:
    if path.name.endswith(POLICY_SUFFIX):
        return examine_policy_file(path, options)
    if path.name.endswith((SOURCE_SUFFIX, OBJECT_SUFFIX)):
        return asyncio.run(examine_code(path, options))
    raise InvalidArgumentError(
        f"{path} is neither FILE{SOURCE_SUFFIX} nor FILE{OBJECT_SUFFIX} nor POLICY{POLICY_SUFFIX}",
        hint="what a file is, is told by how its name ends",
    )


def document(found: Examination, seconds: float) -> str:
    content = {**asdict(found), "passed": found.passed, "seconds": round(seconds, 3)}
    return json.dumps({"version": VERSION, "verify": content}, indent=2)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="schedctl verify", description=__doc__.splitlines()[0])
    result.add_argument("file", type=Path, metavar="FILE")
    result.add_argument("--all", action="store_true", help="do not stop at the first failed check")
    result.add_argument("--json", action="store_true")
    result.add_argument("--no-vm", action="store_true", help="only what needs no micro-VM")
    result.add_argument("--manifest", type=Path, help="default: the one beside FILE, if any")
    result.add_argument("--tunables", default="{}", metavar="JSON")
    result.add_argument("-I", "--include", action="append", type=Path, default=[], metavar="DIR")
    result.add_argument("--bpf-dir", type=Path, metavar="DIR", help="manifests for policies")
    result.add_argument("--cpus", type=int, default=0, help="check policies for such a machine")
    result.add_argument("--clock", choices=["auto", *VerdictClock], default="auto")
    result.add_argument("--release", default="", help="kernel; default: the micro-VM's own")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    began = time.monotonic()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            found = examine(options.file, options)
            seconds = time.monotonic() - began
            print(document(found, seconds) if options.json else examination_report(found))
            return 1 if found.refused else 5 if found.missing else 0
    except (MicroVmError, UnsupportedError, BusyError) as error:
        _complain(error, as_json=options.json)
        return 5
    except SchedcpError as error:
        _complain(error, as_json=options.json)
        return 2
    return 130


def _complain(error: SchedcpError, *, as_json: bool) -> None:
    content = {"code": error.code, "message": error.message, "hint": error.hint}
    say(json.dumps({"version": VERSION, "error": content}) if as_json else f"schedctl: {error}")


if __name__ == "__main__":
    sys.exit(main())
