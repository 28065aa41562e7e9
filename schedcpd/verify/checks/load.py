# SPDX-License-Identifier: Apache-2.0
"""`load`: the kernel's own verifier takes every program, in the micro-VM; its log is kept."""

from __future__ import annotations

from schedcpd.errors import MicroVmError
from schedcpd.verify.check import Finding, Report, Subject
from schedcpd.verify.guest import Guest, run_probe

TIMEOUT_S = 90.0  # a scheduler of a thousand lines takes 2 s under emulation


class LoadCheck:
    """Loads without attaching. Reports instructions processed, as veristat does."""

    name = "load"

    async def run(self, subject: Subject, guest: Guest) -> Report:
        spec = {"tunables": dict(subject.tunables)}
        probe = await run_probe(guest, "load", subject.data, spec, TIMEOUT_S)
        if probe.last("loading") is None:
            raise MicroVmError(f"The probe could not begin: {probe.trouble}")
        rejected = probe.last("rejected")
        if rejected is not None:
            finding = Finding(
                "load.rejected",
                f"The kernel did not load it: {rejected['message']}",
                str(rejected["log"]),
                "the last lines of the kernel's log name the instruction and the reason",
            )
            return Report("", (finding,))
        if probe.run.exit_code is None:
            finding = Finding(
                "load.too-slow",
                f"The kernel's verifier was not done after {TIMEOUT_S:.0f} s ({probe.trouble}).",
                hint="bound loops tightly, or use bpf_for and bpf_loop",
            )
            return Report("", (finding,))
        loaded = probe.last("loaded")
        if probe.trouble or loaded is None:
            raise MicroVmError(f"The probe failed: {probe.trouble or 'it said nothing'}")
        programs = loaded["programs"]
        total = sum(p["instructions"] for p in programs)
        lines = [
            f"{p['name']}: {p['instructions']} instructions processed, "
            f"{p['states']} states, {p['log']}".rstrip(", ")
            for p in programs
        ]
        return Report(
            f"The kernel's verifier took {len(programs)} programs, {total} instructions processed.",
            evidence="\n".join(lines),
        )
