# SPDX-License-Identifier: Apache-2.0
"""`load`: the kernel's own verifier takes every program, in the micro-VM; its log is kept.

Constants decide which branches the verifier walks, so the ends of the tunables' ranges are loaded
too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from schedcpd.errors import MicroVmError
from schedcpd.verify.check import Finding, Report, Subject, variants
from schedcpd.verify.guest import Guest, run_probe

TIMEOUT_S = 60.0  # for each variant; a scheduler of a thousand lines takes 4 s under emulation


class LoadCheck:
    """Loads without attaching. Reports instructions processed, as veristat does."""

    name = "load"

    async def run(self, subject: Subject, guest: Guest) -> Report:
        loads = [asdict(variant) for variant in variants(subject)]
        limit = TIMEOUT_S * len(loads)
        spec = {"ops": subject.manifest.ops, "loads": loads}
        probe = await run_probe(guest, "load", subject.data, spec, limit)
        if probe.last("loading") is None:
            raise MicroVmError(f"The probe could not begin: {probe.trouble}")
        rejected = probe.last("rejected")
        if rejected is not None:
            finding = Finding(
                "load.rejected",
                f"({rejected['name']}) The kernel did not load it: {rejected['message']}",
                str(rejected["log"]),
                "the last lines of the kernel's log name the instruction and the reason",
            )
            return Report("", (finding,))
        if probe.run.exit_code is None:
            finding = Finding(
                "load.too-slow",
                f"The kernel's verifier was not done after {limit:.0f} s ({probe.trouble}).",
                f"while loading it with the tunables {probe.all('loading')[-1]['name']}",
                hint="bound loops tightly, or use bpf_for and bpf_loop",
            )
            return Report("", (finding,))
        loaded = probe.all("loaded")
        if probe.trouble or not loaded:
            raise MicroVmError(f"The probe failed: {probe.trouble or 'it said nothing'}")
        totals = [sum(p["instructions"] for p in one["programs"]) for one in loaded]
        lines = [
            f"{one['name']}: {total} instructions processed in {one['seconds']:.1f} s"
            for one, total in zip(loaded, totals, strict=True)
        ]
        lines += veristat(loaded[0]["programs"])
        return Report(
            f"The kernel's verifier took {len(loaded[0]['programs'])} programs, "
            f"{max(totals)} instructions processed at most, "
            f"{sum(p['states'] for p in loaded[0]['programs'])} states.",
            evidence="\n".join(lines),
        )


def veristat(programs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table with veristat's columns, the most expensive program first, to compare with before."""
    columns = f"{'usec':>8} {'insns':>8} {'states':>7} {'peak':>6} {'max/insn':>8} {'stack':>5}"
    head = f"{'program':28} {columns}"
    rows = [
        f"{p['name']:28} {p['microseconds']:8} {p['instructions']:8} {p['states']:7} "
        f"{p['peak_states']:6} {p['max_states']:8} {p['stack']:5}{p['log']}"
        for p in sorted(programs, key=lambda p: (-p["instructions"], p["name"]))
    ]
    return [head, *rows]
