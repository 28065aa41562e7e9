# SPDX-License-Identifier: Apache-2.0
"""Pins: an operator's word about a cgroup and everything below it, and who has the last word.

A pin is kept by cgroup path. The nearest pinned ancestor-or-self decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from schedcpd.host.yamlpos import shown
from schedcpd.infer.rules import RuleBook, default
from schedcpd.model import Intent, IntentClass, IntentSource, WorkloadProfile

_PATH_SHOWN = 200


def nearest_pin(cgroup: str, pins: Mapping[str, IntentClass]) -> str | None:
    """The path of the pin that holds for `cgroup`: its own, else its nearest ancestor's."""
    path = cgroup.rstrip("/") or "/"
    while True:
        if path in pins:
            return path
        if path in ("/", ""):
            return None
        path = path.rpartition("/")[0] or "/"


def resolve_pin(profile: WorkloadProfile, pins: Mapping[str, IntentClass]) -> Intent | None:
    """The pinned or inherited intent, None when no pin holds."""
    path = nearest_pin(profile.cgroup, pins)
    if path is None:
        return None
    intent_class = pins[path]
    if path == (profile.cgroup.rstrip("/") or "/"):
        reason = f"pinned to {intent_class} by an operator"
        return Intent(profile.id, intent_class, IntentSource.PIN, reason)
    reason = f"inherits {intent_class} from the pin of {shown(path, _PATH_SHOWN)}"
    return Intent(profile.id, intent_class, IntentSource.INHERITED, reason)


def decide(
    profile: WorkloadProfile,
    pins: Mapping[str, IntentClass],
    book: RuleBook,
    agent: Intent | None = None,
) -> Intent:
    """Who has the last word: a pin, an inherited pin, a rule, the agent's answer, the default."""
    return resolve_pin(profile, pins) or book.infer(profile) or agent or default(profile)
