# SPDX-License-Identifier: Apache-2.0
"""`schedctl explain` for a person: one line a step of the decision. `--json` has every detail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schedctl.text import safe


def lines(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what, sentence) pairs in the order in which the decision was made."""
    yield from _workload(content)
    yield "state", f"{content.get('state', '')}: {content.get('reason', '')}"
    yield from _deployment(content)


def _workload(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    workload, signal = content.get("workload"), content.get("signal")
    if not workload:
        return
    yield "cgroup", f"{workload.get('cgroup', '')} (id {workload.get('cgroup_id', '')})"
    if signal:
        yield "signal", str(signal.get("kind", ""))
    seconds = workload.get("cpu_usage_us", 0) / 1e6
    runs = ", ".join(workload.get("executables") or []) or "nothing yet"
    yield (
        "is",
        f"{workload.get('kind', '')} {workload.get('name', '')}; runs {runs}; "
        f"{workload.get('nr_procs', 0)} processes, {seconds:.1f} s of CPU",
    )
    intent = content.get("intent") or {}
    by = (
        f" ({intent['model']}, confidence {intent['confidence']:.2f})"
        if intent.get("model")
        else ""
    )
    yield "wants", f"{intent.get('class', '')}: {intent.get('reason', '')}{by}"
    if content.get("agent"):
        yield "agent", str(content["agent"])


def _deployment(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    candidate, deployment = content.get("candidate"), content.get("deployment")
    if deployment:
        yield (
            "runs",
            f"policy {deployment.get('policy', '')} on {deployment.get('ops_name', '')} "
            f"({deployment.get('source', '')}): {deployment.get('reason', '')}",
        )
        for sentence in deployment.get("without") or []:
            yield "without", f"{sentence} (this kernel is too old for it)"
    canary = content.get("canary")
    if canary:
        yield "canary", _canary(canary)
    for other in (candidate or {}).get("rejected") or []:
        yield "not", f"{other.get('policy', '')}: {other.get('why_not', '')}"
    verdict = content.get("verdict")
    if verdict:
        checks = ", ".join(
            f"{check.get('name', '')} {check.get('status', '')}"
            for check in verdict.get("checks") or []
        )
        yield (
            "verdict",
            str(verdict["checks"][0].get("sentence", ""))
            if verdict.get("origin") == "external" and verdict.get("checks")
            else f"{'passed' if verdict.get('passed') else 'failed'} ({verdict.get('origin', '')}, "
            f"{str(verdict.get('id', ''))[:12]}): {checks}",
        )
    measures = content.get("measures")
    if measures and measures.get("runs"):
        yield (
            "measured",
            f"ran {measures['runs']:.0f} times, {measures.get('run_s', 0):.1f} s; waited for a CPU "
            f"{measures.get('delay_mean_us', 0):.0f} µs at the mean, "
            f"{measures.get('delay_p99_us', 0):.0f} µs at the 99th percentile",
        )
    outcome = content.get("last_outcome")
    if outcome:
        yield (
            "before",
            f"policy {outcome.get('policy', '')} ended as {outcome.get('kind', '')}: "
            f"{outcome.get('reason', '')}",
        )


def _canary(canary: Mapping[str, Any]) -> str:
    state = "on trial" if canary.get("on_trial") else "passed"
    if canary.get("suspect"):
        state += ", and worse than it may be in the last window"
    now, before = canary.get("now") or {}, canary.get("before") or {}
    promised = canary.get("promises_p99_us") or {}
    tails = []
    for name, value in now.items():
        intent, is_tail, _ = name.partition("_delay_p99_us")
        if not is_tail:
            continue
        was = f", {before[name]:.0f} before" if name in before else ""
        limit = f", promised {promised[intent]:.0f}" if intent in promised else ""
        tails.append(f"{intent} {value:.0f} µs{was}{limit}")
    return f"{state}; p99 run delay: {'; '.join(tails)}" if tails else state


def text(content: Mapping[str, Any]) -> str:
    return "\n".join(f"{what:10}{safe(sentence)}" for what, sentence in lines(content))
