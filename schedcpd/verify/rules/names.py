# SPDX-License-Identifier: Apache-2.0
"""Sections, licence, assembly, and the helpers and kernel functions that are called."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schedcpd.verify import allow
from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Node
from schedcpd.verify.source.program import Program, plain

_HELPER_IDS = {f"bpf_{name}": number for number, name in allow.HELPERS.items()}
_BUILTIN = re.compile(r"__builtin_[a-z0-9_]+|__sync_[a-z0-9_]+|__atomic_[a-z0-9_]+")
_REFUSED = {f"bpf_{name}" for name in allow.REFUSED_HELPERS.values()}
_EMPTY_ASM = re.compile(r'(__)?asm(__)?(__)?(volatile)?(__)?\(("")*(:.*)?\)')


def check_sections(program: Program) -> Iterator[Finding]:
    named = [(f.section, f.file, f.line) for f in program.live if f.section]
    named += [(v.section, v.file, v.line) for v in program.facts.variables]
    for section, file, line in named:
        if section != ".ksyms" and not allow.SECTIONS.fullmatch(section):
            yield Finding(
                "source.section-not-allowed",
                f"Section {section[:120]!r} is not allowed in a scheduler.",
                f"{file.rpartition('/')[2]}:{line}",
                "keep struct_ops programs, their subprograms, maps and data only; "
                "put tracing into an object of its own",
            )


def check_licence(program: Program) -> Iterator[Finding]:
    licences = [v.text for v in program.facts.variables if v.section == "license"]
    if not licences or any(text not in allow.LICENCES for text in licences):
        yield Finding(
            "source.licence",
            f"Its licence is {licences[0] if licences else ''!r}; sched_ext needs one compatible "
            "with the GPL.",
            hint='write char _license[] SEC("license") = "GPL"; and mean it',
        )


def check_asm(program: Program) -> Iterator[Finding]:
    for line, text in program.facts.file_asm:
        yield _asm(text, f"line {line}")
    for function in program.live:
        for node in function.body.walk():
            if node.kind == "asm" and not _EMPTY_ASM.fullmatch(node.name):
                yield _asm(node.name, program.place(function, node))


def _asm(text: str, place: str) -> Finding:
    return Finding(
        "source.asm",
        "It has assembly, which says nothing to a reader and can hide any call.",
        f"{place}\n{text[:200]}",
        "write C; an empty asm as a barrier is allowed",
    )


def check_calls(program: Program) -> Iterator[Finding]:
    said: set[str] = set()
    for call in program.calls:
        name = call.node.name
        if name in said or name in program.facts.functions or _BUILTIN.fullmatch(name):
            continue
        said.add(name)
        finding = _call(program, call.node)
        if finding is not None:
            reason, sentence, hint = finding
            yield Finding(reason, sentence, program.place(call.function, call.node), hint)


def _call(program: Program, node: Node) -> tuple[str, str, str] | None:
    name = node.name
    if node.pointer:
        if name in _HELPER_IDS and program.facts.pointers.get(name) == _HELPER_IDS[name]:
            return None
        if name in _REFUSED or (name.startswith("bpf_") and program.facts.pointers.get(name)):
            return (
                "source.helper-not-allowed",
                f"It calls the BPF helper {name}, which a scheduler may not.",
                "schedulers may use maps, time, storage, timers and loops; see verify/allow.py",
            )
        return (
            "source.indirect-call",
            f"It calls {name or 'an address'} through a pointer.",
            "call functions by their names",
        )
    if not allow.KFUNCS.fullmatch(plain(name)):
        return (
            "source.kfunc-not-allowed",
            f"It uses the kernel's {name[:120]}, which a scheduler may not.",
            "use sched_ext, cpumask, task, cgroup and iterator kernel functions only",
        )
    if program.kfuncs and plain(name) not in program.kfuncs and not program.facts.kernel.get(name):
        return (
            "source.kfunc-missing",
            f"The target kernel has no function {name[:120]}.",
            "use what it has, or declare this one __weak and ask bpf_ksym_exists() first",
        )
    return None
