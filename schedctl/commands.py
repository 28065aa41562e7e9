# SPDX-License-Identifier: Apache-2.0
"""What each command does: ask the daemon, then print for a person or as JSON."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from schedctl import explanation, killswitch, policy
from schedctl.client import Daemon
from schedctl.exits import CallError
from schedctl.parser import normalise_target
from schedctl.session import Session
from schedctl.text import Column, Output, safe
from schedctl.watch import watch

_STATE_COLOURS = {
    "active": "good",
    "default": "",
    "starting": "warn",
    "foreign": "warn",
    "killed": "bad",
    "unsupported": "bad",
}


async def status(session: Session) -> None:
    values = await session.read(lambda control: control.status())
    out = session.output
    if out.json_wanted:
        out.document("status", values)
        return
    scheduler = values["scheduler"] or "the kernel's own"
    rows = [
        ("State", out.paint(safe(values["state"]), _STATE_COLOURS.get(values["state"], ""))),
        ("Reason", safe(values["state_reason"]) or "-"),
        ("Scheduler", safe(f"{scheduler} (Linux {values['kernel']})")),
        ("Policy", safe(f"{values['policy'] or '-'} ({values['policy_source'] or '-'})")),
        ("Last good", safe(values["last_known_good"]) or "-"),
        ("Deployment", safe(values["deployment_id"]) or "-"),
        ("Inference", safe(values["inference"])),
        ("Agent", safe(values["agent"]) or "-"),
        ("Kill switch", out.paint("set", "bad") if values["kill_switch"] else "off"),
        ("Workloads", str(values["workloads"])),
        ("Version", safe(values["version"])),
    ]
    for label, value in rows:
        out.line(f"{out.paint(f'{label:<11}', 'bold')}  {value}")


async def listing(session: Session) -> None:
    async def question(control: Daemon) -> tuple[list[dict[str, Any]], dict[str, str]]:
        found = await control.workloads()
        return [{"object": path, **values} for path, values in found.items()], await control.pins()

    workloads, pins = await session.read(question)
    out = session.output
    living = {each["cgroup"] for each in workloads}
    absent = {cgroup: intent for cgroup, intent in pins.items() if cgroup not in living}
    if not session.options.all:
        workloads = [each for each in workloads if each["populated"]]
    workloads.sort(key=lambda each: each["cgroup"])
    if out.json_wanted:
        out.document("list", {"workloads": workloads, "pinned_absent": absent})
        return
    rows: list[list[object]] = []
    colours = []
    for each in workloads:
        rows.append(
            [
                each["name"] or each["cgroup"],
                each["intent"],
                each["intent_source"],
                each["processes"],
                f"{each['pressure_avg10']:.1f}%",
                each["cgroup"],
            ]
        )
        colours.append("" if each["populated"] else "dim")
    for cgroup, intent in sorted(absent.items()):
        rows.append(["(not running)", intent, "pin", 0, "-", cgroup])
        colours.append("dim")
    columns = [
        Column("NAME", shrink=True),
        Column("INTENT"),
        Column("SOURCE"),
        Column("PROCS", right=True),
        Column("CPU-WAIT", right=True),
        Column("CGROUP", shrink=True),
    ]
    out.table(columns, rows, colours)


async def pin(session: Session) -> None:
    target = normalise_target(session.options.target)
    intent = session.options.intent
    after = await session.change(lambda control: control.pin(target, intent))
    session.said("workload", after, f"{after['cgroup']}: pinned to {after['intent']}")


async def unpin(session: Session) -> None:
    target = normalise_target(session.options.target)

    async def action(control: Daemon) -> dict[str, Any] | None:
        await control.unpin(target)
        try:
            return await control.workload(target)
        except CallError:
            return None  # the pin was of a workload that does not run

    after = await session.change(action)
    now = f"; now {after['intent']} ({after['intent_source']})" if after else ""
    session.said("workload", after or {}, f"{target}: unpinned{now}")


async def _status_after(
    session: Session, action: Callable[[Daemon], Awaitable[None]], sentence: str
) -> None:
    async def both(control: Daemon) -> dict[str, Any]:
        await action(control)
        return await control.status()

    values = await session.change(both)
    scheduler = values["scheduler"] or "the kernel's own scheduler"
    session.said("status", values, f"{sentence}: policy {values['policy']}, {scheduler} runs")


async def apply(session: Session) -> None:
    name = session.options.policy
    await _status_after(session, lambda control: control.apply(name), "applied")


async def rollback(session: Session) -> None:
    reason = session.options.reason
    await _status_after(session, lambda control: control.rollback(reason), "rolled back")


async def reload(session: Session) -> None:
    await _status_after(session, lambda control: control.reload(), "reloaded")


async def kill(session: Session) -> None:
    options = session.options
    done = await killswitch.kill(
        session.address,
        options.reason,
        Path(options.state_dir),
        ask_password=session.ask_password,
    )
    session.said("kill", {"done": done}, "; ".join(done))


async def resume(session: Session) -> None:
    done = await killswitch.resume(
        session.address, Path(session.options.state_dir), ask_password=session.ask_password
    )
    session.said("resume", {"done": done}, "; ".join(done))


async def explain(session: Session) -> None:
    target = normalise_target(session.options.target)
    content = await session.read(lambda control: control.explain(target))
    if session.output.json_wanted:
        session.output.document("explain", content)
    else:
        session.output.line(explanation.text(content))


async def log(session: Session) -> None:
    options = session.options
    subject = normalise_target(options.subject)
    records = await session.read(
        lambda control: control.history(options.limit, options.kind, subject)
    )
    if session.output.json_wanted:
        session.output.document("records", records)
        return
    rows = [
        [
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["at_unix_s"])),
            record["kind"],
            record["subject"],
            record["summary"],
        ]
        for record in records
    ]
    columns = [
        Column("TIME"),
        Column("KIND"),
        Column("SUBJECT", shrink=True),
        Column("SUMMARY", shrink=True),
    ]
    session.output.table(columns, rows)


async def watching(session: Session) -> None:
    await watch(session.address, session.output)


COMMANDS: Mapping[str, Callable[[Session], Awaitable[None]]] = {
    "status": status,
    "list": listing,
    "pin": pin,
    "unpin": unpin,
    "apply": apply,
    "rollback": rollback,
    "kill": kill,
    "resume": resume,
    "explain": explain,
    "watch": watching,
    "log": log,
    "policies": policy.listing,
    "policy": policy.policy,
    "reload": reload,
}


def run(options: argparse.Namespace, output: Output) -> None:
    """Runs one command. SchedcpErrors say why it could not be done."""
    asyncio.run(_main(Session(options, output)))


async def _main(session: Session) -> None:
    await COMMANDS[session.options.command](session)
