# SPDX-License-Identifier: Apache-2.0
"""Policies and what is known of them as JSON: what D-Bus, MCP and `schedctl policy` show of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from schedcpd.model import Policy, PolicyEvent, Shape, Trial, Verdict
from schedcpd.policy.search import Found


def policy_json(policy: Policy) -> dict[str, Any]:
    """Everything a policy says, in JSON types. `sha256` is its content (Policy.content_id)."""
    return {
        "name": policy.name,
        "description": policy.description,
        "scheduler": policy.scheduler,
        "external": policy.external,
        "extends": policy.extends,
        "tunables": dict(policy.tunables),
        "intents": [intent.value for intent in policy.intents],
        "chosen_for": [intent.value for intent in policy.chosen_for],
        "machines": {k: v for k, v in asdict(policy.conditions).items() if v is not None},
        "slo": {
            intent.value: {"delay_p99_us": delay}
            for intent, delay in policy.slo_delay_p99_us.items()
        },
        "limits": {k: v for k, v in asdict(policy.limits).items() if v is not None},
        "priority": policy.priority,
        "origin": policy.origin,
        "author": policy.author,
        "file": policy.file,
        "line": policy.line,
        "sha256": policy.content_id,
    }


def event_json(event: PolicyEvent) -> dict[str, Any]:
    return {
        "policy": event.policy,
        "action": event.action.value,
        "sha256": event.sha256,
        "actor": event.actor,
        "reason": event.reason,
        "at_unix_s": event.at_unix_s,
    }


def trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "policy": trial.policy,
        "sha256": trial.sha256,
        "scheduler": trial.scheduler,
        "kind": trial.kind.value,
        "reason": trial.reason,
        "did_well": trial.did_well,
        "missed": list(trial.missed),
        "at_unix_s": trial.at_unix_s,
        "seconds": trial.seconds,
        "kernel": trial.kernel,
        "machine": {"cpus": trial.machine.cpus, "power": trial.machine.power.value},
        "measures": {name: round(value, 3) for name, value in sorted(trial.measures.items())},
        "workloads": [_shape_json(shape) for shape in trial.workloads],
    }


def _shape_json(shape: Shape) -> dict[str, Any]:
    return {**asdict(shape), "kind": shape.kind.value, "intent": shape.intent.value}


def verdict_json(verdict: Verdict, policy: Policy) -> dict[str, Any]:
    """Who verified the policy's scheduler on which kernel, and whether its tunables are covered."""
    return {
        "id": verdict.id,
        "passed": verdict.passed,
        "covers": not verdict.uncovered(policy.tunables),
        "kernel": verdict.kernel.release,
        "by": verdict.origin.value,
        "version": verdict.schedcp_version,
        "made_unix_s": verdict.made_unix_s,
    }


def found_json(found: Found) -> dict[str, Any]:
    """Why a policy was found, beside the policy itself."""
    return {
        "unfit": found.unfit,
        "score": round(found.score, 3),
        "neighbours": [
            {
                "workload": neighbour.shape.name,
                "executable": neighbour.shape.executable,
                "distance": round(neighbour.distance, 3),
                "kind": neighbour.trial.kind.value,
                "did_well": neighbour.trial.did_well,
                "at_unix_s": neighbour.trial.at_unix_s,
            }
            for neighbour in found.neighbours
        ],
    }
