# SPDX-License-Identifier: Apache-2.0
"""Reads a source: preprocessed and taken apart by clang, both in the sandbox."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import UnsupportedError
from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Facts, FactsError, read_facts
from schedcpd.verify.source.sandbox import MIB, Limits, SandboxRun
from schedcpd.verify.source.toolchain import Toolchain

SOURCE = "/source"
LIMITS = Limits(cpu_s=20, wall_s=120, memory=2048 * MIB, file=24 * MIB, output=16 * MIB)
_EXTRACT = Path(__file__).with_name("extract")
_RUN = "import sys; sys.path.insert(0, '/code'); import extract.__main__ as run; run.main()"


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of it: the facts, or what is wrong. `directives`: lines of `#` that were left."""

    facts: Facts | None
    directives: tuple[str, ...]
    findings: tuple[Finding, ...]


async def read_source(data: bytes, name: str, toolchain: Toolchain) -> Reading:
    """UnsupportedError: the toolchain does not work, which says nothing of the source."""
    with tempfile.TemporaryDirectory(prefix="schedcp-source-") as folder:
        source, out = Path(folder) / f"{name}.bpf.c", Path(folder) / "out"
        out.mkdir()
        source.write_bytes(data)
        inside = f"{SOURCE}/{source.name}"
        argv = ["clang", *toolchain.flags, "-E", inside, "-o", "/out/source.i"]
        given = {**toolchain.read, inside: source}
        done = await toolchain.sandbox.run(argv, limits=LIMITS, read=given, out=out)
        if problem := _problem(done, "preprocess"):
            return Reading(None, (), (problem,))
        with (out / "source.i").open(encoding="utf-8", errors="replace") as file:
            directives = tuple(line.rstrip() for line in file if line.startswith("#"))
        argv = ["python3", "-I", "-B", "-c", _RUN, "/out/source.i"]
        given = {"/code/extract": _EXTRACT}
        done = await toolchain.sandbox.run(argv, limits=LIMITS, read=given, out=out)
    if done.error_text.startswith("too large") or done.broke:
        return Reading(None, directives, (_bomb(done, "reading its syntax tree"),))
    if done.exit_code != 0 and "ImportError" in done.error_text:
        raise UnsupportedError(f"libclang does not work: {done.error_text.strip()[-300:]}")
    if done.exit_code != 0:
        crash = Finding(
            "source.unreadable",
            f"clang could not take it apart (exit {done.exit_code}).",
            done.error_text.strip()[-1500:],
            "write plain C: shallow nesting, no generated code",
        )
        return Reading(None, directives, (crash,))
    try:
        facts = read_facts(done.text)
    except FactsError as error:
        deep = Finding(
            "source.unreadable",
            f"Its syntax tree cannot be read: {error}.",
            hint="nest less deeply",
        )
        return Reading(None, directives, (deep,))
    if facts.errors:
        line, text = facts.errors[0]
        wrong = Finding(
            "source.syntax",
            f"It is not valid C: line {line}: {text}.",
            "\n".join(f"{name}.bpf.c:{at}: {said}" for at, said in facts.errors),
            "correct the first error first; later ones may follow from it",
        )
        return Reading(None, directives, (wrong,))
    return Reading(facts, directives, ())


def _problem(done: SandboxRun, what: str) -> Finding | None:
    if done.broke:
        return _bomb(done, what)
    if done.exit_code == 0:
        return None
    said = done.error_text.strip()
    first = next((line for line in said.splitlines() if "error:" in line), said[:200])
    missing = "file not found" in first
    return Finding(
        "source.include" if missing else "source.syntax",
        f"The preprocessor refuses it: {first.removeprefix(SOURCE + '/')}.",
        said[:3000],
        "include vmlinux.h, bpf/*.h and the project's own headers only" if missing else "",
    )


def _bomb(done: SandboxRun, what: str) -> Finding:
    limit = {
        "time": f"{LIMITS.cpu_s} s of CPU time",
        "memory": f"{LIMITS.memory // MIB} MiB of memory",
        "output": f"{LIMITS.file // MIB} MiB of output",
    }.get(done.broke, "the size of syntax tree that is allowed")
    return Finding(
        "source.bomb",
        f"It took more than {limit} ({what}); a scheduler takes a second.",
        hint="no macros that multiply themselves, no generated tables",
    )
