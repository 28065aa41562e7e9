# SPDX-License-Identifier: Apache-2.0
"""`object`: the compiled object contains one sched_ext scheduler and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from schedcpd.verify import allow
from schedcpd.verify.bpf_object import BpfObject, ObjectError, OpsDef, parse_object
from schedcpd.verify.check import Finding, Report, Subject
from schedcpd.verify.checks.agreement import check_agreement
from schedcpd.verify.guest import Guest
from schedcpd.verify.source.facts import Facts


class ObjectCheck:
    """Sections, licence, maps, helpers, kernel functions and ops flags against `allow`."""

    name = "object"

    async def run(self, subject: Subject, guest: Guest) -> Report:
        return await asyncio.to_thread(check_object, subject.data, subject.source)


def check_object(data: bytes, source: Facts | None = None) -> Report:
    """The check itself, without a VM; held against its source where there is one."""
    try:
        found = parse_object(data)
    except ObjectError as error:
        broken = Finding(
            "object.malformed",
            f"The object cannot be taken apart: {error}.",
            hint="compile with clang --target=bpf -g",
        )
        return Report("", (broken,))
    findings = (
        *_sections(found),
        *_licence(found),
        *_maps(found),
        *_calls(found),
        *_struct_ops(found),
        *(check_agreement(found, source) if source is not None else ()),
    )
    ops = found.struct_ops[0].label if found.struct_ops else ""
    return Report(
        f"One scheduler ({ops}), {sum(found.executable.values())} instructions, "
        f"{len(found.maps)} maps; nothing that is not allowed.",
        findings,
        f"maps: {', '.join(m.name for m in found.maps)}\n"
        f"helpers: {', '.join(allow.HELPERS.get(h, str(h)) for h in sorted(found.helpers))}\n"
        f"kernel symbols: {', '.join(found.externs)}",
    )


def _sections(found: BpfObject) -> Iterator[Finding]:
    for name in found.sections:
        if not allow.SECTIONS.fullmatch(name):
            yield Finding(
                "object.section-not-allowed",
                f"Section {name!r} is not allowed in a scheduler.",
                f"sections: {', '.join(found.sections)}",
                "keep struct_ops programs, their subprograms, maps and data only; "
                "put tracing into an object of its own",
            )
    for name in found.executable:
        if allow.SECTIONS.fullmatch(name) and not allow.EXECUTABLE.fullmatch(name):
            yield Finding("object.section-not-allowed", f"Section {name!r} must not contain code.")
    total = sum(found.executable.values())
    if total > allow.MAX_INSTRUCTIONS:
        yield Finding(
            "object.too-large",
            f"It has {total} instructions; {allow.MAX_INSTRUCTIONS} are the most allowed.",
        )


def _licence(found: BpfObject) -> Iterator[Finding]:
    if found.licence not in allow.LICENCES:
        yield Finding(
            "object.licence",
            f"Its licence is {found.licence!r}; sched_ext needs one compatible with the GPL.",
            hint='write char _license[] SEC("license") = "GPL"; and mean it',
        )


def _maps(found: BpfObject) -> Iterator[Finding]:
    if len(found.maps) > allow.MAX_MAPS:
        yield Finding("object.maps", f"It has {len(found.maps)} maps; at most {allow.MAX_MAPS}.")
    for each in found.maps:
        kind = each.fields.get("type", 0)
        if kind not in allow.MAP_TYPES:
            yield Finding(
                "object.map-type",
                f"Map {each.name} is of type {kind}, which is not allowed.",
                hint=f"use one of {', '.join(allow.MAP_TYPES.values())}",
            )
        for name in sorted(each.fields.keys() - allow.MAP_FIELDS):
            yield Finding(
                "object.map-field",
                f"Map {each.name} sets {name}, which is not allowed.",
                hint="a scheduler's maps live and die with it: no pinning, no inner maps",
            )
        if each.bytes > allow.MAX_MAP_BYTES:
            yield Finding(
                "object.map-size",
                f"Map {each.name} can grow to {each.bytes} bytes; "
                f"{allow.MAX_MAP_BYTES} are the most allowed.",
                hint="lower max_entries, or use task or cgroup storage",
            )
    total = sum(m.bytes for m in found.maps)
    if total > allow.MAX_ALL_MAPS_BYTES:
        yield Finding("object.map-size", f"All maps together can grow to {total} bytes.")
    data = sum(size for _, size in found.variables.values())
    if data > allow.MAX_DATA_BYTES:
        yield Finding("object.map-size", f"Global variables take {data} bytes.")


def _calls(found: BpfObject) -> Iterator[Finding]:
    for number, place in found.helpers.items():
        if number not in allow.HELPERS:
            name = allow.REFUSED_HELPERS.get(number, f"number {number}")
            yield Finding(
                "object.helper-not-allowed",
                f"It calls the BPF helper {name}, which a scheduler may not.",
                f"at {place}",
                "schedulers may use maps, time, storage, timers and loops; see verify/allow.py",
            )
    for symbol in found.externs:
        if not allow.KFUNCS.fullmatch(symbol.split("___")[0]):
            yield Finding(
                "object.kfunc-not-allowed",
                f"It uses the kernel's {symbol}, which a scheduler may not.",
                hint="use sched_ext, cpumask, task, cgroup and iterator kernel functions only",
            )
    for call in found.odd_calls:
        yield Finding("object.odd-call", "It contains a call that a compiler does not make.", call)


def _struct_ops(found: BpfObject) -> Iterator[Finding]:
    if len(found.struct_ops) != 1:
        yield Finding(
            "object.struct-ops-count",
            f"It has {len(found.struct_ops)} struct_ops maps; a scheduler has exactly one.",
            ", ".join(o.name for o in found.struct_ops),
            'declare one SEC(".struct_ops.link") struct sched_ext_ops',
        )
    for ops in found.struct_ops:
        yield from _ops(ops)


def _ops(ops: OpsDef) -> Iterator[Finding]:
    if ops.type_name.split("___")[0] != allow.OPS_TYPE:
        yield Finding(
            "object.struct-ops-type",
            f"Its struct_ops map {ops.name} is a {ops.type_name}, not a {allow.OPS_TYPE}.",
        )
        return
    if ops.section != ".struct_ops.link":
        yield Finding(
            "object.struct-ops-type",
            f"Its struct_ops map {ops.name} is in {ops.section}: without a link, nothing can "
            "take it back.",
            hint='use SEC(".struct_ops.link")',
        )
    if not allow.OPS_NAME.fullmatch(ops.label):
        yield Finding("object.ops-name", f"Its ops are named {ops.label!r}.", hint="use a-z0-9_")
    flags = ops.scalars.get("flags", 0)
    unknown = flags & ~sum(allow.OPS_FLAGS)
    if unknown:
        yield Finding(
            "object.ops-flags",
            f"Its ops have unknown flags {unknown:#x}.",
            f"flags = {flags:#x}",
            f"known: {', '.join(allow.OPS_FLAGS.values())}",
        )
    if flags & allow.ENQ_LAST and "enqueue" not in ops.ops:
        yield Finding(
            "object.enq-last-without-enqueue",
            "It sets ENQ_LAST but has no enqueue.",
            hint="write ops.enqueue, or drop SCX_OPS_ENQ_LAST",
        )
    timeout = ops.scalars.get("timeout_ms", 0)
    if timeout > allow.MAX_TIMEOUT_MS:
        yield Finding(
            "object.ops-timeout",
            f"Its watchdog timeout is {timeout} ms; the kernel allows {allow.MAX_TIMEOUT_MS}.",
        )
    if ops.scalars.get("hotplug_seq", 0):
        yield Finding("object.ops-hotplug-seq", "Its ops fix hotplug_seq at build time.")
