# SPDX-License-Identifier: Apache-2.0
"""`behaviour`: attached in the micro-VM, it serves every kind of task under load.

One run with the tunables given, then a short one with each tunable at its lowest and one with
each at its highest value, since a verdict covers the declared ranges. Beside them, in the same
machine, the control: the same load under the kernel's default. What passed there has a short run
on another topology, where a CPU is taken away and given back too.

Under the host's clock a failure that a busy host can cause is measured again. Under the virtual
clock nothing of the host is seen, so every run is the only one, and both machines run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from schedcpd.errors import MicroVmError
from schedcpd.model import VerdictClock
from schedcpd.verify.check import Finding, Report, Subject, variants
from schedcpd.verify.guest import Guest, ProbeRun, run_probe
from schedcpd.verify.judge import control_problem, judge, table

CONTROL_S = 5.0
CONSERVE_S = 12.0  # both looks at idle CPUs, at most
RUN_S = 10.0
EXTREME_S = 5.0
ELSEWHERE_S = 4.0  # on the other topology, candidate and control
LOAD_S = 30.0  # for the kernel's verifier, before each run
MARGIN_S = 60.0  # beyond what all that takes: waits for a light task, and a busy host
ATTEMPTS = 3
ELSEWHERE = "four CPUs in two caches, two threads a core"
# exit reason of a scheduler without cpu_online and cpu_offline (kernel/sched/ext: scx_exit_reason):
# it is loaded again, as the daemon does.
_RESTARTED = "unregistered from the main kernel"
_TIMED = frozenset(
    {"behaviour.starved", "behaviour.kthread-starved", "behaviour.stalled", "behaviour.idle-cpu"}
)


class BehaviourCheck:
    """A frozen guest fails the candidate; a guest that never got to it is a MicroVmError."""

    name = "behaviour"

    async def run(self, subject: Subject, guest: Guest) -> Report:
        runs = [
            {**asdict(variant), "seconds": EXTREME_S if number else RUN_S}
            for number, variant in enumerate(variants(subject))
        ]
        short = [{**runs[0], "seconds": ELSEWHERE_S}]

        async def elsewhere() -> Report:
            return await _judged(guest.elsewhere, subject, short, ELSEWHERE_S, hotplug=True)

        at_once = guest.clock is VerdictClock.VIRTUAL
        beside = asyncio.create_task(elsewhere()) if at_once else None
        try:
            here = await _judged(guest, subject, runs, CONTROL_S, hotplug=False)
            if here.findings:
                return here
            there = await (beside or elsewhere())
        finally:
            if beside is not None:
                beside.cancel()
                await asyncio.gather(beside, return_exceptions=True)
        findings = [
            Finding(f.reason, f"On {ELSEWHERE}: {f.sentence}", f.evidence, f.hint)
            for f in there.findings
        ]
        evidence = f"{here.evidence}\n\non {ELSEWHERE}:\n{there.evidence}"
        return Report(f"{here.sentence} So on {ELSEWHERE}.", tuple(findings), evidence)


async def _judged(
    guest: Guest,
    subject: Subject,
    runs: Sequence[Mapping[str, Any]],
    control_s: float,
    *,
    hotplug: bool,
) -> Report:
    """The runs on one machine, repeated while a busy host may be to blame, each time for longer:
    what a busy host does to a wait does not grow with the run, what a scheduler forgets does.
    Once, where no host can be to blame."""
    votes: list[Report] = []
    trouble = ""
    attempts = ATTEMPTS if guest.clock is VerdictClock.WALL else 1
    for stretch in range(1, attempts + 1):
        longer = [{**run, "seconds": stretch * run["seconds"]} for run in runs]
        spec = {
            "ops": subject.manifest.ops,
            "control_seconds": stretch * control_s,
            "runs": longer,
            "hotplug": hotplug,
        }
        seconds = CONSERVE_S + stretch * control_s + sum(r["seconds"] + LOAD_S for r in longer)
        probe = await run_probe(guest, "behaviour", subject.data, spec, seconds + MARGIN_S)
        report, trouble = conclude(probe)
        if trouble and not report.findings:
            continue  # not even the control was fair
        votes.append(report)
        if attempts == 1:
            return report
        if decided := decision(votes):
            return decided
    if len(votes) < 2:
        raise MicroVmError(
            f"No fair judgement in {attempts} attempts: {trouble or 'seen failing only once'}",
            hint="try again when the machine is less busy",
        )
    return next(report for report in reversed(votes) if report.findings)


def decision(votes: Sequence[Report]) -> Report | None:
    """What the attempts so far decide, None while another is needed.

    A pass at the first attempt stands, and so does a failure that a busy host cannot cause. One
    that it can cause (somebody waited too long) must be seen in two attempts of three.
    """
    last = votes[-1]
    failed = [report for report in votes if report.findings]
    if any(finding.reason not in _TIMED for finding in last.findings):
        return last
    if len(failed) >= 2:
        return failed[-1]
    if not last.findings and len(votes) - len(failed) > len(failed):
        return last
    return None


def conclude(probe: ProbeRun) -> tuple[Report, str]:
    """The report, and why it should be measured again ("" when it stands)."""
    control = probe.last("control")
    if control is None:
        raise MicroVmError(f"The probe did not get to the control: {probe.trouble}")
    busy = control_problem(control)
    if busy:
        return Report(""), busy
    findings: list[Finding] = []
    evidence = []
    for run in probe.all("measured"):
        found = judge(control, run)
        findings += [_of_run(f, run["name"]) for f in found]
        evidence.append(f"{run['name']}: {run['tunables']}\n{table(control, run)}")
    plugged = probe.last("hotplug")
    if plugged is not None and not plugged["healthy"] and _RESTARTED not in plugged["exit"]:
        finding = Finding(
            "behaviour.hotplug",
            f"It did not come through CPU {plugged['cpu']} going offline and coming back.",
            str(plugged["exit"]),
            "leave out cpu_online and cpu_offline, and it is loaded again; or serve what waits "
            "for a CPU that goes",
        )
        findings.append(_of_run(finding, plugged["name"]))
    refused = probe.last("not-enabled")
    if refused is not None:
        finding = Finding(
            "behaviour.not-enabled",
            f"It never became the scheduler: {refused['message']}",
            str(refused.get("exit", "")),
            "an attach alone proves nothing: init and init_task must succeed",
        )
        findings.append(_of_run(finding, refused["name"]))
    elif probe.trouble:
        begun = probe.last("attaching")
        if begun is None:
            raise MicroVmError(f"The probe failed before it attached anything: {probe.trouble}")
        reason, hint = "behaviour.broken", ""
        if probe.run.died:
            reason = "behaviour.crashed"
        elif probe.run.exit_code is None:
            reason, hint = "behaviour.frozen", "bound every loop: ops run with the run queue locked"
        sentence = f"The machine did not come through it: {probe.trouble}"
        finding = Finding(reason, sentence, hint=hint)
        findings.append(_of_run(finding, begun["name"]))
    report = Report(
        f"{len(evidence)} runs under load: every task served, still enabled, gone when detached.",
        tuple(findings),
        "\n\n".join(evidence),
    )
    return report, ""


def _of_run(finding: Finding, run: str) -> Finding:
    return Finding(finding.reason, f"({run}) {finding.sentence}", finding.evidence, finding.hint)
