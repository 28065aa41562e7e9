# SPDX-License-Identifier: Apache-2.0
"""Policies as JSON: what D-Bus, MCP and `schedctl policy` show of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from schedcpd.model import Policy


def policy_json(policy: Policy) -> dict[str, Any]:
    """Everything a policy says, in JSON types. `sha256` is its content (Policy.content_id)."""
    return {
        "name": policy.name,
        "description": policy.description,
        "scheduler": policy.scheduler,
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
