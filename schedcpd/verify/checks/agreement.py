# SPDX-License-Identifier: Apache-2.0
"""Whether an object holds what its source was allowed, and nothing that the source did not show."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify import allow
from schedcpd.verify.bpf_object import BpfObject
from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Facts


def check_agreement(found: BpfObject, facts: Facts) -> Iterator[Finding]:
    """A finding for each thing in the object that clang's syntax tree did not have."""
    names = {n.name for f in facts.functions.values() for n in f.body.walk() if n.name}
    sections = {f.section for f in facts.functions.values()} | {".text"}
    maps = {v.name for v in facts.variables if v.section == ".maps"}
    ops = {v.name for v in facts.variables if v.section.startswith(".struct_ops")}
    for number, place in found.helpers.items():
        if number not in facts.pointers.values():
            name = allow.HELPERS.get(number, f"number {number}")
            yield _extra(f"It calls the helper {name}", place)
    for what, there, allowed in (
        ("the kernel's", found.externs, names),
        ("code in section", found.executable, sections),
        ("the map", [m.name for m in found.maps], maps),
        ("the struct_ops map", [o.name for o in found.struct_ops], ops),
    ):
        for name in sorted(set(there) - allowed):
            yield _extra(f"It has {what} {name}", "")
    licences = {v.text for v in facts.variables if v.section == "license"}
    if found.licence not in licences:
        yield _extra(f"Its licence is {found.licence!r}", "")


def _extra(what: str, evidence: str) -> Finding:
    return Finding(
        "object.not-in-source",
        f"{what}, which its source does not show.",
        evidence,
        "the object must be what clang makes of this source, and nothing else",
    )
