# SPDX-License-Identifier: Apache-2.0
"""`behaviour`: attached in the micro-VM, it serves every kind of task under load.

One run with the tunables given, then a short one with each tunable at its lowest and one with
each at its highest value, since a verdict covers the declared ranges. Beside them, in the same
machine, the control: the same load under the kernel's default.
"""

from __future__ import annotations

from dataclasses import asdict

from schedcpd.errors import MicroVmError
from schedcpd.verify.check import Finding, Report, Subject, variants
from schedcpd.verify.guest import Guest, ProbeRun, run_probe
from schedcpd.verify.judge import control_problem, judge, table

CONTROL_S = 5.0
RUN_S = 10.0
EXTREME_S = 5.0
LOAD_S = 30.0  # for the kernel's verifier, before each run
MARGIN_S = 60.0  # wall clock beyond what all that takes, on a busy machine
ATTEMPTS = 3
BUSY_NS = 1_000_000_000  # the supervisor was late by this: measure again


class BehaviourCheck:
    """A frozen guest fails the candidate; a guest that never got to it is a MicroVmError."""

    name = "behaviour"

    async def run(self, subject: Subject, guest: Guest) -> Report:
        runs = [
            {**asdict(variant), "seconds": EXTREME_S if number else RUN_S}
            for number, variant in enumerate(variants(subject))
        ]
        spec = {"ops": subject.manifest.ops, "control_seconds": CONTROL_S, "runs": runs}
        seconds = CONTROL_S + sum(r["seconds"] + LOAD_S for r in runs)
        trouble = ""
        for _ in range(ATTEMPTS):
            probe = await run_probe(guest, "behaviour", subject.data, spec, seconds + MARGIN_S)
            report, trouble = conclude(probe)
            if not trouble:
                return report
        if not report.findings:
            raise MicroVmError(
                f"No fair judgement in {ATTEMPTS} attempts: {trouble}",
                hint="try again when the machine is less busy",
            )
        return report


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
    again = ""
    for run in probe.all("measured"):
        found = judge(control, run)
        findings += [_of_run(f, run["name"]) for f in found]
        evidence.append(f"{run['name']}: {run['tunables']}\n{table(control, run)}")
        if found and run["healthy"] and run["stall_ns"] > BUSY_NS:
            again = f"the machine stood still for {run['stall_ns'] / 1e9:.1f} s"
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
    return report, again


def _of_run(finding: Finding, run: str) -> Finding:
    return Finding(finding.reason, f"({run}) {finding.sentence}", finding.evidence, finding.hint)
