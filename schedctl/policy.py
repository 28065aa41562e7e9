# SPDX-License-Identifier: Apache-2.0
"""`schedctl policy`: the Scheduler Policy Repository for a person."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from schedctl.client import Daemon
from schedctl.parser import normalise_target
from schedctl.policy_files import diff, word
from schedctl.session import Session
from schedctl.text import Column, safe


async def listing(session: Session) -> None:
    found = await session.read(lambda control: control.policies())
    if session.output.json_wanted:
        session.output.document("policies", found)
        return
    rows = [
        [
            policy.get("name", ""),
            policy.get("scheduler", "") or "-",
            "yes" if policy.get("current") else "",
            "no" if policy.get("unavailable") else "yes",
            policy.get("origin", ""),
            policy.get("description", ""),
        ]
        for policy in found
    ]
    columns = [
        Column("NAME"),
        Column("SCHEDULER"),
        Column("CURRENT"),
        Column("USABLE"),
        Column("ORIGIN"),
        Column("DESCRIPTION", shrink=True),
    ]
    session.output.table(columns, rows)


async def show(session: Session) -> None:
    name = session.options.name
    policy = await session.read(lambda control: control.show_policy(name))
    if session.output.json_wanted:
        session.output.document("policy", policy)
        return
    for label, value in [*_rows(policy), *_known(policy)]:
        session.output.line(f"{session.output.paint(f'{label:<11}', 'bold')}  {safe(value)}")


def _rows(policy: Mapping[str, Any]) -> list[tuple[str, str]]:
    place = f"{policy.get('file')}:{policy.get('line')}" if policy.get("file") else "built in"
    by = f" by {policy['author']}" if policy.get("author") else ""
    rows = [
        ("Name", str(policy["name"]) + (" (runs now)" if policy.get("current") else "")),
        ("About", str(policy.get("description", ""))),
        ("Scheduler", str(policy.get("scheduler") or "the kernel's own")),
        *_program(policy),
        ("Extends", str(policy.get("extends") or "-")),
        ("Serves", ", ".join(policy.get("intents", ())) or "-"),
        ("Chosen for", ", ".join(policy.get("chosen_for", ())) or "-"),
        ("Machines", _pairs(policy.get("machines", {})) or "any"),
        ("Promises", _promises(policy.get("slo", {})) or "-"),
        ("Limits", _pairs(policy.get("limits", {})) or "-"),
        ("Priority", str(policy.get("priority", ""))),
        ("Origin", f"{policy.get('origin', '')}{by}, {place}"),
        ("Content", str(policy.get("sha256", ""))),
        ("Standing", str(policy.get("standing", ""))),
    ]
    rows += [(f"  {name}", word(value)) for name, value in policy.get("tunables", {}).items()]
    return rows


def _program(policy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an external scheduler runs, and why it cannot."""
    rows = []
    if policy.get("external"):
        arguments = " ".join(map(str, policy.get("arguments", ())))
        where = str(policy.get("program") or policy.get("scheduler"))
        rows.append(("Runs", f"{where} {arguments}".strip()))
    if policy.get("unavailable"):
        rows.append(("Unusable", str(policy["unavailable"])))
    return rows


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {word(value)}" for name, value in values.items())


def _promises(slo: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{intent} {_pairs(promise)}" for intent, promise in slo.items())


def _known(policy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the repository knows of it: why it is not chosen, who verified it, how it did."""
    rows = [("Not chosen", why) for why in (policy.get("not_chosen"), policy.get("unfit")) if why]
    for verdict in policy.get("verdicts", ()):
        said = "passed" if verdict["passed"] else "failed"
        beyond = "" if verdict["covers"] else ", not for these tunables"
        rows.append(("Verified", f"{said} on {verdict['kernel']} ({verdict['by']}{beyond})"))
    if policy.get("verdicts_trouble"):
        said = "no" if policy.get("external") else "cannot be told"
        rows.append(("Verified", f"{said}: {policy['verdicts_trouble']}"))
    rows += [("Trial", _trial(trial)) for trial in policy.get("trials", ())]
    rows += [("Event", _event(event)) for event in policy.get("events", ())]
    return rows


def _when(at_unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_unix_s))


def _event(event: Mapping[str, Any]) -> str:
    why = f": {event['reason']}" if event.get("reason") else ""
    return f"{_when(event['at_unix_s'])} {event['action']} by {event['actor']}{why}"


def _trial(trial: Mapping[str, Any]) -> str:
    missed = "".join(f"; {sentence}" for sentence in trial.get("missed", ()))
    machine = trial.get("machine", {})
    ran = f"{trial['seconds']:.0f} s on {machine.get('cpus')} CPUs, {machine.get('power')}"
    beside = ", ".join(str(each.get("name")) for each in trial.get("workloads", ())[:3])
    return (
        f"{_when(trial['at_unix_s'])} {trial['kind']} after {ran}"
        f"{' with ' + beside if beside else ''}: {trial['reason']}{missed}"
    )


async def search(session: Session) -> None:
    options = session.options
    words, target = " ".join(options.words), normalise_target(options.workload)

    async def question(control: Daemon) -> Any:
        return await control.search_policies(
            words,
            intent=options.intent,
            workload=target,
            here=options.here,
            limit=options.limit,
        )

    found = await session.read(question)
    if session.output.json_wanted:
        session.output.document("found", found)
        return
    rows = [
        [
            each["name"],
            each["standing"],
            f"{each['score']:+.2f}" if each["neighbours"] else "-",
            _nearest(each["neighbours"]),
            each["unfit"] or "yes",
            each["description"],
        ]
        for each in found
    ]
    columns = [
        Column("NAME"),
        Column("STANDING"),
        Column("SCORE", right=True),
        Column("NEAREST", shrink=True),
        Column("FITS", shrink=True),
        Column("DESCRIPTION", shrink=True),
    ]
    session.output.table(columns, rows)


def _nearest(neighbours: list[Mapping[str, Any]]) -> str:
    if not neighbours:
        return "-"
    first = neighbours[0]
    return f"{first['workload']} ({first['distance']:.2f}, {first['kind']})"


async def history(session: Session) -> None:
    name, limit = session.options.name, session.options.limit
    found = await session.read(lambda control: control.policy_history(name, limit))
    if session.output.json_wanted:
        session.output.document("history", found)
        return
    rows = [(each["at_unix_s"], each["policy"], "event", _event(each)) for each in found["events"]]
    rows += [(each["at_unix_s"], each["policy"], "trial", _trial(each)) for each in found["trials"]]
    rows.sort(key=lambda row: -row[0])
    columns = [Column("POLICY"), Column("WHAT"), Column("SENTENCE", shrink=True)]
    session.output.table(columns, [row[1:] for row in rows[:limit]])


async def promote(session: Session) -> None:
    name, reason = session.options.name, session.options.reason
    after = await session.change(lambda control: control.promote_policy(name, reason))
    session.said("policy", after, f"{name}: promoted; it may be chosen by itself")


async def retire(session: Session) -> None:
    name, reason = session.options.name, session.options.reason
    after = await session.change(lambda control: control.retire_policy(name, reason))
    session.said("policy", after, f"{name}: retired; it is not chosen by itself any more")


COMMANDS = {
    "list": listing,
    "show": show,
    "diff": diff,
    "search": search,
    "history": history,
    "promote": promote,
    "retire": retire,
}


async def policy(session: Session) -> None:
    await COMMANDS[session.options.policy_command](session)
