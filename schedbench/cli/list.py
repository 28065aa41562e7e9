# SPDX-License-Identifier: Apache-2.0
"""`schedbench list`: workloads, arms, profiles, suites."""

from __future__ import annotations

import argparse

from schedbench import profiles, suites, workload
from schedbench.arms import KINDS
from schedbench.cli import Commands, Exit, Output, command, table
from schedbench.codec import to_json
from schedbench.model import Clock

WHAT = ("workloads", "arms", "profiles", "suites")


def add(commands: Commands) -> None:
    parser = command(commands, "list", "what there is to run", _list)
    parser.add_argument("what", nargs="?", choices=WHAT, help="only these")


async def _list(options: argparse.Namespace, output: Output) -> Exit:
    wanted = (options.what,) if options.what else WHAT
    value: dict[str, object] = {}
    texts: list[str] = []
    for what in wanted:
        value[what], text = {
            "workloads": _workloads,
            "arms": _arms,
            "profiles": _profiles,
            "suites": _suites,
        }[what]()
        texts.append(text)
    output.result(value, "\n\n".join(texts))
    return Exit.DONE


def _clocks(clocks: frozenset[Clock]) -> str:
    return " ".join(sorted(clocks))


def _workloads() -> tuple[object, str]:
    found = workload.load_all()
    value = [
        {
            "name": one.name,
            "title": one.title,
            "clocks": one.clocks,
            "metrics": one.metrics,
            "sizes": sorted(one.sizes),
            "parts": one.parts,
            "digest": one.digest,
        }
        for one in found.values()
    ]
    rows = [
        (one.name, _clocks(one.clocks), " ".join(m.name for m in one.metrics), one.title)
        for one in found.values()
    ]
    return value, table(("WORKLOAD", "CLOCKS", "METRICS", "TITLE"), rows)


def _arms() -> tuple[object, str]:
    value = [
        {
            "name": name,
            "title": kind.title,
            "clocks": kind.clocks,
            "told_intents": kind.told_intents,
            "argument": kind.argument,
            "needs_argument": kind.needs_argument,
        }
        for name, kind in KINDS.items()
    ]
    rows = []
    for name, kind in KINDS.items():
        shown = f"{name}:NAME" if kind.needs_argument else f"{name}[:NAME]"
        title = f"{kind.title}; NAME is {kind.argument}" if kind.argument else kind.title
        rows.append((shown if kind.argument else name, _clocks(kind.clocks), title))
    return value, table(("ARM", "CLOCKS", "WHAT RUNS"), rows)


def _profiles() -> tuple[object, str]:
    value, rows = [], []
    for name, one in profiles.PROFILES.items():
        virtual = profiles.is_virtual(one)
        clocks = frozenset(Clock) if virtual else frozenset({Clock.WALL})
        value.append({**to_json(one), "title": profiles.TITLES[name], "clocks": clocks})
        rows.append((name, _clocks(clocks), f"{one.memory_mib} MiB", profiles.TITLES[name]))
    return value, table(("PROFILE", "CLOCKS", "MEMORY", "MACHINE"), rows)


def _suites() -> tuple[object, str]:
    found = {name: suites.load(name) for name in suites.names()}
    rows = [
        (name, one.size.value, str(one.boots), str(len(one.workloads)), suites.title(name))
        for name, one in found.items()
    ]
    return list(found.values()), table(("SUITE", "SIZE", "BOOTS", "WORKLOADS", "TITLE"), rows)
