# SPDX-License-Identifier: Apache-2.0
"""Reads `external:` of a policy: which program, in which of its shipped modes."""

from __future__ import annotations

from dataclasses import dataclass

from schedcpd.host import yamlfields
from schedcpd.host.scx_programs import MODE, PROGRAMS
from schedcpd.model import Policy
from schedcpd.policy.entry import Entry

_EXCLUDED = ("scheduler", "tunables")


@dataclass(frozen=True, slots=True)
class External:
    """A program of the table and one of its modes; both are "" after a problem was added."""

    program: str
    mode: str


def read_external(entry: Entry, base: Policy | None) -> External | None:
    """None for a policy of a scheduler of ours; otherwise every problem is added to the entry's.

    A policy that extends an external one is external, too; what it may change is the mode.
    """
    inherited = base is not None and base.external
    if "external" not in entry.got and not inherited:
        return None
    problems = entry.problems
    for key in _EXCLUDED:
        if key in entry.got:
            hint = "remove it, or `external:`; arguments are fixed for each mode"
            problems.add(entry.line(key), entry.at(key), "is not for an external scheduler", hint)
    program, mode = "", "auto"
    if base is not None:
        program, mode = base.scheduler, str(base.tunables.get(MODE, mode))
    if "external" not in entry.got:
        return External(program, mode)
    where, line = entry.at("external"), entry.line("external")
    if base is not None and not inherited:
        message = f"{base.name}, which it extends, is for scheduler {base.scheduler}"
        problems.add(line, where, message, "remove `external:` or `extends:`")
        return External("", "")
    required = () if inherited else ("program",)
    got = yamlfields.mapping(entry.got["external"], problems, where, ("program", MODE), required)
    if got is None:
        return External("", "")
    if "program" in got:
        name = yamlfields.text(got["program"], problems, f"{where}.program", choices=PROGRAMS)
        if name and inherited and name != program:
            message = f"{base.name if base else ''}, which it extends, is of {program}"
            problems.add(got["program"].line, f"{where}.program", message, "extend another")
        program = name or ""
    known = PROGRAMS.get(program)
    if known is None:
        return External("", "")
    if MODE in got:
        mode = yamlfields.text(got[MODE], problems, f"{where}.{MODE}", choices=known.modes) or ""
    return External(program, mode)
