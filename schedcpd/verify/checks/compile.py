# SPDX-License-Identifier: Apache-2.0
"""`compile`: clang makes an object of it, in a sandbox without network and with limits."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from schedcpd.verify.bpf_object import MAX_OBJECT_BYTES
from schedcpd.verify.check import Finding, Report
from schedcpd.verify.source.reader import SOURCE
from schedcpd.verify.source.sandbox import MIB, Limits, SandboxRun
from schedcpd.verify.source.toolchain import Toolchain

LIMITS = Limits(cpu_s=15, wall_s=120, memory=2048 * MIB, file=16 * MIB, output=256 << 10)
_EVIDENCE = 4000
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class CompileResult:
    """The report, and the object when there is one."""

    report: Report
    data: bytes = b""


async def compile_source(data: bytes, name: str, toolchain: Toolchain) -> CompileResult:
    """UnsupportedError: the toolchain does not work here."""
    with tempfile.TemporaryDirectory(prefix="schedcp-compile-") as folder:
        source, out = Path(folder) / f"{name}.bpf.c", Path(folder) / "out"
        out.mkdir()
        source.write_bytes(data)
        inside = f"{SOURCE}/{source.name}"
        argv = ["clang", *toolchain.flags, "-fdebug-compilation-dir=."]
        argv += [f"-ffile-prefix-map={SOURCE}=.", "-fintegrated-cc1"]
        argv += ["-c", inside, "-o", "/out/object"]
        given = {**toolchain.read, inside: source}
        done = await toolchain.sandbox.run(argv, limits=LIMITS, read=given, out=out)
        if problem := _problem(done):
            return CompileResult(Report("", (problem,)))
        warnings = done.error_text.strip()
        argv = ["llvm-strip", "-g", "/out/object", "-o", "/out/stripped"]
        done = await toolchain.sandbox.run(argv, limits=LIMITS, read={}, out=out)
        if problem := _problem(done):
            return CompileResult(Report("", (problem,)))
        stripped = out / "stripped"
        size = stripped.stat().st_size
        if stripped.is_symlink() or size > MAX_OBJECT_BYTES:
            large = Finding(
                "compile.output",
                f"The object has {size} bytes; {MAX_OBJECT_BYTES} are the most allowed.",
                hint="no large tables: use maps",
            )
            return CompileResult(Report("", (large,)))
        compiled = stripped.read_bytes()
    count = warnings.count("warning:")
    said = f"; {count} warnings" if count else ""
    report = Report(f"clang made an object of {size} bytes{said}.", (), warnings[:_EVIDENCE])
    return CompileResult(report, compiled)


def _problem(done: SandboxRun) -> Finding | None:
    said = done.error_text.strip()[:_EVIDENCE]
    if done.broke:
        limit = {
            "time": f"{LIMITS.cpu_s} s of CPU time",
            "memory": f"{LIMITS.memory // MIB} MiB of memory",
            "output": f"{LIMITS.file // MIB} MiB of output",
        }[done.broke]
        return Finding(
            f"compile.{done.broke}",
            f"The compiler used more than {limit}; for a scheduler it needs a second.",
            said,
            "no code that multiplies itself: macros, unrolled loops, large initialisers",
        )
    if done.exit_code == 0:
        return None
    first = next((line for line in said.splitlines() if "error:" in line), said[:200])
    if done.exit_code >= _SIGNALLED or "PLEASE submit a bug report" in said:
        return Finding(
            "compile.crash",
            f"The compiler died (exit {done.exit_code}): {first}",
            said,
            "write plainer C: what breaks the compiler is not taken (signed division does, in BPF)",
        )
    return Finding(
        "compile.error",
        f"It does not compile: {first}",
        said,
        "correct the first error first; later ones may follow from it",
    )
