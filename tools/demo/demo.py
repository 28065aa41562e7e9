# SPDX-License-Identifier: Apache-2.0
"""`make demo`: the main job, end to end, on a stock Debian kernel with sched_ext.

Resumes the micro-VM, installs the packages that `make deb` built, starts a parallel build and a web
server under load, and shows the daemon seeing them, inferring, swapping a scheduler, explaining it,
changing an intent live and rolling back. Every claim of the summary is read from the guest: the
scheduler's name from the kernel, signals from the bus. Exit code 0 only if every step happened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedcpd import microvm
from schedcpd.errors import SchedcpError

HERE = Path(__file__).parent
STARTED = float(os.environ.get("SCHEDCP_T0", time.time()))
OPS = "/sys/kernel/sched_ext/root/ops"
GUEST_ROUND = "/root/demo/round.py"
NGINX = """worker_processes 2; pid /run/demo-web.pid; error_log stderr; daemon off;
events { worker_connections 256; }
http { access_log off; server { listen 127.0.0.1:8080; root /var/www/html;
    location / { return 200 "served by the demo\\n"; } } }
"""


def say(text: str) -> None:
    print(f"[{time.time() - STARTED:4.0f}s] {text}", flush=True)


class StepError(Exception):
    """A step did not happen; the sentence says what was seen instead."""


@dataclass
class Report:
    """What happened, step by step, with its evidence."""

    steps: list[tuple[str, str, bool]] = field(default_factory=list)

    def seen(self, step: str, evidence: str) -> None:
        self.steps.append((step, evidence, True))
        say(f"  ✓ {step}: {evidence}")

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        say(name)
        try:
            yield
        except (StepError, SchedcpError) as error:
            self.steps.append((name, str(error), False))
            say(f"  ✗ {error}")
            raise


def must(condition: object, sentence: str) -> None:
    if not condition:
        raise StepError(sentence)


class Guest:
    """The micro-VM as a user at its shell sees it."""

    def __init__(self, vm: microvm.MicroVm) -> None:
        self.vm = vm

    async def sh(self, command: str, *, timeout_s: float = 120) -> str:
        result = await self.vm.run(["sh", "-c", command], timeout_s=timeout_s)
        return result.check().text.strip()

    async def schedctl(self, *words: str) -> Any:
        result = await self.vm.run(["schedctl", *words, "--json"], timeout_s=120)
        document = json.loads(result.check().text)
        return next(content for name, content in document.items() if name != "version")

    async def intents(self) -> dict[str, dict[str, Any]]:
        """Every workload as `schedctl list` has it, by its unit."""
        return {row["unit"]: row for row in (await self.schedctl("list"))["workloads"]}

    async def kernel_scheduler(self) -> str:
        """The sched_ext scheduler's name from the kernel, "" while the kernel's own runs."""
        return await self.sh(
            f'[ "$(cat /sys/kernel/sched_ext/state)" = enabled ] && cat {OPS} || true'
        )

    async def wait_for(self, what: str, limit_s: float, test: Any) -> Any:
        until = time.monotonic() + limit_s
        while True:
            found = await test()
            if found:
                return found
            must(time.monotonic() < until, f"{what}: not within {limit_s:.0f} s")
            await asyncio.sleep(0.5)

    async def round(self, source: str, seconds: int) -> dict[str, Any]:
        text = await self.sh(
            f"python3 {GUEST_ROUND} --source {source} --seconds {seconds}", timeout_s=900
        )
        return dict(json.loads(text.splitlines()[-1]))

    async def signals(self) -> list[dict[str, Any]]:
        text = await self.sh("cat /run/demo-signals.json")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def shown(one: dict[str, Any]) -> str:
    return f"p99 {one['p99_ms']:.1f} ms, {one['rps']:.0f} requests/s, build {one['build_s']:.1f} s"


async def prepare(guest: Guest, debs: Path, report: Report) -> None:
    async with report.step("A stock Debian machine"):
        await guest.vm.put(HERE / "round.py", GUEST_ROUND)
        await guest.vm.put(debs, "/root/debs")
        await guest.sh(f"cat > /root/demo/nginx.conf <<'END'\n{NGINX}END")
        kernel = await guest.sh("uname -r")
        must(await guest.kernel_scheduler() == "", "a sched_ext scheduler already runs")
        cpus = await guest.sh("nproc")
        report.seen("kernel", f"{kernel}, {cpus} CPUs, {guest.vm.accelerator.value.upper()}")
        await guest.sh(
            "systemd-run --quiet --unit=demo-web --slice=demo-web.slice "
            "nginx -c /root/demo/nginx.conf"
        )

        async def answers() -> str:
            return await guest.sh("wrk -t1 -c1 -d1s http://127.0.0.1:8080/ | grep Requests || true")

        await guest.wait_for("the web server", 60, answers)


async def install(guest: Guest, report: Report) -> None:
    async with report.step("Installing the packages"):
        await guest.sh(
            "apt-get install -y --no-install-recommends /root/debs/schedcp_*.deb",
            timeout_s=300,
        )

        async def active() -> bool:
            return await guest.sh("systemctl is-active schedcpd.service || true") == "active"

        await guest.wait_for("schedcpd.service active", 90, active)
        version = await guest.sh("dpkg-query -W -f '${Version}' schedcp")
        report.seen("schedcp installed", f"{version}, schedcpd.service active")
        await guest.sh(
            "systemd-run --quiet --unit=demo-signals --property=StandardOutput="
            "file:/run/demo-signals.json busctl monitor --json=short "
            "--match=\"type='signal',path_namespace='/org/schedcp'\""
        )


async def sees_and_acts(guest: Guest, report: Report) -> None:
    """The daemon names both workloads, infers, and its scheduler runs."""
    async with report.step("The daemon sees the workloads and acts"):
        want = {"demo-web.service": "latency", "demo-build.service": "batch"}
        source = await source_of(guest)
        await guest.sh(
            f"cp -r {source} /tmp/demo-first && systemd-run --quiet --collect --unit=demo-build "
            "--slice=demo-build.slice --working-directory=/tmp/demo-first make -j4"
        )

        async def inferred() -> dict[str, Any] | None:
            rows = await guest.intents()
            good = all(rows.get(u, {}).get("intent") == c for u, c in want.items())
            return rows if good else None

        rows = await guest.wait_for(f"intents {want}", 60, inferred)
        for unit, intent in want.items():
            report.seen(f"{unit} wants {intent}", str(rows[unit].get("intent_reason", "")))

        name = await guest.wait_for("a sched_ext scheduler", 60, guest.kernel_scheduler)
        status = await guest.schedctl("status")
        must(status["scheduler"] == name, f"schedctl says {status['scheduler']}, kernel {name}")
        report.seen("scheduler running", f"the kernel names {name}; policy {status['policy']}")
        await guest.sh("systemctl stop demo-build.service || true")


async def source_of(guest: Guest) -> str:
    return await guest.sh("find /usr/src -mindepth 1 -maxdepth 1 -type d | head -n 1")


async def explains(guest: Guest, report: Report) -> None:
    async with report.step("It explains itself"):
        text = await guest.sh("schedctl explain demo-web.service")
        print("\n".join("      " + line for line in text.splitlines()), flush=True)
        must("latency" in text, "the explanation does not name the intent")
        report.seen("explained", f"{len(text.splitlines())} lines for demo-web.service")


async def changes_live(guest: Guest, report: Report) -> None:
    async with report.step("An intent changes without a reload"):
        before = await guest.sh("cat /sys/kernel/sched_ext/enable_seq")
        await guest.schedctl("pin", "demo-web.service", "interactive")
        rows = await guest.intents()
        must(rows["demo-web.service"]["intent"] == "interactive", "the pin is not in force")
        await guest.schedctl("unpin", "demo-web.service")
        after = await guest.sh("cat /sys/kernel/sched_ext/enable_seq")
        must(before == after, f"the scheduler was reloaded: enable_seq {before} -> {after}")
        report.seen("live change", f"latency -> interactive -> latency, enable_seq stayed {after}")


async def rolls_back(guest: Guest, report: Report) -> None:
    async with report.step("It rolls back"):
        if not await guest.kernel_scheduler():  # a busy machine's canary may have been first
            last = (await guest.schedctl("explain"))["last_outcome"]
            say(f"  the daemon went back by itself: {last['reason']}; {last['policy']} once more")
            await guest.schedctl("apply", last["policy"])
            await guest.wait_for("a sched_ext scheduler", 60, guest.kernel_scheduler)
        await guest.schedctl("rollback")

        async def gone() -> bool:
            return await guest.kernel_scheduler() == ""

        await guest.wait_for("the kernel's default", 30, gone)
        state = await guest.sh("cat /sys/kernel/sched_ext/state")
        report.seen("rolled back", f"/sys/kernel/sched_ext/state is {state}")
        seen = {str(signal.get("member")) for signal in await guest.signals()}
        for member in ("SchedulerChanged", "IntentChanged", "RolledBack"):
            must(member in seen, f"no D-Bus signal {member} was seen, only {sorted(seen)}")
        report.seen("D-Bus signals", ", ".join(sorted(seen)))


async def measure(guest: Guest, report: Report, rounds: int, seconds: int) -> None:
    """Rounds under the kernel's default and under schedcp, in turn, in the same VM."""
    source = await source_of(guest)
    arms: dict[str, list[dict[str, Any]]] = {"default": [], "schedcp": []}
    async with report.step(
        f"Measuring: {rounds} rounds of each, in turn, {seconds} s of load each"
    ):
        for number in range(rounds):
            for arm in ("default", "schedcp") if number % 2 == 0 else ("schedcp", "default"):
                policy = "kernel-default" if arm == "default" else "auto"
                await guest.schedctl("apply", policy)
                one = await guest.round(source, seconds)
                ours = bool(one["scheduler_during"])
                must(
                    ours == (arm == "schedcp"),
                    f"round {number + 1} of {arm} ran under {one['scheduler_during'] or 'default'}",
                )
                must(not one["errors"], f"the load generator saw {one['errors']}")
                say(f"    {arm:8} {shown(one)}" + (f" ({one['scheduler_during']})" if ours else ""))
                arms[arm].append(one)
        short = [a for a, ones in arms.items() for one in ones if not one["build_outlived_load"]]
        if short:
            say(f"    note: the build ended before the load in {len(short)} rounds ({short})")
        for key, label, unit in (("p99_ms", "p99 latency", "ms"), ("build_s", "build", "s")):
            values = {arm: [one[key] for one in ones] for arm, ones in arms.items()}
            mid = {arm: statistics.median(v) for arm, v in values.items()}
            spread = {arm: f"{min(v):.1f}-{max(v):.1f}" for arm, v in values.items()}
            report.seen(
                label,
                f"default {mid['default']:.1f} {unit} ({spread['default']}), "
                f"schedcp {mid['schedcp']:.1f} {unit} ({spread['schedcp']}), "
                f"ratio default/schedcp {mid['default'] / mid['schedcp']:.2f}",
            )


async def demo(args: argparse.Namespace, report: Report) -> None:
    spec = microvm.VmSpec(cores=args.cpus, memory_mib=1536)
    say("Resuming the micro-VM")
    async with microvm.resume(spec, limit_s=2400, progress=say) as vm:
        guest = Guest(vm)
        await prepare(guest, args.debs.resolve(), report)
        await install(guest, report)
        await sees_and_acts(guest, report)
        await explains(guest, report)
        await changes_live(guest, report)
        await measure(guest, report, args.rounds, args.seconds)
        await guest.schedctl("apply", "auto")
        await rolls_back(guest, report)


def summary(report: Report) -> bool:
    print("\nSummary")
    for step, evidence, good in report.steps:
        print(f"  {'✓' if good else '✗'} {step:34} {evidence}")
    good = bool(report.steps) and all(ok for _, _, ok in report.steps)
    print("\nAll of it happened." if good else "\nNot all of it happened.")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--debs", type=Path, required=True, help="directory of the .deb packages")
    parser.add_argument("--cpus", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each arm")
    parser.add_argument("--seconds", type=int, default=10, help="load in each round")
    args = parser.parse_args()
    report = Report()
    try:
        asyncio.run(demo(args, report))
    except (StepError, SchedcpError) as error:
        if not report.steps or report.steps[-1][2]:
            report.steps.append(("demo", str(error), False))
    return 0 if summary(report) else 1


if __name__ == "__main__":
    sys.exit(main())
